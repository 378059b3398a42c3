package usage

import (
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/podmakers"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// Resources that several questions are about.
const (
	pods            = "pods"
	services        = "services"
	users           = "users"
	groups          = "groups"
	serviceAccounts = "serviceaccounts"

	verbCreate      = "create"
	verbGet         = "get"
	verbImpersonate = "impersonate"
)

// question is something that a session shows to have been allowed.
type question struct {
	rbac.Ask
	// edge is the step that a yes is good for; absent for what runs no command, and
	// is known only so that it can be proposed.
	edge exposure.Edge
}

// questions are all that are asked about roles, table the same by number.
var (
	questions = list()
	table     = func() *rbac.Table {
		asks := make([]rbac.Ask, len(questions))
		for i, q := range questions {
			asks[i] = q.Ask
		}
		return rbac.NewTable(asks)
	}()
	number = func() map[rbac.Ask]int {
		out := make(map[rbac.Ask]int, len(questions))
		for i, q := range questions {
			out[q.Ask] = i
		}
		return out
	}()
)

func list() (out []question) {
	add := func(edge exposure.Edge, group, resource, sub string, verbs ...string) {
		for _, v := range verbs {
			out = append(out, question{rbac.Ask{Verb: v, Group: group, Resource: resource, Subresource: sub}, edge})
		}
	}
	add(exposure.EdgeExec, "", pods, "exec", verbCreate, verbGet)
	add(exposure.EdgeAttach, "", pods, "attach", verbCreate, verbGet)
	add(exposure.EdgeEphemeral, "", pods, "ephemeralcontainers", "patch", "update")
	add(exposure.EdgeNodeProxy, "", "nodes", "proxy", verbCreate, verbGet)
	add(exposure.EdgeCreate, "", pods, "", verbCreate)
	add(exposure.EdgeChange, "", pods, "", "patch", "update")
	for _, m := range podmakers.Own {
		add(exposure.EdgeCreate, m.Group, m.Resource, "", verbCreate)
		add(exposure.EdgeChange, m.Group, m.Resource, "", "patch", "update")
		add("", m.Group, m.Resource, "", verbGet)
	}
	for _, r := range []string{users, groups, serviceAccounts} {
		add(exposure.EdgeImpersonate, "", r, "", verbImpersonate)
	}
	add("", "", pods, "portforward", verbCreate, verbGet)
	add("", "", pods, "proxy", verbCreate, "delete", verbGet, "patch", "update")
	add("", "", services, "proxy", verbCreate, "delete", verbGet, "patch", "update")
	add("", "", pods, "", verbGet, "list", "watch")
	return out
}

// inNoNamespace reports whether a question is about what belongs to no namespace.
func inNoNamespace(a rbac.Ask) bool {
	return a.Resource == "nodes" || a.Resource == users || a.Resource == groups
}
