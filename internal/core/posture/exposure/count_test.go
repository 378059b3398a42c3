package exposure

import (
	"slices"
	"testing"

	"github.com/sallyport/sallyport/testbed/clusters"
)

// TestLose holds who reaches every pod no more, looked for on the branch of a binding,
// to a look at the whole graph.
func TestLose(t *testing.T) {
	lost := 0
	for seed := range uint64(12) {
		size := clusters.Size{Seed: seed, Pods: 200, Namespaces: 8, Nodes: 5, Accounts: 40, Roles: 120, Bindings: 160, Users: 12}
		a := New(size.Cluster())
		c := newCounter(a)
		for b := range a.cluster.Bindings {
			if b%40 == 39 { // what was removed before is not thought of as there again
				c.removed[b] = true
			}
		}
		c.look()
		before := slices.Clone(c.reaches)
		for b := range a.cluster.Bindings {
			if c.removed[b] {
				continue
			}
			c.removed[b] = true
			gone := c.lose(b)
			whole := newCounter(a)
			whole.removed = c.removed
			whole.look()
			if !slices.Equal(c.reaches, whole.reaches) {
				t.Fatalf("seed %d: without %s", seed, a.cluster.Bindings[b].String())
			}
			lost += len(gone)
			c.removed[b] = false
			for _, n := range gone {
				c.reaches[n] = true
			}
			if !slices.Equal(c.reaches, before) {
				t.Fatalf("seed %d: with %s again", seed, a.cluster.Bindings[b].String())
			}
		}
	}
	if lost == 0 {
		t.Error("no removal takes anything: the clusters are too small")
	}
}
