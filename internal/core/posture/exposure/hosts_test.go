package exposure_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

func entries() []exposure.Entry {
	in := func(actor exposure.Actor, c ...exposure.Closer) exposure.Entry {
		return exposure.Entry{Node: "n1", Actor: actor, Closers: c, Via: []exposure.Step{{Edge: exposure.EdgeSocket, Setting: "socket"}}}
	}
	return []exposure.Entry{in("unix:root"), in("unix:jane", exposure.Closer{Setting: "jane is in group docker of h", Patch: "gpasswd -d jane docker"})}
}

// TestEntries: who is root on a host that is a node reaches its pods, and the tokens
// there, asked in all directions.
func TestEntries(t *testing.T) {
	c := shop()
	give(t, c, "dev", "ServiceAccount", "shop/web", "create pods/exec other")
	a := exposure.New(c, entries()...)
	for _, who := range []exposure.Actor{"unix:jane", "unix:root"} {
		r, err := a.Reach(who)
		list, err2 := a.Exposures(who)
		if err != nil || err2 != nil || r.Pods != 3 || len(list) != 3 || !slices.Equal(r.Nodes, []string{"n1"}) {
			t.Errorf("%s: %+v, %d listed: %v %v", who, r, len(list), err, err2)
		}
		for i := range c.Pods {
			_, ok, err := a.Path(who, &c.Pods[i])
			listed := slices.ContainsFunc(a.WhoCanExec(&c.Pods[i]), func(e exposure.Exposure) bool { return e.Actor == who })
			if want := c.Pods[i].Name != "db-0"; err != nil || ok != want || listed != want {
				t.Errorf("%s into %s: %t, listed %t, want %t: %v", who, c.Pods[i].Name, ok, listed, want, err)
			}
		}
	}
	if _, err := a.Reach("unix:nobody"); err == nil {
		t.Error("somebody of whom no host tells is somebody")
	}
}

// TestCutOfSettings: who leaves a group, and a kubelet that asks again, are removals;
// what nobody knows how to close lasts.
func TestCutOfSettings(t *testing.T) {
	c := shop()
	c.Nodes[1].Kubelet = &inventory.Kubelet{Node: "n2", Anonymous: inventory.No, Authorization: "AlwaysAllow"}
	give(t, c, "shop", "User", "ann", "create pods/exec web-1")
	cut := exposure.New(c, entries()...).Cut(nil, 9, nil)
	var got []string
	for _, r := range cut.Removals {
		got = append(got, fmt.Sprintf("%s closes %d, left %d: %s", r.Binding, r.Closes, r.Left, r.Patch))
	}
	want := []string{
		"kubelet of node n2 closes 18, left 5: authorization.mode: Webhook # in the configuration of the kubelet of n2, then restart it",
		"jane is in group docker of h closes 2, left 3: gpasswd -d jane docker",
		"RoleBinding shop/r0 closes 1, left 2: kubectl delete rolebinding -n shop r0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%d pairs: %s", cut.Pairs, d)
	}
}
