package exposure

import (
	"cmp"
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Exposures lists what an actor can get a command into: each pod by each channel
// that is open to him or to a group that he is surely in, and any other by a
// shortest path. They are in order of namespace, pod and channel.
func (a *Analysis) Exposures(actor Actor) ([]Exposure, error) {
	a, start, err := a.find(actor)
	if err != nil {
		return nil, err
	}
	out, seen := a.doorsOf(actor, start)
	w := ways{Analysis: a, came: make([]*arc, len(a.places)), known: map[int32]way{}}
	a.walk(start, false, nil, func(at int32, by *arc) bool {
		w.came[at] = by
		if a.places[at].kind == atPod && !seen[at] {
			way := w.to(at)
			out = append(out, Exposure{Actor: actor, Channel: way.channel, Target: a.targetAt(at), Scope: way.scope, Via: way.via})
		}
		return true
	})
	slices.SortStableFunc(out, func(x, y Exposure) int {
		return cmp.Or(cmp.Compare(x.Target.Namespace, y.Target.Namespace), cmp.Compare(x.Target.Pod, y.Target.Pod), cmp.Compare(x.Channel, y.Channel))
	})
	return out, nil
}

// doorsOf lists the pods that an actor reaches at once, and which they are.
func (a *Analysis) doorsOf(actor Actor, start int32) (out []Exposure, seen map[int32]bool) {
	type key struct {
		pod     int32
		channel event.Channel
	}
	have := map[key]bool{}
	seen = map[int32]bool{}
	holds := func(c arc) bool { return a.hops[c.hop].Edge == edgeHolds }
	for _, who := range append([]int32{start}, a.groupsOf(start)...) {
		for _, c := range a.from(who) {
			channel := a.hops[c.hop].channel()
			if channel == "" {
				continue
			}
			via := []Step{a.step(c)} // one for all of them
			a.walk(c.to, false, holds, func(at int32, _ *arc) bool {
				if k := (key{at, channel}); a.places[at].kind == atPod && !have[k] {
					have[k], seen[at] = true, true
					out = append(out, Exposure{Actor: actor, Channel: channel, Direct: true, Target: a.targetAt(at), Scope: scopeOf(a.places[c.to]), Via: via})
				}
				return true
			})
		}
	}
	return out, seen
}

// groupsOf lists the groups that an identity is surely in.
func (a *Analysis) groupsOf(who int32) (out []int32) {
	for _, c := range a.from(who) {
		if c.hop == a.member {
			out = append(out, c.to)
		}
	}
	return out
}

// ways describes the paths on which a walk came to places. Paths share their words:
// what leads to a set leads to each of its pods.
type ways struct {
	*Analysis
	came  []*arc // by place, the arc by which the walk came
	known map[int32]way
}

// way is a path in words.
type way struct {
	via     []Step
	channel event.Channel // of its last step
	scope   string
}

// to returns the way to a place.
func (w *ways) to(at int32) way {
	c := w.came[at]
	if c == nil {
		return way{}
	}
	edge := w.hops[c.hop].Edge
	if edge == edgeHolds || edge == edgeMember {
		return w.to(c.from)
	}
	out, ok := w.known[at]
	if !ok {
		out = way{slices.Concat(w.to(c.from).via, []Step{w.step(*c)}), w.hops[c.hop].channel(), scopeOf(w.places[c.to])}
		w.known[at] = out
	}
	return out
}

// targetAt describes a place where commands run: a pod, or pods together.
func (a *Analysis) targetAt(at int32) Target {
	p := a.places[at]
	t := Target{Kind: "pods", Namespace: p.namespace}
	switch p.kind {
	case atPod:
		return targetOf(a.Pod(p.namespace, p.name))
	case atNew:
		t.Kind = "new pod"
	case atKind, atWorkload:
		t.Workload = p.name
	case atNodePods:
		t.Node = p.name
	case atUser, atGroup, atOutside, atActing, atContainer, atPods, atAccounts, atNames, atUsers, atGroups, atKubelets, atNode, atAll:
	}
	return t
}

// Paths lists the shortest ways of an actor into a pod: each channel that is open to
// him, or one path by way of others. There is none when it returns none.
func (a *Analysis) Paths(actor Actor, p *inventory.Pod) ([]Exposure, error) {
	a, start, err := a.find(actor)
	if err != nil {
		return nil, err
	}
	target, ok := a.number[place{kind: atPod, namespace: p.Namespace, name: p.Name}]
	if !ok {
		return nil, nil
	}
	groups := a.groupsOf(start)
	var out []Exposure
	for _, e := range a.direct(target, targetOf(p)) {
		_, from, err := a.find(e.Actor)
		if err != nil || from != start && !slices.Contains(groups, from) {
			continue
		}
		e.Actor = actor
		if !slices.ContainsFunc(out, func(o Exposure) bool { return o.Channel == e.Channel }) {
			out = append(out, e)
		}
	}
	if len(out) > 0 {
		slices.SortStableFunc(out, func(x, y Exposure) int { return cmp.Compare(x.Channel, y.Channel) })
		return out, nil
	}
	e, ok, err := a.Path(actor, p)
	if err != nil || !ok {
		return nil, err
	}
	return []Exposure{e}, nil
}

// Knows reports whether the inventory tells of an actor. Of anybody else it is known
// what those may do who are in the same groups.
func (a *Analysis) Knows(actor Actor) bool {
	p, err := placeOf(actor)
	_, ok := a.number[p]
	return err == nil && (ok || p.kind == atContainer)
}
