package exposure_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/testbed/clusters"
)

// rule reads "verb,verb group/resource,group/resource [name,name]"; the core group
// is written as nothing: "/pods".
func rule(t *testing.T, s string) inventory.Rule {
	t.Helper()
	f := strings.Fields(s)
	if len(f) < 2 {
		t.Fatalf("rule %q", s)
	}
	r := inventory.Rule{Verbs: strings.Split(f[0], ",")}
	for _, res := range strings.Split(f[1], ",") {
		group, name, ok := strings.Cut(res, ":")
		if !ok {
			group, name = "", res
		}
		if !slices.Contains(r.Groups, group) {
			r.Groups = append(r.Groups, group)
		}
		r.Resources = append(r.Resources, name)
	}
	if len(f) > 2 {
		r.Names = strings.Split(f[2], ",")
	}
	return r
}

// shop is two namespaces, four pods and two nodes.
func shop() *inventory.Cluster {
	object := func(namespace, name string) inventory.Object {
		return inventory.Object{Namespace: namespace, Name: name}
	}
	pod := func(namespace, name, node, account, workload string) inventory.Pod {
		return inventory.Pod{
			Object: object(namespace, name), Node: node, Workload: workload,
			Template: inventory.Template{ServiceAccount: account, Containers: []inventory.Container{{Name: "app"}}},
		}
	}
	return &inventory.Cluster{
		Version:    inventory.Version{Major: 1, Minor: 37},
		Namespaces: []inventory.Namespace{{Object: object("", "shop"), Enforce: "restricted"}, {Object: object("", "dev"), Enforce: "baseline"}},
		ServiceAccounts: []inventory.ServiceAccount{
			{Object: object("shop", "web")}, {Object: object("shop", "default")}, {Object: object("dev", "ci")},
		},
		Nodes: []inventory.Node{{Object: object("", "n1")}, {Object: object("", "n2")}},
		Pods: []inventory.Pod{
			pod("shop", "web-1", "n1", "web", "Deployment/web"), pod("shop", "db-0", "n2", "default", "StatefulSet/db"),
			pod("dev", "run", "n1", "ci", ""), pod("dev", "other", "n2", "", ""),
		},
	}
}

// give gives somebody a role with one rule; in is a namespace, or "" for everywhere.
func give(t *testing.T, c *inventory.Cluster, in, kind, who, text string) {
	t.Helper()
	name := fmt.Sprintf("r%d", len(c.Roles))
	s := inventory.Subject{Kind: inventory.SubjectKind(kind), Name: who}
	if namespace, account, ok := strings.Cut(who, "/"); ok {
		s.Namespace, s.Name = namespace, account
	}
	c.Roles = append(c.Roles, inventory.Role{Object: inventory.Object{Namespace: in, Name: name}, Rules: []inventory.Rule{rule(t, text)}})
	c.Bindings = append(c.Bindings, inventory.Binding{
		Object: inventory.Object{Namespace: in, Name: name}, Role: name, ToClusterRole: in == "", Subjects: []inventory.Subject{s},
	})
}

// role makes a Role that lets something be made.
func role(namespace, name, resource string) func(*inventory.Cluster) {
	return func(c *inventory.Cluster) {
		c.Roles = append(c.Roles, inventory.Role{Object: inventory.Object{Namespace: namespace, Name: name}, Rules: []inventory.Rule{
			{Verbs: []string{"create"}, Groups: []string{""}, Resources: []string{resource}},
		}})
	}
}

// nodesAccount lets the service account of a pod on node n1 exec in shop.
func nodesAccount(t *testing.T) func(*inventory.Cluster) {
	return func(c *inventory.Cluster) { give(t, c, "shop", "ServiceAccount", "dev/ci", "create pods/exec") }
}

// bound makes a ClusterRole, and bob somebody who has it everywhere.
func bound(name, resource string) func(*inventory.Cluster) {
	return func(c *inventory.Cluster) {
		role("", name, resource)(c)
		c.Bindings = append(c.Bindings, inventory.Binding{Object: inventory.Object{Name: name}, ToClusterRole: true, Role: name, Subjects: []inventory.Subject{{Kind: inventory.User, Name: "bob"}}})
	}
}

// aggregated makes a ClusterRole that takes over others, which ann has in a namespace, and
// one that it does not.
func aggregated(c *inventory.Cluster) {
	c.Roles = append(c.Roles,
		inventory.Role{Object: inventory.Object{Name: "sum"}, Selectors: []map[string]string{{"in": "sum"}}},
		inventory.Role{Object: inventory.Object{Name: "part"}})
	c.Bindings = append(c.Bindings, inventory.Binding{Object: inventory.Object{Namespace: "shop", Name: "sum"}, ToClusterRole: true, Role: "sum", Subjects: []inventory.Subject{{Kind: inventory.User, Name: "ann"}}})
}

// TestEdges: what each grant lets somebody reach, and what it does not.
func TestEdges(t *testing.T) {
	const all = "dev/other dev/run shop/db-0 shop/web-1"
	for _, tt := range []struct {
		name   string
		in     string
		text   []string
		minor  int
		change func(*inventory.Cluster)
		want   string // pods that are reached, and "everything"
	}{
		{name: "exec in a namespace", in: "shop", text: []string{"create pods/exec"}, want: "shop/db-0 shop/web-1"},
		{name: "exec everywhere", text: []string{"create pods/exec"}, want: all},
		{name: "exec in a pod", in: "shop", text: []string{"create pods/exec web-1"}, want: "shop/web-1"},
		{name: "get is not enough since 1.35", in: "shop", text: []string{"get pods/exec"}},
		{name: "get is enough before", in: "shop", text: []string{"get pods/exec"}, minor: 34, want: "shop/db-0 shop/web-1"},
		{name: "get with the gate off", in: "shop", text: []string{"get pods/exec"}, change: func(c *inventory.Cluster) {
			c.Gates = map[string]bool{"AuthorizePodWebsocketUpgradeCreatePermission": false}
		}, want: "shop/db-0 shop/web-1"},
		{name: "*/exec is exec", in: "shop", text: []string{"create */exec"}, want: "shop/db-0 shop/web-1"},
		{name: "pods/* is nothing", in: "shop", text: []string{"* pods/*"}},
		{name: "another API group is nothing", in: "shop", text: []string{"create example.com:pods/exec"}},
		{name: "attach", in: "shop", text: []string{"create pods/attach"}, want: "shop/db-0 shop/web-1"},
		{name: "ephemeral containers by update", in: "shop", text: []string{"update pods/ephemeralcontainers"}, want: "shop/db-0 shop/web-1"},
		{name: "nodes/proxy by get", text: []string{"get nodes/proxy"}, want: all},
		{name: "nodes/proxy of a node", text: []string{"create nodes/proxy n1"}, want: "dev/run shop/web-1"},
		{name: "nodes/proxy in a namespace is nothing", in: "shop", text: []string{"create nodes/proxy"}},
		{name: "a new pod reaches no other where Pod Security forbids it", in: "shop", text: []string{"create pods"}},
		{name: "a new pod breaks out where nothing forbids it", in: "shop", text: []string{"create pods"}, change: func(c *inventory.Cluster) {
			c.Namespaces[0].Enforce = ""
		}, want: all},
		{name: "nor where the API server's default level forbids it", in: "shop", text: []string{"create pods"}, change: func(c *inventory.Cluster) {
			c.Namespaces[0].Enforce, c.APIServer = "", &inventory.APIServer{PodSecurity: "baseline"}
		}},
		{name: "a default level that is unknown forbids nothing", in: "shop", text: []string{"create pods"}, change: func(c *inventory.Cluster) {
			c.Namespaces[0].Enforce, c.APIServer = "", &inventory.APIServer{}
		}, want: all},
		{name: "a new pod where Pod Security is turned off", in: "shop", text: []string{"create pods"}, change: func(c *inventory.Cluster) {
			c.APIServer = &inventory.APIServer{PodSecurity: "privileged", AdmissionOff: []string{"PodSecurity"}}
		}, want: all},
		{name: "a new pod in a namespace that was not read", in: "shop", text: []string{"create pods"}, change: func(c *inventory.Cluster) {
			c.Namespaces = c.Namespaces[1:]
		}, want: all},
		{name: "a workload's command", in: "shop", text: []string{"patch apps:deployments"}, want: "shop/web-1"},
		{name: "one workload's command", in: "shop", text: []string{"patch apps:statefulsets db"}, want: "shop/db-0"},
		{name: "a workload that is not there", in: "shop", text: []string{"patch apps:statefulsets web"}},
		{name: "a token for an account that may exec", in: "dev", text: []string{"create serviceaccounts/token"}, change: func(c *inventory.Cluster) {
			c.Roles = append(c.Roles, inventory.Role{Object: inventory.Object{Name: "x"}, Rules: []inventory.Rule{{Verbs: []string{"create"}, Groups: []string{""}, Resources: []string{"pods/exec"}}}})
			c.Bindings = append(c.Bindings, inventory.Binding{Object: inventory.Object{Namespace: "shop", Name: "x"}, ToClusterRole: true, Role: "x",
				Subjects: []inventory.Subject{{Kind: inventory.ServiceAccountSubject, Namespace: "dev", Name: "ci"}}})
		}, want: "shop/db-0 shop/web-1"},
		{name: "secrets without tokens", in: "dev", text: []string{"get secrets"}},
		{name: "binding any role", text: []string{"bind,create rbac.authorization.k8s.io:clusterroles,rbac.authorization.k8s.io:clusterrolebindings"}, want: "everything " + all},
		{name: "binding any role in a namespace", in: "shop", text: []string{"bind,create rbac.authorization.k8s.io:clusterroles,rbac.authorization.k8s.io:rolebindings"}, want: "shop/db-0 shop/web-1"},
		{name: "bindings without bind", text: []string{"create rbac.authorization.k8s.io:clusterrolebindings"}},
		{name: "escalate", text: []string{"escalate,update rbac.authorization.k8s.io:clusterroles"}, want: "everything " + all},
		{name: "binding any role, which an earlier rule limits to one", text: []string{"bind,create rbac.authorization.k8s.io:clusterroles,rbac.authorization.k8s.io:clusterrolebindings view",
			"create rbac.authorization.k8s.io:clusterrolebindings", "bind rbac.authorization.k8s.io:clusterroles"}, want: "everything " + all},
		{name: "binding one of two roles", in: "shop", text: []string{"create rbac.authorization.k8s.io:rolebindings", "bind rbac.authorization.k8s.io:roles view",
			"bind rbac.authorization.k8s.io:roles exec"}, change: role("shop", "exec", "pods/exec"), want: "shop/db-0 shop/web-1"},
		{name: "a binding to be made has no name", text: []string{"create rbac.authorization.k8s.io:clusterrolebindings x", "bind rbac.authorization.k8s.io:clusterroles"}},
		{name: "one to be changed has, and is to its role", text: []string{"update rbac.authorization.k8s.io:clusterrolebindings x", "bind rbac.authorization.k8s.io:clusterroles"},
			change: bound("x", "pods/exec"), want: all},
		{name: "one to be changed is to no other role", text: []string{"patch rbac.authorization.k8s.io:clusterrolebindings", "bind rbac.authorization.k8s.io:clusterroles"},
			change: bound("x", "configmaps")},
		{name: "one that is not there is not changed", text: []string{"update rbac.authorization.k8s.io:clusterrolebindings y", "bind rbac.authorization.k8s.io:clusterroles"}, change: bound("x", "pods/exec")},
		{name: "a binding of a namespace is changed", in: "shop", text: []string{"patch rbac.authorization.k8s.io:rolebindings", "bind rbac.authorization.k8s.io:roles"}, change: func(c *inventory.Cluster) {
			give(t, c, "shop", "User", "bob", "create pods/exec web-1")
			give(t, c, "dev", "User", "bob", "create pods/exec")
		}, want: "shop/web-1"},
		{name: "escalate a role that another takes over", text: []string{"escalate,create rbac.authorization.k8s.io:clusterroles"}, change: aggregated, want: "shop/db-0 shop/web-1"},
		{name: "escalate a role so that another takes it over", text: []string{"escalate,patch rbac.authorization.k8s.io:clusterroles part"}, change: aggregated, want: "shop/db-0 shop/web-1"},
		{name: "escalate a role that is to be made, which none takes over", text: []string{"escalate,create rbac.authorization.k8s.io:clusterroles"}},
		{name: "escalate a role that is not there", text: []string{"escalate,patch rbac.authorization.k8s.io:clusterroles none"}, change: aggregated},
		{name: "escalate one's own role", in: "shop", text: []string{"escalate,update rbac.authorization.k8s.io:roles r0"}, want: "shop/db-0 shop/web-1"},
		{name: "escalate another role", in: "shop", text: []string{"escalate,update rbac.authorization.k8s.io:roles r9"}},
		{name: "escalate a role of one's own that gives nothing yet", text: []string{"escalate,update rbac.authorization.k8s.io:roles"}, change: func(c *inventory.Cluster) {
			role("shop", "little", "configmaps")(c)
			c.Bindings = append(c.Bindings, inventory.Binding{Object: inventory.Object{Namespace: "shop", Name: "little"}, Role: "little",
				Subjects: []inventory.Subject{{Kind: inventory.User, Name: "ann"}}})
		}, want: "shop/db-0 shop/web-1"},
		{name: "escalate the ClusterRole that one has in a namespace", text: []string{"escalate,update rbac.authorization.k8s.io:clusterroles edit"}, change: func(c *inventory.Cluster) {
			c.Bindings = append(c.Bindings, inventory.Binding{Object: inventory.Object{Namespace: "shop", Name: "e"}, ToClusterRole: true, Role: "edit",
				Subjects: []inventory.Subject{{Kind: inventory.User, Name: "ann"}}})
		}, want: "shop/db-0 shop/web-1"},
		{name: "impersonating service accounts of a namespace, and groups", text: []string{"impersonate groups"}, change: func(c *inventory.Cluster) {
			give(t, c, "dev", "User", "ann", "impersonate serviceaccounts")
		}, want: "everything " + all},
		{name: "impersonating users and groups", text: []string{"impersonate users,groups"}, want: "everything " + all},
		{name: "impersonating any user is no service account", text: []string{"impersonate users"}, change: func(c *inventory.Cluster) {
			give(t, c, "shop", "ServiceAccount", "dev/spare", "create pods/exec")
		}},
		{name: "nor by its name", text: []string{"impersonate users system:serviceaccount:shop:web"}, change: func(c *inventory.Cluster) {
			give(t, c, "shop", "ServiceAccount", "shop/web", "create pods/exec")
		}},
		{name: "impersonating a service account that only a binding names", in: "dev", text: []string{"impersonate serviceaccounts gone"}, change: func(c *inventory.Cluster) {
			give(t, c, "shop", "ServiceAccount", "dev/gone", "create pods/exec")
		}, want: "shop/db-0 shop/web-1"},
		{name: "a token for a service account that only a binding names", in: "dev", text: []string{"create serviceaccounts/token"}, change: func(c *inventory.Cluster) {
			give(t, c, "shop", "ServiceAccount", "dev/gone", "create pods/exec")
		}},
		{name: "a token for one that is made first", in: "dev", text: []string{"create serviceaccounts/token,serviceaccounts"}, change: func(c *inventory.Cluster) {
			give(t, c, "shop", "ServiceAccount", "dev/gone", "create pods/exec")
		}, want: "shop/db-0 shop/web-1"},
		{name: "a new pod as one that is made first", in: "dev", text: []string{"create pods,serviceaccounts"}, change: func(c *inventory.Cluster) {
			give(t, c, "shop", "ServiceAccount", "dev/gone", "create pods/exec")
		}, want: "shop/db-0 shop/web-1"},
		{name: "impersonating any service account, be it there or not", in: "dev", text: []string{"impersonate serviceaccounts"}, change: func(c *inventory.Cluster) {
			give(t, c, "shop", "ServiceAccount", "dev/gone", "create pods/exec")
		}, want: "shop/db-0 shop/web-1"},
		{name: "a token where files need not hold all service accounts", in: "dev", text: []string{"create serviceaccounts/token"}, change: func(c *inventory.Cluster) {
			c.Partial = true
			give(t, c, "shop", "ServiceAccount", "dev/gone", "create pods/exec")
		}, want: "shop/db-0 shop/web-1"},
		{name: "a new pod in a namespace that is gone", text: []string{"create pods"}, change: func(c *inventory.Cluster) {
			give(t, c, "shop", "ServiceAccount", "gone/x", "get pods")
		}},
		{name: "a token for the account of a pod", in: "dev", text: []string{"create serviceaccounts/token"}, change: func(c *inventory.Cluster) {
			c.ServiceAccounts = nil
			give(t, c, "shop", "Group", "system:serviceaccounts:dev", "create pods/exec")
		}, want: "shop/db-0 shop/web-1"},
		{name: "a token for the default account of a namespace without pods", in: "dev", text: []string{"create serviceaccounts/token"}, change: func(c *inventory.Cluster) {
			c.ServiceAccounts, c.Pods = nil, c.Pods[:2]
			give(t, c, "shop", "Group", "system:serviceaccounts:dev", "create pods/exec")
		}, want: "shop/db-0 shop/web-1"},
		{name: "impersonating groups alone", text: []string{"impersonate groups"}},
		{name: "impersonating a group that may nothing", text: []string{"impersonate groups,users nobodies"}},
		{name: "certificates", text: []string{"create,update,approve certificates.k8s.io:certificatesigningrequests,certificates.k8s.io:certificatesigningrequests/approval,certificates.k8s.io:signers"},
			change: func(c *inventory.Cluster) {
				c.Bindings = append(c.Bindings, inventory.Binding{Object: inventory.Object{Namespace: "dev", Name: "y"}, Role: "y",
					Subjects: []inventory.Subject{{Kind: inventory.User, Name: "bob"}}})
				c.Roles = append(c.Roles, inventory.Role{Object: inventory.Object{Namespace: "dev", Name: "y"}, Rules: []inventory.Rule{{Verbs: []string{"*"}, Groups: []string{""}, Resources: []string{"pods/exec"}}}})
			}, want: "dev/other dev/run"},
		{name: "certificates, of requests so called", text: []string{"create,approve certificates.k8s.io:certificatesigningrequests,certificates.k8s.io:signers",
			"update certificates.k8s.io:certificatesigningrequests/approval mine"}, change: func(c *inventory.Cluster) {
			give(t, c, "dev", "User", "bob", "create pods/exec")
		}, want: "dev/other dev/run"},
		{name: "certificates with a group", text: []string{"create,update,approve certificates.k8s.io:certificatesigningrequests,certificates.k8s.io:certificatesigningrequests/approval,certificates.k8s.io:signers"},
			change: func(c *inventory.Cluster) { give(t, c, "dev", "Group", "devs", "create pods/exec") }, want: "dev/other dev/run"},
		{name: "certificates of nodes", text: []string{"create,update certificates.k8s.io:certificatesigningrequests,certificates.k8s.io:certificatesigningrequests/approval",
			"approve certificates.k8s.io:signers kubernetes.io/kube-apiserver-client-kubelet"}, change: nodesAccount(t), want: "shop/db-0 shop/web-1"},
		{name: "certificates of nodes that are approved by themselves", text: []string{"create certificates.k8s.io:certificatesigningrequests,certificates.k8s.io:certificatesigningrequests/nodeclient"},
			change: nodesAccount(t), want: "shop/db-0 shop/web-1"},
		{name: "certificates of nodes are none of others", text: []string{"create certificates.k8s.io:certificatesigningrequests,certificates.k8s.io:certificatesigningrequests/nodeclient"},
			change: func(c *inventory.Cluster) { give(t, c, "dev", "Group", "devs", "create pods/exec") }},
		{name: "impersonating a node's user is no node", text: []string{"impersonate users system:node:n1"}, change: nodesAccount(t)},
		{name: "impersonating any user is no node", text: []string{"impersonate users"}, change: nodesAccount(t)},
		{name: "impersonating a node's user has what names him", text: []string{"impersonate users"}, change: func(c *inventory.Cluster) {
			give(t, c, "dev", "User", "system:node:n1", "create pods/exec")
		}, want: "dev/other dev/run"},
		{name: "impersonating a node's user and group", text: []string{"impersonate users system:node:n1", "impersonate groups system:nodes"}, change: nodesAccount(t), want: "shop/db-0 shop/web-1"},
		{name: "impersonating another node's", text: []string{"impersonate users system:node:n2", "impersonate groups system:nodes"}, change: nodesAccount(t)},
		{name: "impersonating whoever is anonymous", text: []string{"impersonate users system:anonymous"}, change: func(c *inventory.Cluster) {
			give(t, c, "dev", "User", "system:anonymous", "create pods/exec")
		}, want: "dev/other dev/run"},
		{name: "a secret made and read by its name", in: "dev", text: []string{"create secrets", "get secrets mine"}, change: nodesAccount(t), want: "shop/db-0 shop/web-1"},
		{name: "a secret made by its name is none", in: "dev", text: []string{"create,get secrets mine"}, change: nodesAccount(t)},
		{name: "a token for an account that is written as a user", in: "dev", text: []string{"create serviceaccounts/token"}, change: func(c *inventory.Cluster) {
			c.ServiceAccounts, c.Pods = nil, c.Pods[:2]
			give(t, c, "shop", "User", "system:serviceaccount:dev:ci", "create pods/exec")
		}, want: "shop/db-0 shop/web-1"},
		{name: "a Role of the whole cluster is none", change: func(c *inventory.Cluster) {
			bound("x", "pods/exec")(c)
			b := &c.Bindings[len(c.Bindings)-1]
			b.ToClusterRole, b.Subjects[0].Name = false, "ann"
		}},
		{name: "policies that rewrite, with the gate on", minor: 35, text: []string{"create admissionregistration.k8s.io:mutatingadmissionpolicies,admissionregistration.k8s.io:mutatingadmissionpolicybindings"},
			change: func(c *inventory.Cluster) {
				c.Namespaces[0].Enforce, c.Gates = "", map[string]bool{"MutatingAdmissionPolicy": true}
			}, want: all},
		{name: "policies that rewrite, before they were on", minor: 35, text: []string{"create admissionregistration.k8s.io:mutatingadmissionpolicies,admissionregistration.k8s.io:mutatingadmissionpolicybindings"},
			change: func(c *inventory.Cluster) { c.Namespaces[0].Enforce = "" }},
		{name: "a policy that rewrites already", text: []string{"patch admissionregistration.k8s.io:mutatingadmissionpolicies"}, change: func(c *inventory.Cluster) {
			c.Namespaces[0].Enforce = ""
			c.Policies = []inventory.Policy{{Object: inventory.Object{Name: "p"}, Mutating: true, Bound: true}}
		}, want: all},
		{name: "a policy that is not in force", text: []string{"patch admissionregistration.k8s.io:mutatingadmissionpolicies"}, change: func(c *inventory.Cluster) {
			c.Namespaces[0].Enforce = ""
			c.Policies = []inventory.Policy{{Object: inventory.Object{Name: "p"}, Mutating: true}}
		}},
		{name: "a new pod in a namespace of one's own", text: []string{"create namespaces,pods"}, want: all},
		{name: "a new pod in a namespace of one's own takes pods everywhere", in: "shop", text: []string{"create pods"}, change: func(c *inventory.Cluster) {
			give(t, c, "", "User", "ann", "create namespaces")
		}},
		{name: "a new pod anywhere, where not all namespaces were read", text: []string{"create pods"}, change: func(c *inventory.Cluster) { c.Partial = true }, want: all},
		{name: "everything", text: []string{"* *:*"}, want: "everything " + all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			if tt.minor > 0 {
				c.Version.Minor = tt.minor
			}
			for _, text := range tt.text {
				give(t, c, tt.in, "User", "ann", text)
			}
			if tt.change != nil {
				tt.change(c)
			}
			if got := reached(t, c, "user:ann"); got != tt.want {
				t.Errorf("reaches %q, want %q", got, tt.want)
			}
		})
	}
}

// reached says what an actor reaches, asked in both directions: what Reach counts
// has to be what WhoCanExec and Path find.
func reached(t *testing.T, c *inventory.Cluster, who exposure.Actor) string {
	t.Helper()
	a := exposure.New(c)
	r, err := a.Reach(who)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	if r.Everything {
		out = append(out, "everything")
	}
	var pods []string
	for i := range c.Pods {
		p := &c.Pods[i]
		_, ok, err := a.Path(who, p)
		if err != nil {
			t.Fatal(err)
		}
		listed := slices.ContainsFunc(a.WhoCanExec(p), func(e exposure.Exposure) bool { return e.Actor == who })
		if ok != listed {
			t.Errorf("pod %s: path %t, listed %t", p.Name, ok, listed)
		}
		if ok {
			pods = append(pods, p.Namespace+"/"+p.Name)
		}
	}
	if len(pods) != r.Pods {
		t.Errorf("reach counts %d pods, paths lead to %d", r.Pods, len(pods))
	}
	slices.Sort(pods)
	return strings.Join(append(out, pods...), " ")
}

// TestEscape: what breaks out of a container, and what does not.
func TestEscape(t *testing.T) {
	for _, tt := range []struct {
		name string
		pod  func(*inventory.Template)
		want bool
	}{
		{"nothing", func(*inventory.Template) {}, false},
		{"privileged", func(p *inventory.Template) { p.Containers[0].Privileged = true }, true},
		{"privileged in a user namespace", func(p *inventory.Template) { p.Containers[0].Privileged, p.HostUsers = true, inventory.No }, false},
		{"a capability", func(p *inventory.Template) { p.Containers[0].AddCapabilities = []string{"CAP_SYS_ADMIN"} }, true},
		{"a harmless capability", func(p *inventory.Template) { p.Containers[0].AddCapabilities = []string{"NET_BIND_SERVICE"} }, false},
		{"the node's root directory", func(p *inventory.Template) {
			p.HostPaths = []inventory.HostPath{{Container: "app", Path: "/", Mount: "/host"}}
		}, true},
		{"a directory above a socket, read-only", func(p *inventory.Template) {
			p.HostPaths = []inventory.HostPath{{Container: "app", Path: "/var/run/", Mount: "/x", ReadOnly: true}}
		}, true},
		{"logs", func(p *inventory.Template) {
			p.HostPaths = []inventory.HostPath{{Container: "app", Path: "/var/log/app", Mount: "/log"}}
		}, false},
		{"programs", func(p *inventory.Template) {
			p.HostPaths = []inventory.HostPath{{Container: "app", Path: "/usr/local/bin", Mount: "/b"}}
		}, true},
		{"accounts", func(p *inventory.Template) {
			p.HostPaths = []inventory.HostPath{{Container: "app", Path: "/etc/sudoers.d", Mount: "/s"}}
		}, true},
		{"/etc, read-only", func(p *inventory.Template) {
			p.HostPaths = []inventory.HostPath{{Container: "app", Path: "/etc", Mount: "/e", ReadOnly: true}}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			give(t, c, "dev", "User", "ann", "create pods/exec run")
			tt.pod(&c.Pods[2].Template)
			want := "dev/run"
			if tt.want {
				want = "dev/run shop/web-1" // both are on n1
			}
			if got := reached(t, c, "user:ann"); got != want {
				t.Errorf("reaches %q, want %q", got, want)
			}
		})
	}
}

// TestEscapeOfOthers: a container that is not root's breaks out only where something in it
// makes it root, which another one need not.
func TestEscapeOfOthers(t *testing.T) {
	const doubt = "container app runs as another user than root, and nothing in it makes that root"
	number := func(n int64) *int64 { return &n }
	for _, tt := range []struct {
		name string
		pod  func(*inventory.Template)
		want string
	}{
		{"the image's user", func(*inventory.Template) {}, ""},
		{"root", func(p *inventory.Template) { p.Containers[0].User = number(0) }, ""},
		{"another user", func(p *inventory.Template) { p.Containers[0].User = number(7) }, doubt},
		{"another user, of the image", func(p *inventory.Template) { p.Containers[0].Inside = &inventory.Inside{UID: number(7)} }, doubt},
		{"whoever is not root", func(p *inventory.Template) { p.Containers[0].NonRoot = inventory.Yes }, doubt},
		{"another one besides", func(p *inventory.Template) {
			p.Containers[0].User = number(7)
			p.Containers = append(p.Containers, inventory.Container{Name: "side", Privileged: true})
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			give(t, c, "dev", "User", "ann", "create pods/exec run")
			c.Pods[2].Containers[0].Privileged = true
			tt.pod(&c.Pods[2].Template)
			e, ok, err := exposure.New(c).Path("user:ann", &c.Pods[0])
			if err != nil || !ok || e.Via[1].Unless != tt.want {
				t.Errorf("%t %v %+v, want doubt %q", ok, err, e.Via, tt.want)
			}
		})
	}
}

// TestKubeletKey: whoever reads a kubelet's key is its node, and not root on it.
func TestKubeletKey(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"/var/lib/kubelet", "dev/run shop/db-0 shop/web-1"},
		{"/var/lib/kubelet/pki", "dev/run shop/db-0 shop/web-1"},
		{"/var/lib/kubelet/pods", "dev/run"},
	} {
		c := shop()
		c.Pods[2].Token = inventory.No
		c.Pods[2].HostPaths = []inventory.HostPath{{Container: "app", Path: tt.path, ReadOnly: true}}
		give(t, c, "dev", "User", "ann", "create pods/exec run")
		give(t, c, "shop", "ServiceAccount", "shop/web", "create pods/exec") // of a pod on the same node
		if got := reached(t, c, "user:ann"); got != tt.want {
			t.Errorf("%s: reaches %q, want %q", tt.path, got, tt.want)
		}
		if r, err := exposure.New(c).Reach("user:ann"); err != nil || len(r.Nodes) > 0 {
			t.Errorf("%s: root on %v, %v", tt.path, r.Nodes, err)
		}
	}
}

// TestNobodyIsMadeUp: names in a rule about something else are no users, accounts or
// nodes, and a webhook that is to be created has no name.
func TestNobodyIsMadeUp(t *testing.T) {
	for _, text := range []string{"get secrets x", "create pods/exec x", "create admissionregistration.k8s.io:mutatingwebhookconfigurations x"} {
		c := shop()
		c.Namespaces[0].Enforce = "" // a pod that is rewritten breaks out
		before := exposure.New(c).Actors()
		give(t, c, "", "User", "ann", text)
		want := append(slices.Clone(before), "user:ann")
		slices.Sort(want)
		if d := cmp.Diff(want, exposure.New(c).Actors()); d != "" {
			t.Errorf("%s: %s", text, d)
		}
		if got := reached(t, c, "user:ann"); got != "" {
			t.Errorf("%s reaches %q", text, got)
		}
	}
}

// TestDoubts: what may stand in the way of a new pod, or of one whose node is not known.
func TestDoubts(t *testing.T) {
	hook := func(resources ...string) func(*inventory.Cluster) {
		return func(c *inventory.Cluster) {
			c.Webhooks = append(c.Webhooks, inventory.Webhook{Object: inventory.Object{Name: "w"}, Resources: resources})
		}
	}
	privileged := func(c *inventory.Cluster) { c.Namespaces[0].Enforce = "privileged" }
	for _, tt := range []struct {
		name   string
		change func(*inventory.Cluster)
		want   string
	}{
		{"nothing", privileged, ""},
		{"a namespace that was not read", func(c *inventory.Cluster) { c.Namespaces = nil }, "its Pod Security level, which was not read, forbids it"},
		{"Pod Security is turned off", func(c *inventory.Cluster) {
			c.Namespaces, c.APIServer = nil, &inventory.APIServer{AdmissionOff: []string{"PodSecurity"}}
		}, ""},
		{"a webhook", func(c *inventory.Cluster) { privileged(c); hook("apps/deployments", "/pods")(c) }, "the admission webhook w refuses it"},
		{"a webhook that may be away", func(c *inventory.Cluster) { privileged(c); hook("/pods")(c); c.Webhooks[0].Failure = "Ignore" }, "the admission webhook w refuses it, as long as it answers"},
		{"a webhook of everything", func(c *inventory.Cluster) { privileged(c); hook("*/*")(c) }, "the admission webhook w refuses it"},
		{"with subresources", func(c *inventory.Cluster) { privileged(c); hook("*/*/*")(c) }, "the admission webhook w refuses it"},
		{"a webhook of subresources", func(c *inventory.Cluster) { privileged(c); hook("/pods/*", "apps/*", "/*/scale")(c) }, ""},
		{"a policy, and an unknown default", func(c *inventory.Cluster) {
			c.Namespaces[0].Enforce = ""
			c.Policies = []inventory.Policy{{Object: inventory.Object{Name: "p"}, Resources: []string{"/*"}, Actions: []string{"Deny"}}}
		}, "the API server's default Pod Security level says otherwise, or the admission policy p refuses it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			give(t, c, "shop", "User", "ann", "create pods")
			tt.change(c)
			e, ok, err := exposure.New(c).Path("user:ann", &c.Pods[2])
			if err != nil || !ok || e.Via[1].Edge != exposure.EdgeEscape || e.Via[1].Unless != tt.want {
				t.Errorf("%t %+v: %v, want unless %q", ok, e.Via, err, tt.want)
			}
		})
	}
}

// TestPodsWithoutNode: a pod whose node is not known may be on that of any other.
func TestPodsWithoutNode(t *testing.T) {
	c := shop()
	give(t, c, "dev", "User", "ann", "create pods/exec run")
	c.Pods[2].Containers[0].Privileged = true
	c.Pods[3].Node = ""
	if got := reached(t, c, "user:ann"); got != "dev/other dev/run shop/web-1" { // the latter on its node
		t.Errorf("a pod without a node: %q", got)
	}
	c.Pods[2].Node = ""
	if got := reached(t, c, "user:ann"); got != "dev/other dev/run shop/db-0 shop/web-1" {
		t.Errorf("a pod that breaks out to a node that is not known: %q", got)
	}
	e, ok, err := exposure.New(c).Path("user:ann", &c.Pods[0])
	if err != nil || !ok || e.Via[1].Unless == "" {
		t.Errorf("%t %+v: %v: no doubt", ok, e.Via, err)
	}
}

func TestWhoCanExec(t *testing.T) {
	c := shop()
	give(t, c, "shop", "Group", "ops", "create pods/exec")
	give(t, c, "", "Group", "system:serviceaccounts:dev", "create pods/attach")
	give(t, c, "dev", "User", "ann", "create serviceaccounts/token")
	var got []string
	for _, e := range exposure.New(c).WhoCanExec(&c.Pods[0]) {
		got = append(got, fmt.Sprintf("%s %s direct=%t %s %d", e.Actor, e.Channel, e.Direct, e.Scope, len(e.Via)))
	}
	want := []string{
		"group:ops K8-EXEC-SPDY direct=true namespace 1",
		"group:system:serviceaccounts:dev K8-ATTACH direct=true cluster 1",
		"serviceaccount:dev/ci K8-ATTACH direct=true cluster 1",
		"group:system:masters  direct=false cluster 1",
		"node:n1 K8-ATTACH direct=false cluster 2",
		"user:ann K8-ATTACH direct=false cluster 2",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestCut(t *testing.T) {
	c := shop()
	give(t, c, "", "User", "ann", "create pods/exec")       // 4 pairs
	give(t, c, "shop", "User", "ann", "create pods/attach") // none of its own
	give(t, c, "dev", "User", "bob", "create pods/exec")    // 2 pairs
	cut := exposure.New(c).Cut(nil, 5, nil)
	var got []string
	for _, r := range cut.Removals {
		got = append(got, fmt.Sprintf("%s closes %d, left %d: %v", r.Binding, r.Closes, r.Left, r.Actors))
	}
	want := []string{
		"ClusterRoleBinding r0 closes 2, left 4: [user:ann]",
		"RoleBinding shop/r1 closes 2, left 2: [user:ann]",
		"RoleBinding dev/r2 closes 2, left 0: [user:bob]",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%d pairs: %s", cut.Pairs, d)
	}
}

// TestCutOfWhatTwoGive: a step takes two grants, and of one of them there are two. What
// is left when one goes is what there is then.
func TestCutOfWhatTwoGive(t *testing.T) {
	c := shop()
	give(t, c, "shop", "User", "ann", "create secrets")
	give(t, c, "shop", "User", "ann", "create secrets")
	give(t, c, "shop", "User", "ann", "get secrets")
	give(t, c, "", "ServiceAccount", "shop/web", "create pods/exec")
	c.Bindings[3].Default = true
	cut := held(t, c, 4)
	if len(cut.Removals) != 1 || cut.Removals[0].Binding != "RoleBinding shop/r2" {
		t.Errorf("not the one that nothing else gives: %+v", cut.Removals)
	}
}

// TestByDefault: a controller that makes pods gets in by what every new cluster has,
// also where its way leads by a new pod and its node; not by a token that somebody put
// into a pod.
func TestByDefault(t *testing.T) {
	c := shop()
	give(t, c, "", "ServiceAccount", "kube-system/cronjobs", "create pods")
	give(t, c, "", "ServiceAccount", "dev/ci", "create pods/exec")
	c.Bindings[0].Default, c.Bindings[1].Default = true, true
	for actor, want := range map[exposure.Actor]bool{"serviceaccount:kube-system/cronjobs": true, "container:dev/run/app": false} {
		list, err := exposure.New(c).Exposures(actor)
		if err != nil || len(list) == 0 {
			t.Fatal(actor, list, err)
		}
		for _, e := range list {
			if e.ByDefault() != want {
				t.Errorf("%s by default: %v, by %s", actor, !want, exposure.PathText(e.Via))
			}
		}
	}
}

// TestCutCounts: what Cut counts is what Reach finds, before and after.
func TestCutCounts(t *testing.T) {
	for seed := range uint64(20) {
		size := clusters.Size{Seed: seed, Pods: 60, Namespaces: 6, Nodes: 5, Accounts: 20, Roles: 60, Bindings: 60, Users: 20}
		held(t, size.Cluster(), 3)
	}
}

// held holds what Cut says of a cluster to what there is without what it removes.
func held(t *testing.T, c *inventory.Cluster, most int) exposure.Cutting {
	t.Helper()
	cut := exposure.New(c).Cut(nil, most, nil)
	if want := pairsOf(t, c); cut.Pairs != want {
		t.Fatalf("counts %d pairs, there are %d", cut.Pairs, want)
	}
	before := cut.Pairs
	for _, r := range cut.Removals {
		c.Bindings = slices.DeleteFunc(c.Bindings, func(b inventory.Binding) bool { return b.String() == r.Binding })
		if left := pairsOf(t, c); left != r.Left || before-left != r.Closes {
			t.Errorf("without %s there are %d pairs of %d, and it says that it closes %d and leaves %d", r.Binding, left, before, r.Closes, r.Left)
		}
		before = r.Left
	}
	return cut
}

// pairsOf counts the pairs of an actor and a pod.
func pairsOf(t *testing.T, c *inventory.Cluster) (n int) {
	t.Helper()
	a := exposure.New(c)
	for _, who := range a.Actors() {
		if who == "group:system:masters" {
			continue
		}
		r, err := a.Reach(who)
		if err != nil {
			t.Fatal(err)
		}
		n += r.Pods
	}
	return n
}

func TestActors(t *testing.T) {
	a := exposure.New(shop())
	for _, bad := range []exposure.Actor{"", "ann", "user:", "serviceaccount:web", "serviceaccount:/web", "robot:x"} {
		if _, err := a.Reach(bad); err == nil || errors.Is(err, exposure.ErrNobody) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := a.Reach("group:nobody"); !errors.Is(err, exposure.ErrNobody) {
		t.Error(err)
	}
	c := shop()
	give(t, c, "shop", "Group", "system:authenticated", "create pods/exec")
	if r, err := exposure.New(c).Reach("user:nobody"); err != nil || r.Pods != 2 {
		t.Errorf("somebody of whom no binding tells is anyone: %d pods, %v", r.Pods, err)
	}
}

// TestAlwaysAllow: where nobody is asked, everybody gets in; whoever says no name, only
// where that is taken, and perhaps where it is not known.
func TestAlwaysAllow(t *testing.T) {
	server := func(s inventory.APIServer) func(*inventory.Cluster) {
		return func(c *inventory.Cluster) { c.APIServer = &s }
	}
	kubelet := func(k inventory.Kubelet) func(*inventory.Cluster) {
		return func(c *inventory.Cluster) { c.Nodes[0].Kubelet = &k }
	}
	everything := []string{"Node", "AlwaysAllow"}
	for _, tt := range []struct {
		name              string
		change            func(*inventory.Cluster)
		anyone, anonymous int // pods
		doubt             bool
	}{
		{"an API server that asks", server(inventory.APIServer{Anonymous: inventory.Yes, Authorization: []string{"Node", "RBAC"}}), 0, 0, false},
		{"one that does not", server(inventory.APIServer{Anonymous: inventory.No, Authorization: everything}), 4, 0, false},
		{"and takes requests without a name", server(inventory.APIServer{Anonymous: inventory.Yes, Authorization: everything}), 4, 4, false},
		{"perhaps", server(inventory.APIServer{Authorization: everything}), 4, 4, true},
		{"for health checks", server(inventory.APIServer{Anonymous: inventory.Yes, AnonymousPaths: []string{"/livez"}, Authorization: everything}), 4, 0, false},
		{"a kubelet that asks", kubelet(inventory.Kubelet{Anonymous: inventory.Yes, Authorization: "Webhook"}), 0, 0, false},
		{"one that does not, but wants a name", kubelet(inventory.Kubelet{Anonymous: inventory.No, Authorization: "AlwaysAllow"}), 2, 0, false},
		{"or none", kubelet(inventory.Kubelet{Anonymous: inventory.Yes, Authorization: "AlwaysAllow"}), 2, 2, false},
		{"or perhaps none", kubelet(inventory.Kubelet{Authorization: "AlwaysAllow"}), 2, 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			give(t, c, "shop", "Group", "system:unauthenticated", "get pods") // so that there is somebody
			tt.change(c)
			a := exposure.New(c)
			for who, want := range map[exposure.Actor]int{exposure.Anyone: tt.anyone, exposure.Anonymous: tt.anonymous} {
				if r, err := a.Reach(who); err != nil || r.Pods != want {
					t.Errorf("%s reaches %d pods, want %d: %v", who, r.Pods, want, err)
				}
			}
			if e, ok, err := a.Path(exposure.Anonymous, &c.Pods[0]); err != nil || ok != (tt.anonymous > 0) || ok && (e.Via[0].Unless != "") != tt.doubt {
				t.Errorf("%t %+v %v, doubt %t", ok, e, err, tt.doubt)
			}
		})
	}
}

// TestUnknownActors: somebody of whom nothing tells is in the groups of everybody like
// him, and in no other.
func TestUnknownActors(t *testing.T) {
	for _, tt := range []struct {
		group string
		who   []exposure.Actor
		not   []exposure.Actor
	}{
		{"system:authenticated", []exposure.Actor{"user:new", "serviceaccount:x/new", "node:new"}, nil},
		{"system:unauthenticated", nil, []exposure.Actor{"user:new", "serviceaccount:x/new"}},
		{"system:serviceaccounts", []exposure.Actor{"serviceaccount:x/new"}, []exposure.Actor{"user:new", "node:new"}},
		{"system:serviceaccounts:x", []exposure.Actor{"serviceaccount:x/new"}, []exposure.Actor{"serviceaccount:y/new"}},
		{"system:nodes", []exposure.Actor{"node:new"}, []exposure.Actor{"user:new"}},
	} {
		c := shop()
		give(t, c, "shop", "Group", tt.group, "create pods/exec")
		a := exposure.New(c)
		for n, who := range append(slices.Clone(tt.who), tt.not...) {
			want := 0
			if n < len(tt.who) {
				want = 2
			}
			r, err := a.Reach(who)
			list, err2 := a.Exposures(who)
			paths, err3 := a.Paths(who, &c.Pods[0])
			if err = errors.Join(err, err2, err3); err != nil || r.Pods != want || len(list) != want || len(paths) != want/2 || a.Knows(who) {
				t.Errorf("%s for %s: %d pods, %d listed, %d paths, want %d pods: %v", tt.group, who, r.Pods, len(list), len(paths), want, err)
			}
		}
	}
}

// TestUnknownActorHasGroupsTogether: what one group may and what another may is together
// his who is in both.
func TestUnknownActorHasGroupsTogether(t *testing.T) {
	c := shop()
	give(t, c, "", "Group", "system:serviceaccounts", "bind rbac.authorization.k8s.io:clusterroles")
	give(t, c, "", "Group", "system:authenticated", "create rbac.authorization.k8s.io:clusterrolebindings")
	for who, want := range map[exposure.Actor]bool{"serviceaccount:x/new": true, "user:new": false, "serviceaccount:shop/web": true} {
		if r, err := exposure.New(c).Reach(who); err != nil || r.Everything != want {
			t.Errorf("%s: %+v %v", who, r, err)
		}
	}
}

// TestGroupsRightOverOnesOwnRole: what a group may change may be a role that one of it alone
// is bound to, also where that gives nothing yet.
func TestGroupsRightOverOnesOwnRole(t *testing.T) {
	c := shop()
	role("shop", "little", "configmaps")(c)
	c.Bindings = append(c.Bindings, inventory.Binding{Object: inventory.Object{Namespace: "shop", Name: "little"}, Role: "little", Subjects: []inventory.Subject{{Kind: inventory.User, Name: "ann"}}})
	give(t, c, "", "User", "bob", "get configmaps")
	give(t, c, "", "Group", "system:authenticated", "escalate,update rbac.authorization.k8s.io:roles")
	for who, want := range map[exposure.Actor]string{"user:ann": "shop/db-0 shop/web-1", "user:bob": ""} {
		if got := reached(t, c, who); got != want {
			t.Errorf("%s reaches %q, want %q", who, got, want)
		}
	}
}

// TestOwnerIsKeptByLevel: who owns a namespace gets no privileged pod past its level, but
// with a volume of the node's files he does.
func TestOwnerIsKeptByLevel(t *testing.T) {
	const all = "dev/other dev/run shop/db-0 shop/web-1"
	c := shop()
	give(t, c, "shop", "User", "ann", "create pods,persistentvolumeclaims")
	give(t, c, "shop", "User", "ann", "escalate,update rbac.authorization.k8s.io:roles")
	if got := reached(t, c, "user:ann"); got != "shop/db-0 shop/web-1" {
		t.Errorf("the owner of a namespace reaches %q", got)
	}
	give(t, c, "", "User", "ann", "create persistentvolumes")
	if got := reached(t, c, "user:ann"); got != all {
		t.Errorf("with volumes he reaches %q", got)
	}
}

// TestAnonymous: whoever says no name is one, whether he is named by his user or by his
// group, and nobody where the API server refuses him.
func TestAnonymous(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server *inventory.APIServer
		want   string
	}{
		{"nobody told", nil, "dev/other dev/run shop/web-1"},
		{"taken", &inventory.APIServer{Anonymous: inventory.Yes}, "dev/other dev/run shop/web-1"},
		{"refused", &inventory.APIServer{Anonymous: inventory.No}, ""},
		{"for health checks alone", &inventory.APIServer{Anonymous: inventory.Yes, AnonymousPaths: []string{"/healthz"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			c.APIServer = tt.server
			give(t, c, "dev", "User", "system:anonymous", "create pods/exec")
			give(t, c, "shop", "Group", "system:unauthenticated", "create pods/attach web-1")
			for _, who := range []exposure.Actor{exposure.Anonymous, "user:system:anonymous"} {
				r, err := exposure.New(c).Reach(who)
				if pods := len(strings.Fields(tt.want)); err != nil || r.Pods != pods {
					t.Errorf("%s reaches %d pods, want %d: %v", who, r.Pods, pods, err)
				}
			}
			if got := reached(t, c, exposure.Anonymous); got != tt.want {
				t.Errorf("reaches %q, want %q", got, tt.want)
			}
		})
	}
}
