// Package clusters makes clusters for tests and benchmarks: random, and the same
// for the same seed.
package clusters

import (
	"fmt"
	"math/rand/v2"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Size is how large a cluster is.
type Size struct {
	Seed                                                      uint64
	Pods, Namespaces, Nodes, Accounts, Roles, Bindings, Users int
}

// The sizes of which the research has figures for other tools
// (research/scan.md §6).
var (
	S1k   = Size{1, 1_000, 20, 20, 200, 260, 560, 100}
	S10k  = Size{1, 10_000, 200, 200, 2_000, 2_200, 6_300, 1_000}
	S10kx = Size{1, 10_000, 500, 200, 5_000, 5_500, 21_000, 2_000}
	S100k = Size{1, 100_000, 500, 2_000, 10_000, 5_500, 21_000, 2_000}
)

// Cluster makes one. Most of its roles say nothing of commands, as in reality; some
// let somebody exec in a namespace, few do so everywhere, and a handful lead further.
func (s Size) Cluster() *inventory.Cluster {
	g := generator{s, rand.New(rand.NewPCG(s.Seed, 5))}
	c := &inventory.Cluster{Version: inventory.Version{Major: 1, Minor: 37}, PodMakers: []string{"workflows.argoproj.io"}}
	for i := range s.Namespaces {
		c.Namespaces = append(c.Namespaces, inventory.Namespace{Object: object("", g.namespace(i)), Enforce: []string{"", "baseline", "restricted", "baseline"}[i%4]})
	}
	for i := range s.Nodes {
		c.Nodes = append(c.Nodes, inventory.Node{Object: object("", fmt.Sprintf("node-%d", i))})
	}
	for i := range s.Accounts {
		c.ServiceAccounts = append(c.ServiceAccounts, inventory.ServiceAccount{Object: object(g.namespace(i%s.Namespaces), fmt.Sprintf("sa-%d", i))})
	}
	for i := range s.Pods {
		c.Pods = append(c.Pods, g.pod(i, c))
	}
	for i := range s.Roles {
		r := inventory.Role{Object: object("", fmt.Sprintf("role-%d", i)), Rules: g.rules(i)}
		if i%3 > 0 {
			r.Namespace = g.namespace(i % s.Namespaces)
		}
		c.Roles = append(c.Roles, r)
	}
	for i := range s.Bindings {
		c.Bindings = append(c.Bindings, g.binding(i, c))
	}
	return c
}

type generator struct {
	Size
	*rand.Rand
}

func object(namespace, name string) inventory.Object {
	return inventory.Object{Namespace: namespace, Name: name}
}

func (g generator) namespace(i int) string { return fmt.Sprintf("ns-%d", i) }

func (g generator) pod(i int, c *inventory.Cluster) inventory.Pod {
	a := &c.ServiceAccounts[g.IntN(len(c.ServiceAccounts))]
	p := inventory.Pod{
		Object: object(a.Namespace, fmt.Sprintf("pod-%d", i)), Node: fmt.Sprintf("node-%d", g.IntN(g.Nodes)),
		Workload: fmt.Sprintf("Deployment/app-%d", i/3),
		Template: inventory.Template{ServiceAccount: a.Name, Containers: []inventory.Container{{Name: "app", Image: "registry.example/app:1"}}},
	}
	switch g.IntN(100) {
	case 0:
		p.Containers[0].Privileged = true
	case 1:
		p.HostPaths = []inventory.HostPath{{Container: "app", Path: "/var/run", Mount: "/host"}}
	}
	return p
}

func (g generator) rules(i int) []inventory.Rule {
	rule := func(verbs, resources []string) inventory.Rule {
		return inventory.Rule{Verbs: verbs, Groups: []string{"", "apps"}, Resources: resources}
	}
	out := []inventory.Rule{rule([]string{"get", "list", "watch"}, []string{"pods", "services", "configmaps", "deployments"})}
	switch {
	case i%977 == 3:
		out = append(out, inventory.Rule{Verbs: []string{"*"}, Groups: []string{"*"}, Resources: []string{"*"}})
	case i%97 == 5:
		out = append(out, rule([]string{"create"}, []string{"serviceaccounts/token"}))
	case i%41 == 7:
		out = append(out, rule([]string{"create", "patch"}, []string{"pods", "deployments"}))
	case i%11 == 2:
		out = append(out, rule([]string{"create"}, []string{"pods/exec"}))
	case i%53 == 9:
		r := rule([]string{"create", "get"}, []string{"pods/exec", "pods/attach"})
		r.Names = []string{fmt.Sprintf("pod-%d", g.IntN(g.Pods)), fmt.Sprintf("pod-%d", g.IntN(g.Pods))}
		out = append(out, r)
	case i%29 == 13:
		out = append(out, constrained("impersonate:user-info", "users"), rule([]string{"impersonate-on:user-info:create"}, []string{"pods/exec"}))
	case i%31 == 17:
		out = append(out, constrained("impersonate:serviceaccount", "serviceaccounts"), rule([]string{"impersonate-on:serviceaccount:create"}, []string{"pods/exec", "serviceaccounts/token"}))
	case i%37 == 19:
		out = append(out, rule([]string{"create", "patch"}, []string{"namespaces", "persistentvolumes", "persistentvolumeclaims", "jobs", "pods"}))
	case i%43 == 21:
		out = append(out, inventory.Rule{Verbs: []string{"create", "patch"}, Groups: []string{"argoproj.io"}, Resources: []string{"workflows", "applications"}})
	}
	return out
}

// constrained is a rule of constrained impersonation.
func constrained(verb, resource string) inventory.Rule {
	return inventory.Rule{Verbs: []string{verb}, Groups: []string{"authentication.k8s.io"}, Resources: []string{resource}}
}

func (g generator) binding(i int, c *inventory.Cluster) inventory.Binding {
	r := &c.Roles[g.IntN(len(c.Roles))]
	b := inventory.Binding{Object: object(r.Namespace, fmt.Sprintf("binding-%d", i)), Role: r.Name, ToClusterRole: r.Namespace == ""}
	if b.ToClusterRole && g.IntN(10) > 0 { // mostly in one namespace
		b.Namespace = g.namespace(g.IntN(g.Namespaces))
	}
	for range 1 + g.IntN(2) {
		switch g.IntN(3) {
		case 0:
			b.Subjects = append(b.Subjects, inventory.Subject{Kind: inventory.User, Name: fmt.Sprintf("user-%d", g.IntN(g.Users))})
		case 1:
			b.Subjects = append(b.Subjects, inventory.Subject{Kind: inventory.Group, Name: fmt.Sprintf("team-%d", g.IntN(g.Users/10+1))})
		default:
			a := &c.ServiceAccounts[g.IntN(len(c.ServiceAccounts))]
			b.Subjects = append(b.Subjects, inventory.Subject{Kind: inventory.ServiceAccountSubject, Namespace: a.Namespace, Name: a.Name})
		}
	}
	return b
}
