package checks_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/testbed/clusters"
)

// shop is a namespace with two pods, and one elsewhere.
func shop() *inventory.Cluster {
	pod := func(namespace, name string) inventory.Pod {
		return inventory.Pod{Object: inventory.Object{Namespace: namespace, Name: name}, Node: "n1",
			Template: inventory.Template{ServiceAccount: "web", Containers: []inventory.Container{{Name: "app"}}}}
	}
	namespace := func(name string) inventory.Namespace {
		return inventory.Namespace{Object: inventory.Object{Name: name}, Enforce: "restricted"}
	}
	return &inventory.Cluster{
		Version: inventory.Version{Major: 1, Minor: 37}, Namespaces: []inventory.Namespace{namespace("shop"), namespace("dev")},
		ServiceAccounts: []inventory.ServiceAccount{{Object: inventory.Object{Namespace: "shop", Name: "web"}}},
		Pods:            []inventory.Pod{pod("shop", "web-1"), pod("shop", "web-2"), pod("dev", "run")},
	}
}

// give gives somebody a rule; in is a namespace, or "" for everywhere.
func give(c *inventory.Cluster, in string, s inventory.Subject, verbs, group, resources string) {
	name := fmt.Sprintf("b%d", len(c.Bindings))
	o := inventory.Object{Namespace: in, Name: name, Origin: inventory.Origin{Source: "rbac.yaml", Line: 10 * (len(c.Bindings) + 1)}}
	c.Roles = append(c.Roles, inventory.Role{Object: o, Rules: []inventory.Rule{{Verbs: strings.Split(verbs, ","), Groups: []string{group}, Resources: strings.Split(resources, ",")}}})
	c.Bindings = append(c.Bindings, inventory.Binding{Object: o, Role: name, ToClusterRole: in == "", Subjects: []inventory.Subject{s}})
}

func run(c *inventory.Cluster) checks.Report {
	return checks.Run(&inventory.Inventory{Cluster: c}, exposure.New(c))
}

func brief(r checks.Report) (out []string) {
	for _, f := range r.Found {
		out = append(out, fmt.Sprintf("%s %s %s %.1f", f.Rule, f.Subject, f.Severity, f.Score.Value))
	}
	return out
}

func TestFindings(t *testing.T) {
	user := func(name string) inventory.Subject { return inventory.Subject{Kind: inventory.User, Name: name} }
	group := func(name string) inventory.Subject { return inventory.Subject{Kind: inventory.Group, Name: name} }
	for _, tt := range []struct {
		name string
		make func(*inventory.Cluster)
		want []string
	}{
		{"nothing", func(*inventory.Cluster) {}, nil},
		{"reading is none", func(c *inventory.Cluster) { give(c, "", user("ann"), "get,list", "", "pods") }, nil},
		{"exec in a namespace", func(c *inventory.Cluster) { give(c, "shop", group("devs"), "create", "", "pods/exec") },
			[]string{"SP-K8S-002 RoleBinding shop/b0 medium 6.3"}}, // 10 × 0.9 × 0.7 × 1 × 1
		{"exec everywhere by a user", func(c *inventory.Cluster) { give(c, "", user("ann"), "create", "", "pods/exec") },
			[]string{"SP-K8S-002 ClusterRoleBinding b0 medium 6.3"}}, // 10 × 1 × 0.7 × 0.9
		{"each channel by itself", func(c *inventory.Cluster) {
			give(c, "shop", group("devs"), "create,patch", "", "pods/exec,pods/attach,pods/ephemeralcontainers")
		}, []string{"SP-K8S-004 RoleBinding shop/b0 high 7.2", "SP-K8S-002 RoleBinding shop/b0 medium 6.3", "SP-K8S-003 RoleBinding shop/b0 medium 6.3"}},
		{"everything is one finding", func(c *inventory.Cluster) { give(c, "", user("ann"), "*", "*", "*") },
			[]string{"SP-K8S-001 ClusterRoleBinding b0 critical 9.0"}},
		{"defaults are folded", func(c *inventory.Cluster) {
			give(c, "", group("x"), "*", "*", "*")
			c.Bindings[0].Default = true
		}, nil},
		{"anonymous", func(c *inventory.Cluster) { give(c, "dev", group("system:unauthenticated"), "create", "", "pods/exec") },
			[]string{"SP-K8S-015 RoleBinding dev/b0 critical 10.0", "SP-K8S-002 RoleBinding dev/b0 critical 9.8"}},
		{"anyone", func(c *inventory.Cluster) { give(c, "dev", group("system:authenticated"), "create", "", "pods/attach") },
			[]string{"SP-K8S-016 RoleBinding dev/b0 high 8.4", "SP-K8S-003 RoleBinding dev/b0 high 7.4"}},
		{"masters", func(c *inventory.Cluster) { give(c, "dev", group("system:masters"), "get", "", "pods") },
			[]string{"SP-K8S-014 RoleBinding dev/b0 high 7.0"}},
		{"a token in a pod", func(c *inventory.Cluster) {
			give(c, "dev", inventory.Subject{Kind: inventory.ServiceAccountSubject, Namespace: "shop", Name: "web"}, "create", "", "pods/exec")
		}, []string{"SP-K8S-002 RoleBinding dev/b0 medium 4.9", "SP-PATH-002 serviceaccount:shop/web low 3.4"}},
		{"containers that are not kept apart", func(c *inventory.Cluster) {
			c.Pods[2].SharedPID = true
			c.Pods[2].Containers = append(c.Pods[2].Containers, inventory.Container{Name: "side"})
		}, []string{"SP-PATH-003 pod dev/run low 3.4"}},
		{"guards, and APIs", func(c *inventory.Cluster) {
			give(c, "", group("ops"), "delete", "admissionregistration.k8s.io", "validatingwebhookconfigurations")
			give(c, "", user("ann"), "create", "apiregistration.k8s.io", "apiservices")
		}, []string{"SP-K8S-018 ClusterRoleBinding b0 medium 4.0", "SP-K8S-019 ClusterRoleBinding b1 low 3.6"}},
		{"past a Pod Security level", func(c *inventory.Cluster) {
			give(c, "", user("ann"), "create,patch", "", "namespaces,pods")
		}, []string{"SP-K8S-017 ClusterRoleBinding b0 high 8.1", "SP-K8S-007 ClusterRoleBinding b0 high 7.2", "SP-K8S-006 ClusterRoleBinding b0 low 1.4"}},
		{"out of a pod", func(c *inventory.Cluster) {
			c.Pods[2].HostPaths = []inventory.HostPath{{Container: "app", Path: "/run"}}
		},
			[]string{"SP-PATH-001 pod dev/run medium 6.3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			tt.make(c)
			if d := cmp.Diff(tt.want, brief(run(c))); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestFindingStandsAlone: a finding says who, where, why, how much and what to do.
func TestFindingStandsAlone(t *testing.T) {
	c := shop()
	give(c, "shop", inventory.Subject{Kind: inventory.Group, Name: "devs"}, "create", "", "pods/exec")
	f := run(c).Found[0]
	if f.Message != "group:devs can exec in every pod in namespace shop. In the end: 2 of 3 pods" {
		t.Error(f.Message)
	}
	if f.Remedy != "kubectl delete rolebinding -n shop b0  # Leave out pods/exec, or give it for a time" {
		t.Error(f.Remedy)
	}
	want := []finding.Evidence{
		{Source: "rbac.yaml:10", What: "RoleBinding shop/b0 gives Role shop/b0", Detail: "rule 1: create pods/exec (rbac.yaml:10)"},
		{Source: "severity", What: "6.3 = 10 × reach 0.9 (2 of 3 pods) × privilege 0.7 (as the container is) × who 1.0 (a group or service account) × exposure 1.0 (unknown from where the API server can be reached)"},
	}
	if d := cmp.Diff(want, f.Evidence); d != "" {
		t.Error(d)
	}
	if !slices.Contains(f.Unknown, "api_server.public") || f.At.Line != 10 || f.ID != finding.NewID("SP-K8S-002", "RoleBinding shop/b0") {
		t.Errorf("%+v", f)
	}
}

// TestExposure: where the API server can be reached from changes what matters.
func TestExposure(t *testing.T) {
	for public, want := range map[inventory.Answer]float64{inventory.Unknown: 7, inventory.Yes: 8.4, inventory.No: 6.3} {
		c := shop()
		c.APIServer = &inventory.APIServer{Public: public}
		give(c, "", inventory.Subject{Kind: inventory.Group, Name: "devs"}, "create", "", "pods/exec")
		if f := run(c).Found[0]; f.Score.Value != want || slices.Contains(f.Unknown, "api_server.public") != (public == inventory.Unknown) {
			t.Errorf("public %s: %v, unknown %v", public, f.Score, f.Unknown)
		}
	}
}

// TestUnreadIsNoPass: what was not read is in the report, with what it means.
func TestUnreadIsNoPass(t *testing.T) {
	i := &inventory.Inventory{Unread: []inventory.Unread{{What: inventory.PartClusterRoles, From: "prod", Why: "forbidden"}}}
	r := checks.Run(i, nil)
	if len(r.Gaps) != 1 || r.Gaps[0].Means == "" || r.Gaps[0].Why != "forbidden" {
		t.Errorf("%+v", r.Gaps)
	}
}

// TestRules: every rule has all that a finding repeats, and an id of its own.
func TestRules(t *testing.T) {
	form, weighed := regexp.MustCompile(`^SP-(DKR|IMG|K8S|KLT|PATH|PSS)-\d{3}$`), regexp.MustCompile(`^SP-(K8S-0|PATH-)\d{2,3}$`)
	seen, last := map[string]bool{}, ""
	for _, r := range checks.Rules() {
		if !form.MatchString(r.ID) || seen[r.ID] || r.ID < last || r.Title == "" || r.Remedy == "" {
			t.Errorf("rule %+v", r)
		}
		if r.Weighed != weighed.MatchString(r.ID) || r.Weighed && len(r.Attack) == 0 {
			t.Errorf("rule %+v", r)
		}
		last = r.ID
		for _, a := range r.Attack {
			if a.Name() == "" {
				t.Errorf("%s: unknown technique %s", r.ID, a)
			}
		}
		seen[r.ID] = true
	}
}

// TestSubjectsAreStable: the same inventory gives the same findings, no two with one
// id, also when its bindings come in another order.
func TestSubjectsAreStable(t *testing.T) {
	for seed := range uint64(5) {
		size := clusters.Size{Seed: seed, Pods: 40, Namespaces: 5, Nodes: 4, Accounts: 15, Roles: 40, Bindings: 60, Users: 10}
		one, two := size.Cluster(), size.Cluster()
		slices.Reverse(two.Bindings)
		a, b := brief(run(one)), brief(run(two))
		slices.Sort(a)
		slices.Sort(b)
		if d := cmp.Diff(a, b); d != "" {
			t.Errorf("seed %d: %s", seed, d)
		}
		ids := map[finding.ID]bool{}
		for _, f := range run(one).Found {
			if ids[f.ID] {
				t.Errorf("seed %d: two findings are %s %s", seed, f.Rule, f.Subject)
			}
			ids[f.ID] = true
		}
	}
}

// TestSettingsAreReported holds that hosts are looked at without a cluster, too, and
// that what nobody could tell of a setting is open.
func TestSettingsAreReported(t *testing.T) {
	i := &inventory.Inventory{Hosts: []inventory.Host{{
		Name: "h", Kubelet: &inventory.Kubelet{Anonymous: inventory.Yes}, Docker: &inventory.Docker{},
		APIServer: &inventory.APIServer{
			TokenFile: inventory.Yes, Profiling: inventory.Yes, Admission: []string{"AlwaysAdmit"}, AdmissionOff: []string{"PodSecurity"},
		},
		Listeners: []inventory.Listener{{Service: inventory.ServiceDocker, Address: "192.0.2.1:2375", TLS: inventory.No, ClientCert: inventory.No}},
	}}}
	r := checks.Run(i, nil)
	var got []string
	for _, f := range r.Found {
		got = append(got, fmt.Sprintf("%s %s %.1f", f.Rule, f.Severity, f.Score.Value))
	}
	if len(got) < 2 || got[0] != "SP-DKR-001 critical 9.0" || !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "SP-KLT-001 ") }) {
		t.Errorf("%q", got)
	}
	for _, want := range []string{"SP-KLT-002", "SP-DKR-009"} {
		if !slices.ContainsFunc(r.Open, func(o posture.Open) bool { return o.Rule == want }) {
			t.Errorf("%s is unknown and not open: %v", want, r.Open)
		}
	}
	known := map[string]bool{}
	for _, rule := range checks.Rules() {
		known[rule.ID] = true
	}
	for _, f := range r.Found {
		if !known[f.Rule] || f.Message == "" {
			t.Errorf("%+v", f)
		}
	}
	for _, o := range r.Open {
		if !known[o.Rule] || o.Why == "" {
			t.Errorf("%+v", o)
		}
	}
}

// TestIDsHaveNoLines: a finding keeps its id when what it is about moves to another line
// or file.
func TestIDsHaveNoLines(t *testing.T) {
	size := clusters.Size{Seed: 3, Pods: 40, Namespaces: 5, Nodes: 4, Accounts: 15, Roles: 40, Bindings: 60, Users: 10}
	moved := func(source string, line int) (out []finding.ID) {
		c := size.Cluster()
		for i := range c.Bindings {
			c.Bindings[i].Origin = inventory.Origin{Source: source, Line: line + i}
		}
		for i := range c.Roles {
			c.Roles[i].Origin = inventory.Origin{Source: source, Line: line + i}
		}
		for i := range c.Pods {
			c.Pods[i].Origin = inventory.Origin{Source: source, Line: line + i}
		}
		for _, f := range run(c).Found {
			out = append(out, f.ID)
		}
		return out
	}
	one := moved("a.yaml", 1)
	if d := cmp.Diff(one, moved("b/c.yaml", 1000)); d != "" || len(one) < 10 {
		t.Errorf("%d findings: %s", len(one), d)
	}
}

// TestEveryPathIsKnown: of random clusters, each finding about a pod that leads on has
// its steps, from that pod on.
func TestEveryPathIsKnown(t *testing.T) {
	seen := 0
	for seed := range uint64(10) {
		size := clusters.Size{Seed: seed, Pods: 40, Namespaces: 5, Nodes: 4, Accounts: 15, Roles: 40, Bindings: 60, Users: 10}
		c := size.Cluster()
		leads := exposure.New(c).Leads()
		for _, f := range run(c).Found {
			via := f.Path(leads)
			if !strings.HasPrefix(f.Rule, "SP-PATH-") {
				if via != nil {
					t.Errorf("seed %d: %s %s has steps", seed, f.Rule, f.Subject)
				}
				continue
			}
			seen++
			if len(via) == 0 || via[0].From != "pod "+f.Target.Namespace+"/"+f.Target.Pod {
				t.Errorf("seed %d: %s %s: %+v", seed, f.Rule, f.Subject, via)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d", seen)
	}
}
