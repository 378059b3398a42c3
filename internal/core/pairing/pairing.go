// Package pairing says which members of two groups can belong together.
//
// Some processes started, some requests asked for one: which request can stand
// behind which process, when one of each makes a pair? Whoever looks at one
// process alone lists every request that fits it. But a request that must be
// another process's is no candidate here. Solve looks at all ways of pairing
// at once and keeps what occurs in at least one of them, so a single partner
// that is left over is certain and not a guess. It is pure.
package pairing

// Problem is two groups, called left and right, and who fits whom.
type Problem struct {
	// Fits lists for each of the left the indexes of the right that fit it.
	Fits [][]int
	// Right is the size of the right group.
	Right int
	// LeftAlone and RightAlone say who may be without a partner. All others
	// have one for certain.
	LeftAlone, RightAlone []bool
}

// Choice is what is left for one of the left group.
type Choice struct {
	// Partners are the indexes of the right that it is paired with in at least
	// one way of pairing everybody, ascending.
	Partners []int
	// Alone says that in at least one way it has no partner.
	Alone bool
}

// Solve returns the choices of the left group. It reports false when the
// problem contradicts itself: somebody who must have a partner cannot get one.
// It takes time in proportion to vertices times edges.
func (p Problem) Solve() ([]Choice, bool) {
	g := p.balanced()
	if !g.match() {
		return nil, false
	}
	group := g.components()
	out := make([]Choice, len(p.Fits))
	for x := range p.Fits {
		for _, y := range g.edges[x] {
			// An edge occurs in some perfect matching if and only if it is in
			// this one or on an alternating cycle, that is, if both its ends
			// are in one strongly connected component.
			if g.partner[y] != x && group[x] != group[len(g.edges)+y] {
				continue
			}
			if y < p.Right {
				out[x].Partners = append(out[x].Partners, y)
			} else {
				out[x].Alone = true
			}
		}
	}
	return out, true
}

// graph is bipartite. Vertices of the right are numbered from 0 in partner and
// edges, and from len(edges) on in components.
type graph struct {
	edges   [][]int // of each of the left, ascending
	right   int
	partner []int // of each of the right; -1 while it has none
}

// balanced turns "may be alone" into partners of a kind: everybody who may be
// alone gets a stand-in on the other side. Stand-ins that nobody needs pair
// among themselves, or with the padding that makes both sides equally large.
// The ways of pairing then are the perfect matchings.
func (p Problem) balanced() *graph {
	left := len(p.Fits)
	var standLeft, standRight []int // whom each stands in for
	for y := range p.Right {
		if p.RightAlone[y] {
			standLeft = append(standLeft, y)
		}
	}
	for x := range left {
		if p.LeftAlone[x] {
			standRight = append(standRight, x)
		}
	}
	padRight := max(0, left+len(standLeft)-p.Right-len(standRight))
	padLeft := max(0, p.Right+len(standRight)-left-len(standLeft))
	g := &graph{right: p.Right + len(standRight) + padRight}
	for _, fits := range p.Fits {
		g.edges = append(g.edges, append([]int(nil), fits...))
	}
	for i, x := range standRight {
		g.edges[x] = append(g.edges[x], p.Right+i)
	}
	var spare []int // stand-ins and padding of the right
	for y := p.Right; y < g.right; y++ {
		spare = append(spare, y)
	}
	for _, y := range standLeft {
		g.edges = append(g.edges, append([]int{y}, spare...))
	}
	for range padLeft {
		g.edges = append(g.edges, spare[:len(standRight)])
	}
	return g
}

// match finds a perfect matching, by augmenting paths.
func (g *graph) match() bool {
	if len(g.edges) != g.right {
		return false
	}
	g.partner = make([]int, g.right)
	for y := range g.partner {
		g.partner[y] = -1
	}
	for x := range g.edges {
		if !g.augment(x, make([]bool, g.right)) {
			return false
		}
	}
	return true
}

func (g *graph) augment(x int, seen []bool) bool {
	for _, y := range g.edges[x] {
		if seen[y] {
			continue
		}
		seen[y] = true
		if g.partner[y] < 0 || g.augment(g.partner[y], seen) {
			g.partner[y] = x
			return true
		}
	}
	return false
}

// components numbers the strongly connected components of the graph in which
// matched edges lead from right to left and all others from left to right
// (Tarjan's algorithm).
func (g *graph) components() []int {
	t := &tarjan{g: g, of: make([]int, len(g.edges)+g.right), index: make([]int, len(g.edges)+g.right), low: make([]int, len(g.edges)+g.right)}
	for v := range t.index {
		if t.index[v] == 0 {
			t.visit(v)
		}
	}
	return t.of
}

type tarjan struct {
	g          *graph
	of         []int // component, from 1; 0 while it is open
	index, low []int // order of discovery, from 1
	stack      []int
	next, made int
}

func (t *tarjan) visit(v int) {
	t.next++
	t.index[v], t.low[v] = t.next, t.next
	t.stack = append(t.stack, v)
	left := len(t.g.edges)
	step := func(w int) {
		switch {
		case t.index[w] == 0:
			t.visit(w)
			t.low[v] = min(t.low[v], t.low[w])
		case t.of[w] == 0:
			t.low[v] = min(t.low[v], t.index[w])
		}
	}
	if v >= left {
		step(t.g.partner[v-left])
	} else {
		for _, y := range t.g.edges[v] {
			if t.g.partner[y] != v {
				step(left + y)
			}
		}
	}
	if t.low[v] != t.index[v] {
		return
	}
	t.made++
	for {
		w := t.stack[len(t.stack)-1]
		t.stack = t.stack[:len(t.stack)-1]
		t.of[w] = t.made
		if w == v {
			return
		}
	}
}
