package exposure

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/testbed/clusters"
)

// joint are rules of which several are needed for a step, as "verbs group resources names".
var joint = []string{
	"create - secrets", "get - secrets", "list - secrets", "create - pods", "create - pods/exec", "create - serviceaccounts/token",
	"create certificates.k8s.io certificatesigningrequests", "update certificates.k8s.io certificatesigningrequests/approval", "approve certificates.k8s.io signers",
	"approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client",
	"bind rbac.authorization.k8s.io clusterroles", "bind rbac.authorization.k8s.io clusterroles r3,r4", "bind rbac.authorization.k8s.io roles", "bind rbac.authorization.k8s.io roles r5,r6",
	"create rbac.authorization.k8s.io clusterrolebindings", "create rbac.authorization.k8s.io rolebindings", "update rbac.authorization.k8s.io rolebindings x",
	"escalate rbac.authorization.k8s.io roles,clusterroles", "update rbac.authorization.k8s.io roles,clusterroles", "escalate,patch rbac.authorization.k8s.io roles r7,r8,r9",
	"impersonate - users", "impersonate - users u1,u2", "impersonate - groups", "impersonate - groups g1", "impersonate - serviceaccounts",
	"impersonate:user-info authentication.k8s.io users", "impersonate:user-info authentication.k8s.io users u3", "impersonate:user-info authentication.k8s.io groups", "impersonate:serviceaccount authentication.k8s.io serviceaccounts",
	"impersonate:arbitrary-node authentication.k8s.io nodes", "impersonate:associated-node authentication.k8s.io nodes",
	"impersonate-on:user-info:create - pods/exec", "impersonate-on:serviceaccount:create - pods/exec,serviceaccounts/token", "impersonate-on:arbitrary-node:create,impersonate-on:associated-node:create - serviceaccounts/token",
	"patch - namespaces", "patch - namespaces ns-1", "create - persistentvolumes", "create - persistentvolumeclaims",
	"create,update admissionregistration.k8s.io mutatingadmissionpolicies", "create admissionregistration.k8s.io mutatingadmissionpolicybindings",
	"patch apps deployments", "create argoproj.io workflows", "get - configmaps",
}

// entangled makes a cluster whose bindings give parts of steps, most of them several times
// over, to few subjects and to groups that those are in.
func entangled(seed uint64) *inventory.Cluster {
	c := clusters.Size{Seed: seed, Pods: 40, Namespaces: 4, Nodes: 3, Accounts: 6}.Cluster()
	r := rand.New(rand.NewPCG(seed, 7))
	for i := range 60 {
		f := strings.Fields(joint[r.IntN(len(joint))])
		rule := inventory.Rule{Verbs: strings.Split(f[0], ","), Groups: []string{strings.TrimPrefix(f[1], "-")}, Resources: strings.Split(f[2], ",")}
		if len(f) > 3 {
			rule.Names = strings.Split(f[3], ",")
		}
		role := inventory.Role{Object: inventory.Object{Name: fmt.Sprint("r", i%20)}, Rules: []inventory.Rule{rule}}
		if r.IntN(2) == 0 {
			role.Namespace = fmt.Sprint("ns-", r.IntN(4))
		}
		c.Roles = append(c.Roles, role)
	}
	for i := range 60 {
		role := &c.Roles[r.IntN(len(c.Roles))]
		b := inventory.Binding{Object: inventory.Object{Name: fmt.Sprint("b", i), Namespace: role.Namespace}, Role: role.Name, ToClusterRole: role.Namespace == "", Default: r.IntN(6) == 0}
		if b.ToClusterRole && r.IntN(3) == 0 {
			b.Namespace = fmt.Sprint("ns-", r.IntN(4))
		}
		for range 1 + r.IntN(2) {
			a := &c.ServiceAccounts[r.IntN(len(c.ServiceAccounts))]
			b.Subjects = append(b.Subjects, []inventory.Subject{
				{Kind: inventory.User, Name: fmt.Sprint("u", r.IntN(4))}, {Kind: inventory.User, Name: fmt.Sprint("u", r.IntN(4))},
				{Kind: inventory.Group, Name: fmt.Sprint("g", r.IntN(2))}, {Kind: inventory.Group, Name: "system:serviceaccounts"}, {Kind: inventory.Group, Name: "system:authenticated"},
				{Kind: inventory.ServiceAccountSubject, Namespace: a.Namespace, Name: a.Name}, {Kind: inventory.ServiceAccountSubject, Namespace: a.Namespace, Name: a.Name},
			}[r.IntN(7)])
		}
		c.Bindings = append(c.Bindings, b)
	}
	return c
}

// TestRemovals holds what somebody reaches after bindings were removed, one after the other
// in any order, to a graph of what is left.
func TestRemovals(t *testing.T) {
	replaced := 0
	for seed := range uint64(60) {
		c := entangled(seed)
		a := New(c)
		places, hops := len(a.places), len(a.hops)
		cut := newCutter(a, nil)
		cut.begin(nil)
		alone := left(c, func(b int) bool { return c.Bindings[b].Default })
		agree(t, fmt.Sprintf("seed %d: with the default bindings alone", seed), cut, cut.lasting, alone)
		for n, b := range rand.New(rand.NewPCG(seed, 9)).Perm(len(c.Bindings))[:40] {
			was := cut
			cut = taken(cut, b)
			if cut != was {
				replaced++
			}
			what := fmt.Sprintf("seed %d: without %d bindings, the last %s", seed, n+1, c.Bindings[b].String())
			agree(t, what, cut, cut.reach, left(c, func(b int) bool { return !cut.removed[b] }))
			if t.Failed() {
				return
			}
		}
		if len(a.places) != places || len(a.hops) != hops || len(a.ahead.grown) > 0 {
			t.Fatal("the analysis that is cut is another one afterwards")
		}
	}
	if replaced == 0 {
		t.Error("nobody gets by other grants what one gave him: the clusters are too small")
	}
}

// taken removes a binding, as if it were the best one.
func taken(c *cutter, binding int) *cutter {
	c.look()
	after, _ := c.remove(c.without(binding, c.who), nil)
	return after
}

// left is what there is with some bindings alone.
func left(c *inventory.Cluster, is func(binding int) bool) *inventory.Cluster {
	out := *c
	out.Bindings = nil
	for b := range c.Bindings {
		if is(b) {
			out.Bindings = append(out.Bindings, c.Bindings[b])
		}
	}
	return &out
}

// agree demands that identities reach as many pods as in another cluster, in so far as they
// are there.
func agree(t *testing.T, what string, c *cutter, reach map[int32]int, other *inventory.Cluster) {
	t.Helper()
	o := newCutter(New(other), nil)
	want, _ := o.all()
	for _, n := range c.who {
		at, ok := o.number[c.places[n]]
		if ok && want[at] != reach[n] {
			t.Errorf("%s: %s reaches %d pods, and %d in a graph made anew", what, actorAt(c.places[n]), reach[n], want[at])
		}
	}
	sum := 0
	for _, pods := range c.reach {
		sum += pods
	}
	if sum != c.pairs {
		t.Errorf("%s: %d pairs, and in all %d", what, c.pairs, sum)
	}
}

// TestCutIsWhatItsRemovalsClose holds each removal that Cut chooses among others to the same
// removals without the others that were tried.
func TestCutIsWhatItsRemovalsClose(t *testing.T) {
	for seed := range uint64(40) {
		c := entangled(seed)
		alone := newCutter(New(c), nil)
		alone.begin(nil)
		for _, r := range New(c).Cut(nil, 6, nil).Removals {
			was := alone.pairs
			alone = taken(alone, slices.IndexFunc(c.Bindings, func(b inventory.Binding) bool { return b.String() == r.Binding }))
			if r.Left != alone.pairs || r.Closes != was-alone.pairs {
				t.Fatalf("seed %d: %s closes %d and leaves %d, by itself it closes %d and leaves %d", seed, r.Binding, r.Closes, r.Left, was-alone.pairs, alone.pairs)
			}
		}
	}
}
