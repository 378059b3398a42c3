package usage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
	"github.com/sallyport/sallyport/internal/core/posture/usage"
	"github.com/sallyport/sallyport/internal/core/session"
)

// written writes a plan, a line to a rule, a removal and what is kept.
func written(p *usage.Plan) (out []string) {
	for _, x := range p.Proposals {
		for _, r := range x.Role.Rules {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s in %q: %s %s:%s %s", x.Actor, x.Role.Namespace, strings.Join(r.Verbs, ","), r.Groups[0], r.Resources[0], strings.Join(r.Names, ","))))
		}
	}
	for _, r := range p.Removals {
		line := r.Patch
		if r.Replaced {
			line += " (replaced)"
		}
		if len(r.Loses) > 0 {
			line += " loses " + strings.Join(r.Loses, "; ")
		}
		out = append(out, line)
	}
	for _, k := range p.Kept {
		out = append(out, "keep "+k.Binding)
	}
	return out
}

func TestPlan(t *testing.T) {
	exec := func(user, ns, pod string, groups ...string) *session.Session {
		return asked(user, "K8-EXEC-SPDY", "create", ns, pod, groups...)
	}
	for _, tt := range []struct {
		name     string
		minor    int
		give     func(*inventory.Cluster)
		sessions []*session.Session
		want     []string
	}{
		{
			name: "a wide role becomes a namespace's", minor: 37,
			give:     func(c *inventory.Cluster) { give(c, "", "wide", "User ann", "* *:*,*") },
			sessions: []*session.Session{exec("ann", "shop", "web-7f-x"), asked("ann", "K8-EXEC-WS", "get", "shop", "web-7f-x")},
			want: []string{
				`user:ann in "shop": get :pods`, `user:ann in "shop": create,get :pods/exec`,
				"kubectl delete clusterrolebinding wide (replaced) loses * *, *",
			},
		},
		{
			name: "pods that keep their names are named", minor: 37,
			give:     func(c *inventory.Cluster) { give(c, "shop", "all", "User ann", "create pods/exec", "get pods") },
			sessions: []*session.Session{exec("ann", "shop", "db-0"), exec("ann", "shop", "run")},
			want: []string{
				`user:ann in "shop": get :pods db-0,run`, `user:ann in "shop": create :pods/exec db-0,run`,
				"kubectl delete rolebinding -n shop all (replaced) loses get pods",
			},
		},
		{
			name: "nobody is given more than he has", minor: 37,
			give:     func(c *inventory.Cluster) { give(c, "", "all", "User ann", "create pods/exec") },
			sessions: []*session.Session{exec("ann", "shop", "db-0")},
			want:     []string{`user:ann in "shop": create :pods/exec db-0`, "kubectl delete clusterrolebinding all (replaced)"},
		},
		{
			name: "what is the least already stays", minor: 37,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "least", "User ann,User ben", "create,get pods/exec db-0")
				give(c, "shop", "more", "User ann", "create pods/exec")
			},
			sessions: []*session.Session{exec("ann", "shop", "db-0")},
			want:     []string{"kubectl delete rolebinding -n shop more (replaced)", "keep RoleBinding shop/least"},
		},
		{
			name: "everywhere only where it was everywhere", minor: 37,
			give:     func(c *inventory.Cluster) { give(c, "", "all", "Group devs", "create pods/exec", "get,list pods") },
			sessions: []*session.Session{exec("ann", "shop", "web-7f-x", "devs"), exec("ann", "dev", "web-7f-x", "devs"), exec("ben", "dev", "web-7f-x", "devs")},
			want: []string{
				`user:ann in "": get :pods`, `user:ann in "": create :pods/exec`,
				`user:ben in "dev": get :pods`, `user:ben in "dev": create :pods/exec`,
				"kubectl delete clusterrolebinding all (replaced) loses get, list pods",
			},
		},
		{
			name: "what every new cluster has is left alone", minor: 37,
			give: func(c *inventory.Cluster) {
				give(c, "", "std", "Group devs", "create pods/exec")
				c.Bindings[0].Default = true
				give(c, "shop", "own", "User ann", "create pods/exec")
			},
			sessions: []*session.Session{exec("ann", "shop", "db-0", "devs")},
			want:     []string{"kubectl delete rolebinding -n shop own (replaced)"},
		},
		{
			name: "what is least stays only with what kubectl asks for", minor: 37,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "exec", "User ann", "create pods/exec db-0")
				give(c, "shop", "more", "User ann", "get pods", "create pods/attach")
			},
			sessions: []*session.Session{exec("ann", "shop", "db-0")},
			want: []string{
				`user:ann in "shop": get :pods db-0`, `user:ann in "shop": create :pods/exec db-0`,
				"kubectl delete rolebinding -n shop exec (replaced)", "kubectl delete rolebinding -n shop more loses get pods",
			},
		},
		{
			name: "and by a binding that leads to no command", minor: 37,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "exec", "User ann", "create pods/exec db-0")
				give(c, "", "view", "User ann", "get pods")
			},
			sessions: []*session.Session{exec("ann", "shop", "db-0")},
			want:     []string{"keep RoleBinding shop/exec"},
		},
		{
			name: "an earlier proposal is changed, not removed", minor: 37,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "sallyport-user-ann", "User ann", "create pods/exec run")
				give(c, "", "wide", "User ann", "create pods/exec")
			},
			sessions: []*session.Session{exec("ann", "shop", "db-0")},
			want:     []string{`user:ann in "shop": create :pods/exec db-0`, "kubectl delete clusterrolebinding wide (replaced)"},
		},
		{
			name: "of perhaps used ones none goes", minor: 37,
			give: func(c *inventory.Cluster) { give(c, "shop", "own", "User ann", "create pods/exec") },
			sessions: []*session.Session{func() *session.Session {
				s := exec("ann", "shop", "db-0")
				s.Attribution = session.Attribution{Level: session.LevelSet, Candidates: []session.Actor{s.Actor}}
				return s
			}()},
			want: []string{"keep RoleBinding shop/own"},
		},
		{
			name: "a service account, and what kubectl debug watches", minor: 37,
			give:     func(c *inventory.Cluster) { give(c, "", "all", "ServiceAccount dev/ci", "* :*,*") },
			sessions: []*session.Session{asked("system:serviceaccount:dev:ci", "K8-EPH", "patch", "shop", "db-0")},
			want: []string{
				`serviceaccount:dev/ci in "shop": get,list,watch :pods db-0`, `serviceaccount:dev/ci in "shop": patch :pods/ephemeralcontainers db-0`,
				"kubectl delete clusterrolebinding all (replaced) loses * *, *",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop(tt.minor)
			tt.give(c)
			y := tally(c, watching(), tt.sessions...)
			r := y.Report()
			p := y.Plan(&r)
			if d := cmp.Diff(tt.want, written(&p)); d != "" {
				t.Error(d)
			}
		})
	}
}

// what a request takes, by channel and verb, as the API server asks; written apart from
// the package's own tables.
var takes = []struct {
	channel, verb, kind, workload string
	asks                          func(strict bool, ns, pod string) []rbac.Ask
	names                         func(pod string) string
}{
	{channel: "K8-EXEC-SPDY", verb: "create", asks: sub("exec", "create")},
	{channel: "K8-EXEC-WS", verb: "get", asks: socket("exec")},
	{channel: "K8-ATTACH-WS", verb: "get", asks: socket("attach")},
	{channel: "K8-CP", verb: "create", kind: "copy", asks: sub("exec", "create")},
	{channel: "K8-EPH", verb: "patch", kind: "debug", asks: sub("ephemeralcontainers", "patch")},
	{channel: "K8-PF", verb: "create", kind: "forward", asks: sub("portforward", "create")},
	{channel: "K8-PATCHIMG", verb: "update", kind: "change", asks: sub("", "update")},
	{channel: "K8-POD", verb: "create", kind: "change", asks: sub("", "create"), names: none},
	{channel: "K8-WORKLOAD", verb: "create", kind: "change", workload: "Job/j", asks: object2("batch", "jobs", "create"), names: none},
	{channel: "K8-WORKLOAD", verb: "patch", kind: "change", workload: "Deployment/web", asks: object2("apps", "deployments", "patch"), names: func(string) string { return "web" }},
	{channel: "K8-NPROXY-RUN", verb: "create", asks: object2("", "nodes/proxy", "create"), names: func(string) string { return "n1" }},
}

func none(string) string { return "" }

func sub(name, verb string) func(bool, string, string) []rbac.Ask {
	return func(bool, string, string) []rbac.Ask {
		return []rbac.Ask{{Verb: verb, Resource: "pods", Subresource: name}}
	}
}

func socket(name string) func(bool, string, string) []rbac.Ask {
	return func(strict bool, _, _ string) []rbac.Ask {
		out := []rbac.Ask{{Verb: "get", Resource: "pods", Subresource: name}}
		if strict {
			out = append(out, rbac.Ask{Verb: "create", Resource: "pods", Subresource: name})
		}
		return out
	}
}

func object2(group, resource, verb string) func(bool, string, string) []rbac.Ask {
	name, sub, _ := strings.Cut(resource, "/")
	return func(bool, string, string) []rbac.Ask {
		return []rbac.Ask{{Verb: verb, Group: group, Resource: name, Subresource: sub}}
	}
}

// everything is all questions of this test.
var everything = func() *rbac.Table {
	var asks []rbac.Ask
	for _, sub := range []string{"exec", "attach", "portforward"} {
		asks = append(asks, rbac.Ask{Verb: "create", Resource: "pods", Subresource: sub}, rbac.Ask{Verb: "get", Resource: "pods", Subresource: sub})
	}
	for _, verb := range []string{"patch", "update"} {
		asks = append(asks, rbac.Ask{Verb: verb, Resource: "pods", Subresource: "ephemeralcontainers"}, rbac.Ask{Verb: verb, Resource: "pods"})
	}
	for _, verb := range []string{"create", "get"} {
		asks = append(asks, rbac.Ask{Verb: verb, Resource: "nodes", Subresource: "proxy"})
	}
	asks = append(asks, rbac.Ask{Verb: "create", Resource: "pods"}, rbac.Ask{Verb: "get", Resource: "pods"})
	for _, r := range []string{"apps/deployments", "apps/statefulsets", "batch/jobs"} {
		group, name, _ := strings.Cut(r, "/")
		for _, verb := range []string{"create", "patch", "update"} {
			asks = append(asks, rbac.Ask{Verb: verb, Group: group, Resource: name})
		}
	}
	for _, r := range []string{"users", "groups", "serviceaccounts"} {
		asks = append(asks, rbac.Ask{Verb: "impersonate", Resource: r})
	}
	return rbac.NewTable(asks)
}()

// request is a question of everything about an object, in somebody's name.
type request struct {
	id              rbac.Identity
	ask             int
	namespace, name string
}

func (r request) allowed(x *rbac.Index) bool { return x.Can(r.id, r.ask, r.namespace, r.name) }

func numberOf(a rbac.Ask) int { return slices.Index(everything.Asks, a) }

// beside reports whether a question leads to no command by itself.
func beside(a rbac.Ask, strict bool) bool {
	return a.Subresource == "portforward" || a.Verb == "get" && (a.Subresource == "" || strict && a.Resource == "pods")
}

var someRules = []string{
	"create pods/exec", "get pods/exec", "create,get pods/exec,pods/attach", "create pods/exec db-0", "create,get pods/exec run,db-0", "* pods,pods/exec",
	"patch pods/ephemeralcontainers", "create pods/portforward", "create pods", "get,list,watch pods", "* *:*", "* *:*,*", "patch,update apps:deployments",
	"patch apps:deployments web", "create batch:jobs", "create,get nodes/proxy", "create nodes/proxy n1", "impersonate users,groups,serviceaccounts",
	"impersonate users u1", "impersonate groups g1", "get secrets", "* */exec",
}

// someCluster draws a cluster of a few roles.
func someCluster(t *rapid.T) *inventory.Cluster {
	c := shop(rapid.SampledFrom([]int{34, 37}).Draw(t, "minor"))
	for n := range rapid.IntRange(1, 6).Draw(t, "roles") {
		in := rapid.SampledFrom([]string{"", "shop", "dev"}).Draw(t, "in")
		var who []string
		for range rapid.IntRange(1, 2).Draw(t, "subjects") {
			who = append(who, rapid.SampledFrom([]string{"User u0", "User u1", "User u2", "Group g0", "Group g1", "ServiceAccount dev/ci"}).Draw(t, "who"))
		}
		rules := rapid.SliceOfN(rapid.SampledFrom(someRules), 1, 3).Draw(t, "rules")
		give(c, in, fmt.Sprintf("r%d", n), strings.Join(who, ","), rules...)
		c.Bindings[n].Default = rapid.IntRange(0, 9).Draw(t, "default") == 0
	}
	return c
}

var identities = []rbac.Identity{
	{User: "u0", Groups: []string{"system:authenticated", "g0"}}, {User: "u1", Groups: []string{"system:authenticated", "g1"}},
	{User: "u2", Groups: []string{"system:authenticated"}}, {User: "system:serviceaccount:dev:ci", Groups: rbac.IdentityOf("system:serviceaccount:dev:ci").Groups},
}

// someSession draws a session, and what its request takes.
func someSession(t *rapid.T, strict bool) (*session.Session, []request) {
	k := rapid.SampledFrom(takes).Draw(t, "channel")
	id := rapid.SampledFrom(identities).Draw(t, "who")
	ns, pod := rapid.SampledFrom([]string{"shop", "dev"}).Draw(t, "namespace"), rapid.SampledFrom([]string{"run", "db-0", "web-7f-x"}).Draw(t, "pod")
	s := asked(id.User, k.channel, k.verb, ns, pod, id.Groups...)
	if k.kind != "" {
		s.Kind = session.Kind(k.kind)
	}
	s.Target.Workload, s.Target.Node = k.workload, "n1"
	if k.workload != "" {
		s.Target.Pod = ""
	}
	var out []request
	for _, a := range k.asks(strict, ns, pod) {
		name, in := pod, ns
		if k.names != nil {
			name = k.names(pod)
		}
		if a.Resource == "nodes" {
			in = ""
		}
		out = append(out, request{id, numberOf(a), in, name})
	}
	if as := rapid.SampledFrom(identities).Draw(t, "impersonator"); rapid.IntRange(0, 3).Draw(t, "impersonates") == 0 && as.User != id.User {
		s.Actor.Impersonator = &session.Identity{User: as.User, Groups: as.Groups}
		out = append(out, acts(as, id)...)
	}
	return s, out
}

// acts is what it takes to act as somebody.
func acts(as, id rbac.Identity) (out []request) {
	say := func(resource, ns, name string) {
		out = append(out, request{as, numberOf(rbac.Ask{Verb: "impersonate", Resource: resource}), ns, name})
	}
	if ns, name, ok := rbac.ServiceAccountOf(id.User); ok {
		say("serviceaccounts", ns, name)
		return out
	}
	say("users", "", id.User)
	for _, g := range id.Groups {
		if g != "system:authenticated" {
			say("groups", "", g)
		}
	}
	return out
}

// follow does what a plan says.
func follow(c *inventory.Cluster, p *usage.Plan) *inventory.Cluster {
	out := *c
	out.Roles, out.Bindings = slices.Clone(c.Roles), nil
	for n := range c.Bindings {
		b := &c.Bindings[n]
		if !slices.ContainsFunc(p.Removals, func(r usage.Removal) bool { return r.Patch == exposure.Unbind(b) }) {
			out.Bindings = append(out.Bindings, *b)
		}
	}
	for _, x := range p.Proposals {
		out.Roles, out.Bindings = append(out.Roles, x.Role), append(out.Bindings, x.Binding)
	}
	return &out
}

// TestPlanSuffices: of random clusters and sessions that they allow. When the plan is
// followed, every request is still allowed; nobody may do anything that he could not
// before; and whoever did something can do nothing else that leads to a command, unless
// every new cluster has it or, of what had a name, the objects change theirs.
func TestPlanSuffices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := someCluster(t)
		strict := c.Version.AtLeast(35)
		before := rbac.NewIndex(c, everything)
		var sessions []*session.Session
		var done []request
		y := tally(c, watching())
		for range rapid.IntRange(0, 8).Draw(t, "sessions") {
			s, asks := someSession(t, strict)
			if slices.ContainsFunc(asks, func(r request) bool { return !r.allowed(before) }) {
				continue
			}
			y.Add(s)
			sessions, done = append(sessions, s), append(done, asks...)
		}
		report := y.Report()
		plan := y.Plan(&report)
		after := rbac.NewIndex(follow(c, &plan), everything)
		for _, r := range done {
			if !r.allowed(after) {
				t.Fatalf("no longer allowed: %v %v\n%s", r, everything.Asks[r.ask], strings.Join(written(&plan), "\n"))
			}
		}
		again := tally(follow(c, &plan), watching(), sessions...)
		report = again.Report()
		if next := again.Plan(&report); len(next.Proposals)+len(next.Removals) > 0 {
			t.Fatalf("it is not the least yet:\n%s\nthen\n%s", strings.Join(written(&plan), "\n"), strings.Join(written(&next), "\n"))
		}
		std := *c
		std.Bindings = slices.DeleteFunc(slices.Clone(c.Bindings), func(b inventory.Binding) bool { return !b.Default })
		always := rbac.NewIndex(&std, everything)
		for _, r := range all() {
			if r.allowed(after) && !r.allowed(before) {
				t.Fatalf("nobody gave this before: %v %v\n%s", r, everything.Asks[r.ask], strings.Join(written(&plan), "\n"))
			}
			if !beside(everything.Asks[r.ask], strict) && r.allowed(after) && !r.allowed(always) && !idle(done, r.id, always) && !excuses(done, r) {
				t.Fatalf("nobody did this: %v %v\n%s", r, everything.Asks[r.ask], strings.Join(written(&plan), "\n"))
			}
		}
	})
}

// all lists every request that can be made.
func all() (out []request) {
	for _, id := range identities {
		for n, a := range everything.Asks {
			for _, ns := range []string{"shop", "dev", "later"} {
				for _, name := range []string{"", "run", "db-0", "web-7f-x", "web", "n1", "n2", "u0", "u1", "g1", "ci", "other"} {
					if a.Resource == "nodes" || a.Resource == "users" || a.Resource == "groups" {
						ns = ""
					}
					out = append(out, request{id, n, ns, name})
				}
			}
		}
	}
	return out
}

// excuses reports whether what somebody did is reason enough that he may do something:
// the same, of an object that is called otherwise next time; and everywhere, what he
// did in every namespace.
func excuses(done []request, r request) bool {
	wide := map[string]bool{}
	for _, d := range done {
		if d.id.User != r.id.User || d.ask != r.ask {
			continue
		}
		whole := d.name == "" || d.name == "web-7f-x"
		if d.namespace == r.namespace && (d.name == r.name || whole) {
			return true
		}
		wide[d.namespace] = wide[d.namespace] || whole
	}
	return wide["shop"] && wide["dev"]
}

// idle reports whether somebody did nothing for which he needed more than what every
// new cluster has: a binding that also names others can then stay for them.
func idle(done []request, id rbac.Identity, always *rbac.Index) bool {
	return !slices.ContainsFunc(done, func(d request) bool { return d.id.User == id.User && !d.allowed(always) })
}
