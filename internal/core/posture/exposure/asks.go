package exposure

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/podmakers"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// Names of API groups.
const (
	coreGroup = ""
	rbacGroup = "rbac.authorization.k8s.io"
	certs     = "certificates.k8s.io"
	admission = "admissionregistration.k8s.io"
)

// asks are all questions that the analysis has about roles.
var asks = buildAsks()

func buildAsks() []rbac.Ask {
	var out []rbac.Ask
	add := func(group, resource, sub string, verbs ...string) {
		for _, v := range verbs {
			out = append(out, rbac.Ask{Verb: v, Group: group, Resource: resource, Subresource: sub})
		}
	}
	add(coreGroup, "pods", "exec", "create", "get")
	add(coreGroup, "pods", "attach", "create", "get")
	add(coreGroup, "pods", "ephemeralcontainers", "patch", "update")
	add(coreGroup, "nodes", "proxy", "create", "get")
	add(coreGroup, "pods", "", "create", "patch", "update")
	for _, m := range slices.Concat(podmakers.Own, podmakers.Others) {
		add(m.Group, m.Resource, "", "create", "patch", "update")
	}
	for _, r := range []string{"users", "groups", "serviceaccounts"} {
		add(coreGroup, r, "", "impersonate")
	}
	for _, r := range []string{"users", "groups"} {
		add(authentication, r, "", "impersonate:"+modeUser)
	}
	add(authentication, "serviceaccounts", "", "impersonate:"+modeAccount)
	add(authentication, "nodes", "", "impersonate:"+modeNode, "impersonate:"+modeOwnNode)
	add("", "", "", rbac.ActOn)
	add(coreGroup, "serviceaccounts", "token", "create")
	add(coreGroup, "serviceaccounts", "", "create")
	add(coreGroup, "secrets", "", "get", "list", "watch", "create")
	for _, r := range []string{"roles", "clusterroles"} {
		add(rbacGroup, r, "", "bind", "escalate", "create", "patch", "update")
	}
	for _, r := range []string{"rolebindings", "clusterrolebindings"} {
		add(rbacGroup, r, "", "create", "patch", "update")
	}
	add(certs, "certificatesigningrequests", "", "create")
	add(certs, "certificatesigningrequests", "approval", "update", "patch")
	add(certs, "certificatesigningrequests", "nodeclient", "create")
	add(certs, "signers", "", "approve")
	for _, r := range []string{"mutatingwebhookconfigurations", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"} {
		add(admission, r, "", "create", "patch", "update")
	}
	add(coreGroup, "namespaces", "", "create", "patch", "update")
	add(coreGroup, "persistentvolumes", "", "create")
	add(coreGroup, "persistentvolumeclaims", "", "create")
	add(coreGroup, "configmaps", "", "create", "patch", "update")
	add(apiRegistration, "apiservices", "", "create", "patch", "update")
	for _, r := range guards {
		add(admission, r, "", "patch", "update", "delete")
	}
	return out
}

var table = rbac.NewTable(asks)

// ask returns the mask of the questions with one of the verbs.
func ask(group, resource, sub string, verbs ...string) (m rbac.Mask) {
	for i, a := range asks {
		if a.Group == group && a.Resource == resource && a.Subresource == sub && slices.Contains(verbs, a.Verb) {
			m = m.Set(i)
		}
	}
	if m == (rbac.Mask{}) {
		panic("exposure: nobody asks for " + resource + "/" + sub)
	}
	return m
}
