package exposure_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/testbed/clusters"
)

func TestExposures(t *testing.T) {
	c := shop()
	give(t, c, "shop", "User", "ann", "create pods/exec,pods/attach web-1")
	give(t, c, "dev", "User", "ann", "create serviceaccounts/token")
	give(t, c, "dev", "ServiceAccount", "dev/ci", "create pods/exec")
	list, err := exposure.New(c).Exposures("user:ann")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprintf("%s/%s %s direct=%t %s %d", e.Target.Namespace, e.Target.Pod, e.Channel, e.Direct, e.Scope, len(e.Via)))
	}
	want := []string{
		"dev/other K8-EXEC-SPDY direct=false namespace 2",
		"dev/run K8-EXEC-SPDY direct=false namespace 2",
		"shop/web-1 K8-ATTACH direct=true object 1",
		"shop/web-1 K8-EXEC-SPDY direct=true object 1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestExposuresAreWhatIsReached: of random clusters, each pod that Reach counts is
// listed, and no other; and the ways that Paths has for it are there.
func TestExposuresAreWhatIsReached(t *testing.T) {
	for seed := range uint64(10) {
		size := clusters.Size{Seed: seed, Pods: 40, Namespaces: 5, Nodes: 4, Accounts: 15, Roles: 40, Bindings: 40, Users: 10}
		c := size.Cluster()
		a := exposure.New(c)
		for _, who := range a.Actors() {
			r, err := a.Reach(who)
			if err != nil {
				t.Fatal(err)
			}
			list, err := a.Exposures(who)
			if err != nil {
				t.Fatal(err)
			}
			ways := map[string][]string{}
			for _, e := range list {
				pod := e.Target.Namespace + " " + e.Target.Pod
				ways[pod] = append(ways[pod], fmt.Sprint(e.Channel, e.Direct))
			}
			if len(ways) != r.Pods {
				t.Errorf("seed %d: %s reaches %d pods, and %d are listed", seed, who, r.Pods, len(ways))
			}
			for i := range c.Pods {
				p := &c.Pods[i]
				paths, err := a.Paths(who, p)
				if err != nil {
					t.Fatal(err)
				}
				if got := ways[p.Namespace+" "+p.Name]; len(got) != len(paths) {
					t.Fatalf("seed %d: %s into %s: %v, and %d paths", seed, who, p.Name, got, len(paths))
				}
			}
		}
	}
}

// changed writes what Diff says between two clusters, a line to a change.
func changed(before, after *inventory.Cluster) string {
	var out []string
	for _, c := range exposure.Diff(exposure.New(before), exposure.New(after)) {
		line := fmt.Sprintf("%s %s %s %q", c.Change, c.Actor, c.Scope, c.Target.Namespace)
		if c.Direct {
			line += " " + string(c.Channel)
		}
		if c.Target.Pod != "" {
			line += " " + c.Target.Pod
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestDiff(t *testing.T) {
	exec := func(in, kind, who string) func(*testing.T, *inventory.Cluster) {
		return func(t *testing.T, c *inventory.Cluster) { give(t, c, in, kind, who, "create pods/exec") }
	}
	for _, tt := range []struct {
		name          string
		before, after func(*testing.T, *inventory.Cluster)
		want          []string
	}{
		{name: "nothing"},
		{name: "opened", after: exec("shop", "Group", "devs"), want: []string{`opened group:devs namespace "shop" K8-EXEC-SPDY`}},
		{name: "closed", before: exec("shop", "Group", "devs"), want: []string{`closed group:devs namespace "shop" K8-EXEC-SPDY`}},
		{name: "narrowed", before: exec("", "User", "ann"), after: exec("shop", "User", "ann"), want: []string{`closed user:ann cluster "" K8-EXEC-SPDY`}},
		{name: "widened", before: exec("shop", "User", "ann"), after: exec("", "User", "ann"), want: []string{`opened user:ann cluster "" K8-EXEC-SPDY`}},
		{name: "the same by another role", before: exec("shop", "User", "ann"), after: func(t *testing.T, c *inventory.Cluster) {
			give(t, c, "shop", "User", "ann", "get pods")
			give(t, c, "shop", "User", "ann", "create pods/exec")
		}},
		{name: "a pod comes and another goes", before: exec("shop", "User", "ann"), after: func(t *testing.T, c *inventory.Cluster) {
			exec("shop", "User", "ann")(t, c)
			c.Pods[0].Name = "web-2"
		}},
		{name: "one pod", after: func(t *testing.T, c *inventory.Cluster) { give(t, c, "shop", "User", "ann", "create pods/exec web-1") },
			want: []string{`opened user:ann object "shop" K8-EXEC-SPDY web-1`}},
		{name: "several pods, in order", after: func(t *testing.T, c *inventory.Cluster) {
			give(t, c, "", "User", "ann", "create pods/exec web-1,run,db-0,other")
		}, want: []string{
			`opened user:ann object "dev" K8-EXEC-SPDY other`, `opened user:ann object "dev" K8-EXEC-SPDY run`,
			`opened user:ann object "shop" K8-EXEC-SPDY web-1`, `opened user:ann object "shop" K8-EXEC-SPDY db-0`,
		}},
		{name: "by way of others", before: func(t *testing.T, c *inventory.Cluster) {
			give(t, c, "dev", "User", "ann", "create serviceaccounts/token")
		},
			after: func(t *testing.T, c *inventory.Cluster) {
				give(t, c, "dev", "User", "ann", "create serviceaccounts/token")
				give(t, c, "shop", "ServiceAccount", "dev/ci", "create pods/exec")
			}, want: []string{
				`opened serviceaccount:dev/ci namespace "shop" K8-EXEC-SPDY`,
				`opened user:ann namespace "shop"`,
			}},
		{name: "for a group, and not each in it", after: exec("shop", "Group", "system:serviceaccounts"),
			want: []string{`opened group:system:serviceaccounts namespace "shop" K8-EXEC-SPDY`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, after := shop(), shop()
			if tt.before != nil {
				tt.before(t, before)
			}
			if tt.after != nil {
				tt.after(t, after)
			}
			if d := cmp.Diff(strings.Join(tt.want, "\n"), changed(before, after)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestDiffMirrors: what opens one way closes the other way, and nothing differs from
// itself.
func TestDiffMirrors(t *testing.T) {
	for seed := range uint64(10) {
		size := clusters.Size{Seed: seed, Pods: 40, Namespaces: 5, Nodes: 4, Accounts: 15, Roles: 40, Bindings: 40, Users: 10}
		one, two := size.Cluster(), size.Cluster()
		if got := changed(one, two); got != "" {
			t.Fatalf("seed %d: the same cluster differs: %s", seed, got)
		}
		two.Bindings = slices.Delete(two.Bindings, 0, 10)
		swap := strings.NewReplacer("opened", "closed", "closed", "opened")
		there, back := strings.Split(changed(one, two), "\n"), strings.Split(swap.Replace(changed(two, one)), "\n")
		slices.Sort(there)
		slices.Sort(back)
		if d := cmp.Diff(there, back); d != "" {
			t.Errorf("seed %d: %s", seed, d)
		}
		if strings.Contains(strings.Join(there, "\n"), "opened") {
			t.Errorf("seed %d: bindings were taken away, and something opened: %v", seed, there)
		}
	}
}

func TestCutOf(t *testing.T) {
	c := shop()
	give(t, c, "", "User", "ann", "create pods/exec")
	give(t, c, "shop", "User", "bob", "create pods/exec")
	give(t, c, "shop", "User", "bob", "create pods/attach")
	give(t, c, "", "User", "root", "create pods/exec")
	c.Bindings[3].Default = true
	cut := exposure.New(c).Cut(func(p *inventory.Pod) bool { return p.Namespace == "shop" }, 9, nil)
	var got []string
	for _, r := range cut.Removals {
		got = append(got, fmt.Sprintf("%s closes %d, left %d: %s", r.Binding, r.Closes, r.Left, r.Patch))
	}
	want := []string{
		"ClusterRoleBinding r0 closes 2, left 4: kubectl delete clusterrolebinding r0",
		"RoleBinding shop/r1 closes 0, left 4: kubectl delete rolebinding -n shop r1",
		"RoleBinding shop/r2 closes 2, left 2: kubectl delete rolebinding -n shop r2",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if cut.Pairs != 6 || cut.Lasting != 2 {
		t.Errorf("%d pairs, of which %d last; want 6 and 2", cut.Pairs, cut.Lasting)
	}
}

func TestWord(t *testing.T) {
	for name, want := range map[string]string{
		"devs": "devs", "system:node": "system:node", "": "''", "a b": "'a b'", "$(id)": "'$(id)'", "it's": `'it'\''s'`, "-n": "-- -n",
	} {
		if got := exposure.Word(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

func TestLevers(t *testing.T) {
	c := shop()
	give(t, c, "shop", "Group", "devs", "create pods/exec,pods/attach")
	give(t, c, "", "User", "root", "* *:*")
	give(t, c, "", "User", "boot", "* *:*")
	c.Bindings[2].Default = true
	give(t, c, "", "User", "ann", "bind,create rbac.authorization.k8s.io:clusterroles,rbac.authorization.k8s.io:clusterrolebindings")
	levers, folded := exposure.New(c).Weigh().Levers()
	var got []string
	for _, l := range levers {
		got = append(got, fmt.Sprintf("%s %q %v pods=%d node=%t everything=%t", l.Binding.Name, l.Edge, l.Actors, l.Pods, l.Node, l.Everything))
	}
	want := []string{
		`r0 "X1" [group:devs] pods=2 node=false everything=false`,
		`r0 "X2" [group:devs] pods=2 node=false everything=false`,
		`r1 "" [user:root] pods=4 node=true everything=true`,
		`r3 "X12" [user:ann] pods=4 node=true everything=true`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if folded == 0 {
		t.Error("the default binding was not counted")
	}
}

func TestBreakoutsAndTokens(t *testing.T) {
	c := shop()
	give(t, c, "shop", "ServiceAccount", "dev/ci", "create pods/exec")
	c.Pods[1].Containers[0].Privileged = true
	a := exposure.New(c).Weigh()
	b := a.Breakouts()
	if len(b) != 1 || b[0].Pod.Name != "db-0" || b[0].Pods != 2 {
		t.Errorf("breakouts: %+v", b)
	}
	k := a.Tokens()
	if len(k) != 1 || k[0].Actor != "serviceaccount:dev/ci" || k[0].Pod.Name != "run" || k[0].Pods != 3 {
		t.Errorf("tokens: %+v", k) // two in shop, and by db-0 the other one of its node
	}
}

// TestLeads: from a pod on, with the token in it or by breaking out, to the most that it
// comes to.
func TestLeads(t *testing.T) {
	c := shop()
	give(t, c, "dev", "ServiceAccount", "shop/web", "create serviceaccounts/token")
	give(t, c, "dev", "ServiceAccount", "dev/ci", "create pods/exec")
	for i := range c.Pods {
		c.Pods[i].Token = inventory.Yes
	}
	out := &c.Pods[slices.IndexFunc(c.Pods, func(p inventory.Pod) bool { return p.Name == "run" })]
	out.HostPaths = []inventory.HostPath{{Container: out.Containers[0].Name, Path: "/etc"}}
	a := exposure.New(c)
	web := &c.Pods[slices.IndexFunc(c.Pods, func(p inventory.Pod) bool { return p.Namespace == "shop" })]
	brief := func(via []exposure.Step) (out []string) {
		for _, s := range via {
			out = append(out, fmt.Sprintf("%s: %s -> %s (%d)", s.Edge.Does(), s.From, s.To, len(s.Grants)))
		}
		return out
	}
	want := []string{
		"token in the pod: pod shop/" + web.Name + " -> serviceaccount:shop/web (0)",
		"token made: serviceaccount:shop/web -> any service account in namespace dev (1)",
		"exec: serviceaccount:dev/ci -> every pod in namespace dev (1)",
		"break out: pod dev/run -> root on node " + out.Node + " (0)",
		"break out: pod dev/run -> root on node " + out.Node + " (0)",
		"root on the node: root on node " + out.Node + " -> pods on node " + out.Node + " (0)",
	}
	if d := cmp.Diff(want, brief(append(a.Leads().Of(web, "serviceaccount:shop/web"), a.Leads().Of(out, "")...))); d != "" {
		t.Error(d)
	}
	if via := a.Leads().Of(web, ""); via != nil {
		t.Errorf("out of a pod that is closed: %v", brief(via))
	}
	out.Node = ""
	want = []string{
		"break out: pod dev/run -> root on any node (0)",
		"root on the node: root on any node -> pods whose node is not known (0)",
	}
	if d := cmp.Diff(want, brief(exposure.New(c).Leads().Of(out, ""))); d != "" {
		t.Error("of a manifest: " + d)
	}
}
