package exposure_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// TestSiblings: what one container of a pod needs to get into another.
func TestSiblings(t *testing.T) {
	as := func(uid int64) *int64 { return &uid }
	type container = inventory.Container
	for _, tt := range []struct {
		name      string
		apart     bool
		from, to  container
		way       bool
		unlessHas string // "" for no doubt
	}{
		{name: "kept apart", apart: true, from: container{User: as(0), Privileged: true}},
		{name: "root that may trace", from: container{User: as(0), AddCapabilities: []string{"SYS_PTRACE"}}, to: container{User: as(7)}, way: true},
		{name: "root, privileged", from: container{User: as(0), Privileged: true}, way: true},
		{name: "perhaps root that may trace", from: container{AddCapabilities: []string{"CAP_SYS_PTRACE"}}, way: true, unlessHas: "another user than root"},
		{name: "no root, whose capability counts for nothing", from: container{User: as(5), AddCapabilities: []string{"SYS_PTRACE"}}, to: container{User: as(7)}},
		{name: "root that takes the other's user", from: container{User: as(0)}, to: container{User: as(7)}, way: true, unlessHas: "Yama"},
		{name: "root that may take none", from: container{User: as(0), DropAll: true}, to: container{User: as(7)}},
		{name: "the same user", from: container{User: as(7)}, to: container{User: as(7)}, way: true, unlessHas: "Yama"},
		{name: "another user", from: container{User: as(5)}, to: container{User: as(7)}},
		{name: "users that only images know", way: true, unlessHas: "only their images know"},
		{name: "one that has ended", from: container{User: as(7), Role: "init"}, to: container{User: as(7)}},
		{name: "a sidecar", from: container{User: as(7), Role: "sidecar"}, to: container{User: as(7)}, way: true, unlessHas: "Yama"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			p := &c.Pods[2]
			tt.from.Name, tt.to.Name = "side", "app"
			p.Containers, p.SharedPID = []container{tt.to, tt.from}, !tt.apart
			a := exposure.New(c)
			list := a.Siblings(p, "app")
			if len(list) > 0 != tt.way || tt.way && (list[0].Actor != "container:dev/run/side" || list[0].Target.Container != "app") {
				t.Fatalf("%+v", list)
			}
			if tt.way && (list[0].Via[0].Unless == "") != (tt.unlessHas == "") || tt.way && !strings.Contains(list[0].Via[0].Unless, tt.unlessHas) {
				t.Errorf("unless %q", list[0].Via[0].Unless)
			}
			e, ok, err := a.Path("container:dev/run/side", p)
			if err != nil || !tt.from.Privileged && (ok != tt.way || ok && e.Via[0].Edge != exposure.EdgeSibling) { // else by the node
				t.Errorf("%t %+v: %v", ok, e, err)
			}
			if slices.ContainsFunc(a.Shared(), func(s exposure.Sharing) bool { return s.Pod == p }) != (tt.way || len(a.Siblings(p, "side")) > 0) {
				t.Errorf("shared: %+v", a.Shared())
			}
		})
	}
}

// TestContainersReach: whoever runs in a container has what that one is given, and not
// what another one of the pod is.
func TestContainersReach(t *testing.T) {
	c := shop()
	p := &c.Pods[2]
	p.Containers = []inventory.Container{{Name: "app"}, {Name: "agent", Privileged: true}}
	p.Token = inventory.No
	for who, want := range map[exposure.Actor]int{"container:dev/run/app": 0, "container:dev/run/agent": 2} {
		r, err := exposure.New(c).Reach(who)
		list, err2 := exposure.New(c).Exposures(who)
		if err != nil || err2 != nil || r.Pods != want || len(list) != want {
			t.Errorf("%s reaches %d pods, %d listed, want %d: %v %v", who, r.Pods, len(list), want, err, err2)
		}
	}
	p.SharedPID = true
	if r, err := exposure.New(c).Reach("container:dev/run/app"); err != nil || r.Pods != 2 {
		t.Errorf("by its sibling: %d pods, %v", r.Pods, err)
	}
	for _, nobody := range []exposure.Actor{"container:dev/run/x", "container:dev/gone/app", "container:dev/run"} {
		if _, err := exposure.New(c).Reach(nobody); err == nil {
			t.Errorf("%s is somebody", nobody)
		}
	}
}
