package exposure

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Leads knows from everywhere a shortest way to the most that is reached.
type Leads struct {
	*Analysis
	// to are the ways to everything, to nodes, and to pods: for each place the arc by
	// which one goes on.
	to [3][]*arc
}

// Leads works out the ways on. Grants that every new cluster has are not gone by.
func (a *Analysis) Leads() *Leads {
	l := &Leads{Analysis: a}
	for n, is := range []func(placeKind) bool{everything, aNode, podsAt} {
		l.to[n] = a.towards(func(at int32) bool { return is(a.places[at].kind) })
	}
	return l
}

func everything(k placeKind) bool { return k == atAll }

func aNode(k placeKind) bool { return k == atNode }

func podsAt(k placeKind) bool {
	return slices.Contains([]placeKind{atPod, atPods, atKind, atWorkload, atNodePods}, k)
}

// towards returns for each place the arc by which a shortest way goes on to one of
// those that are asked for; nil at those, and where there is none.
func (a *Analysis) towards(is func(int32) bool) []*arc {
	next, seen := make([]*arc, len(a.places)), make([]bool, len(a.places))
	var todo []int32
	for n := range int32(len(a.places)) {
		if is(n) {
			seen[n] = true
			todo = append(todo, n)
		}
	}
	for ; len(todo) > 0; todo = todo[1:] {
		list := a.into(todo[0])
		for i := range list {
			if c := &list[i]; !seen[c.from] && a.granted(c) {
				seen[c.from], next[c.from] = true, c
				todo = append(todo, c.from)
			}
		}
	}
	return next
}

// granted reports whether somebody made an arc: it does not rest on grants that every
// new cluster has.
func (a *Analysis) granted(c *arc) bool {
	h := &a.hops[c.hop]
	return len(h.Grants) == 0 || slices.ContainsFunc(h.Grants, func(g int) bool {
		return !a.cluster.Bindings[a.index.Grants[g].Binding].Default
	})
}

// Of returns a shortest way by which whoever runs a command in a pod gets on: with the
// token of a service account when as names one, by breaking out to the node when it is
// "". It ends at the most that is reached after that: everything, else a node, else
// other pods. It is nil when there is no such way.
func (l *Leads) Of(p *inventory.Pod, as Actor) []Step {
	start, ok := l.number[place{kind: atPod, namespace: p.Namespace, name: p.Name}]
	if !ok {
		return nil
	}
	for _, c := range l.from(start) {
		switch e := l.hops[c.hop].Edge; {
		case as == "" && e == EdgeEscape:
			return append([]Step{l.step(c)}, l.on(c.to, start)...)
		case as != "" && e == edgeToken && actorAt(l.places[c.to]) == as:
			if via := l.on(c.to, start); via != nil {
				return append([]Step{l.step(c)}, via...)
			}
		}
	}
	return nil
}

// on returns the way from a place to the most that it leads to; one pod does not count.
func (l *Leads) on(from, pod int32) []Step {
	for _, next := range l.to {
		via, end := l.follow(next, from)
		if end == pod {
			via, _ = l.follow(l.towards(func(n int32) bool { return n != pod && podsAt(l.places[n].kind) }), from)
		}
		if len(via) > 0 {
			return via
		}
	}
	return nil
}

// follow returns the steps from a place, and where they end.
func (l *Leads) follow(next []*arc, at int32) (out []Step, end int32) {
	for ; next[at] != nil; at = next[at].to {
		if e := l.hops[next[at].hop].Edge; e != edgeHolds && e != edgeMember {
			out = append(out, l.step(*next[at]))
		}
	}
	return out, at
}
