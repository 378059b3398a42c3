package correlate

import "testing"

func TestResponsible(t *testing.T) {
	f := NewFleet(Options{Nodes: []string{"alpha", "beta"}})
	for _, c := range []struct {
		engine *Engine
		node   string
		want   bool
	}{
		{f.local, "", true},
		{f.local, "gamma", true},
		{f.local, "alpha", false},
		{f.nodes["alpha"].Engine, "alpha", true},
		{f.nodes["alpha"].Engine, "beta", false},
		{f.nodes["alpha"].Engine, "gamma", false},
		{f.nodes["alpha"].Engine, "", false},
		{New(Options{}), "alpha", true},
	} {
		if got := c.engine.site.responsible(c.node); got != c.want {
			t.Errorf("engine %q for node %q: %v", c.engine.site.node, c.node, got)
		}
	}
	f.member("gamma")
	if f.local.site.responsible("gamma") {
		t.Error("the local engine is responsible for a node that has spoken")
	}
}
