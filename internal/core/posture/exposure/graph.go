package exposure

import (
	"maps"
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
)

// place is where a step leads from and to.
type place struct {
	kind            placeKind
	namespace, name string
}

type placeKind uint8

const (
	// atUser and atGroup are identities; name is the user's or the group's.
	atUser placeKind = iota
	atGroup
	// atOutside is somebody on a host that is a node; name is the actor's.
	atOutside
	// atPod is a command in a pod that is there.
	atPod
	// atContainer is a command in one container of a pod ("pod/container").
	atContainer
	// atPods is a command in every pod of a namespace, of the cluster when it has
	// none; atKind in those of one kind of workload (name), atWorkload in those of
	// one ("Kind/name"), atNodePods in those on a node; without a name, in those whose
	// node is not known.
	atPods
	atKind
	atWorkload
	atNodePods
	// atNew is a command in a new pod of a namespace, as any of its service accounts;
	// name says how it got past the namespace's level.
	atNew
	// atAccounts is any service account of a namespace, of the cluster when it has
	// none; atUsers any user that is neither a service account nor a node; atGroups any
	// group but system:masters; atKubelets any node, with the groups that make it one.
	atAccounts
	atNames // as atAccounts, with those that are not there
	atUsers
	atGroups
	atKubelets
	// atActing is somebody who acts as others for single things; name says as whom, and
	// for which.
	atActing
	// atNode is root on a node, on any when it has no name.
	atNode
	// atAll is everything: nobody is asked any more.
	atAll
)

// arc is a hop from one place to another.
type arc struct{ from, to, hop int32 }

// graph is places and the arcs between them, by number.
type graph struct {
	places []place
	number map[place]int32
	lent   bool // number is another graph's
	hops   []Hop
	given  map[given]int32 // the hops that grants alone allow
	arcs   []arc           // those that were linked and not sealed yet
	// ahead are the arcs by where they begin, back by where they lead.
	ahead, back ordered
}

// ordered is arcs by place.
type ordered struct {
	arcs  []arc
	first []int32         // by place, where in arcs its own begin
	grown map[int32][]arc // all arcs of those places that got some later
}

func (o *ordered) of(p int32) []arc {
	if len(o.grown) > 0 {
		if list, ok := o.grown[p]; ok {
			return list
		}
	}
	if int(p)+1 >= len(o.first) { // it is newer, and nothing leads there
		return nil
	}
	return o.arcs[o.first[p]:o.first[p+1]]
}

func (o *ordered) add(p int32, a arc) {
	if o.grown == nil {
		o.grown = map[int32][]arc{}
	}
	o.grown[p] = append(slices.Clip(o.of(p)), a)
}

// newGraph makes a graph with room for about as many places, arcs and hops: growing copies all.
func newGraph(places, arcs, hops int) *graph {
	return &graph{places: make([]place, 0, places), number: make(map[place]int32, places), given: map[given]int32{}, arcs: make([]arc, 0, arcs), hops: make([]Hop, 0, hops)}
}

// at returns the number of a place.
func (g *graph) at(p place) int32 {
	n, ok := g.number[p]
	if !ok {
		if g.lent {
			g.number, g.lent = maps.Clone(g.number), false
		}
		n = int32(len(g.places))
		g.places = append(g.places, p)
		g.number[p] = n
	}
	return n
}

func (g *graph) hop(h Hop) int32 {
	g.hops = append(g.hops, h)
	return int32(len(g.hops) - 1)
}

// given is a step that grants alone allow, three at the most: their numbers plus 1, or 0.
type given struct {
	edge    Edge
	channel event.Channel
	grants  [3]int
}

// by returns the hop that grants allow, one for all the places between which it is: they are
// many.
func (g *graph) by(edge Edge, grants ...int) int32 { return g.through("", edge, grants...) }

// through is by for a step whose channel depends on the grants.
func (g *graph) through(channel event.Channel, edge Edge, grants ...int) int32 {
	k := given{edge: edge, channel: channel}
	for i, n := range grants {
		k.grants[i] = n + 1
	}
	n, ok := g.given[k]
	if !ok {
		n = g.hop(Hop{Edge: edge, by: channel, Grants: slices.Clone(grants)})
		g.given[k] = n
	}
	return n
}

func (g *graph) link(from, to, hop int32) {
	if from != to {
		g.arcs = append(g.arcs, arc{from, to, hop})
	}
}

// seal orders the arcs, so that those of a place are found. To add others, take a copy.
func (g *graph) seal() {
	g.ahead = order(g.arcs, len(g.places), func(a arc) int32 { return a.from })
	g.back = order(g.arcs, len(g.places), func(a arc) int32 { return a.to })
	g.arcs = nil
}

// order sorts arcs by key, those with one key in the order in which they are.
func order(arcs []arc, places int, key func(arc) int32) ordered {
	first := make([]int32, places+1)
	for _, a := range arcs {
		first[key(a)+1]++
	}
	for i := 1; i < len(first); i++ {
		first[i] += first[i-1]
	}
	next, out := slices.Clone(first), make([]arc, len(arcs))
	for _, a := range arcs {
		out[next[key(a)]] = a
		next[key(a)]++
	}
	return ordered{arcs: out, first: first}
}

// copy returns a graph to which something can be added. It shares with g what it leaves as
// it is, which is nearly all.
func (g *graph) copy() *graph {
	out := *g
	out.places, out.hops, out.given, out.lent = slices.Clip(g.places), slices.Clip(g.hops), maps.Clone(g.given), true
	out.ahead.grown, out.back.grown = maps.Clone(g.ahead.grown), maps.Clone(g.back.grown)
	return &out
}

// grow adds to a copy what was linked since it was made, and returns what was not there yet.
func (g *graph) grow() (added []arc) {
	for _, a := range g.arcs {
		if !slices.Contains(g.from(a.from), a) {
			g.ahead.add(a.from, a)
			g.back.add(a.to, a)
			added = append(added, a)
		}
	}
	g.arcs = nil
	return added
}

func (g *graph) from(p int32) []arc { return g.ahead.of(p) }
func (g *graph) into(p int32) []arc { return g.back.of(p) }

// walk goes breadth first from a place, forwards or backwards, and calls see with
// each place that it comes to and the arc by which it came, which is nil at the
// start. Where may says no, an arc is not taken; may nil takes all. It stops when
// see returns false.
func (g *graph) walk(start int32, backwards bool, may func(arc) bool, see func(int32, *arc) bool) {
	seen := make([]bool, len(g.places))
	seen[start] = true
	type step struct {
		at int32
		by *arc
	}
	todo := []step{{start, nil}}
	for i := 0; i < len(todo); i++ {
		s := todo[i]
		if !see(s.at, s.by) {
			return
		}
		arcs := g.from
		if backwards {
			arcs = g.into
		}
		list := arcs(s.at)
		for i := range list {
			to := list[i].to
			if backwards {
				to = list[i].from
			}
			if seen[to] || may != nil && !may(list[i]) {
				continue
			}
			seen[to] = true
			todo = append(todo, step{to, &list[i]})
		}
	}
}
