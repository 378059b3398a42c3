package exposure

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Change is what opened or closed between two analyses: a channel for an actor into
// pods that are reached together, or pods of a namespace that he reaches by way of
// others.
type Change struct {
	Change  string        `json:"change"` // Opened or Closed
	Actor   Actor         `json:"actor"`
	Channel event.Channel `json:"channel,omitempty"` // of one who comes by way of others, that of an example
	Direct  bool          `json:"direct"`
	Target  Target        `json:"target"` // no namespace: every one
	Scope   string        `json:"scope"`
	// Via is how it was or is done; one way, to one of the pods.
	Via []Step `json:"via,omitempty"`
}

// What Change.Change says.
const (
	Opened = "opened"
	Closed = "closed"
)

// examplesMax bounds the changes by way of others for which a path is looked up.
const examplesMax = 256

// Diff compares two analyses by who may get a command run, by which channel, where:
// never by pairs of an actor and a pod, so that pods that come and go change nothing
// where a grant covers their namespace. What somebody has by a group is listed for
// the group, and what a node has by the tokens of its pods is not. How many pods of a namespace are reached by way of others does not
// matter, nor which kinds of workloads may be changed: only whether any.
func Diff(before, after *Analysis) []Change {
	b, f := before.opened(), after.opened()
	out := append(f.beyond(b, Opened), b.beyond(f, Closed)...)
	slices.SortStableFunc(out, func(x, y Change) int {
		direct := map[bool]int{true: 0, false: 1}
		return cmp.Or(
			cmp.Compare(y.Change, x.Change), // opened first
			cmp.Compare(x.Actor, y.Actor), cmp.Compare(x.Target.Namespace, y.Target.Namespace),
			cmp.Compare(direct[x.Direct], direct[y.Direct]), cmp.Compare(x.Channel, y.Channel),
			cmp.Compare(x.Target.Workload, y.Target.Workload), cmp.Compare(x.Target.Pod, y.Target.Pod), cmp.Compare(x.Target.Node, y.Target.Node), cmp.Compare(x.Target.Kind, y.Target.Kind))
	})
	return out
}

// door is a channel that is open to an actor at a place.
type door struct {
	actor   Actor
	channel event.Channel
	at      place
}

// state is what is open.
type state struct {
	*Analysis
	doors map[door]arc
	// leads are, for each actor, the namespaces in which he reaches pods in the end,
	// with the index of one of them; "" when he reaches every pod.
	leads map[Actor]map[string]int32
}

func (a *Analysis) opened() *state {
	s := &state{Analysis: a, doors: map[door]arc{}, leads: map[Actor]map[string]int32{}}
	c := newCounter(a)
	c.look()
	for n := range int32(len(a.places)) {
		if p := a.places[n]; identity(p) {
			s.note(actorAt(p), n, c)
		}
	}
	return s
}

func (s *state) note(actor Actor, n int32, c *counter) {
	for _, r := range s.from(n) {
		if channel := s.hops[r.hop].channel(); channel != "" {
			d := door{actor, channel, coarse(s.places[r.to])}
			if _, ok := s.doors[d]; !ok {
				s.doors[d] = r
			}
		}
	}
	if c.reaches[n] {
		if len(s.cluster.Pods) > 0 {
			s.leads[actor] = map[string]int32{"": 0}
		}
		return
	}
	leads := map[string]int32{}
	c.each(n, func(pod int32) {
		if _, ok := leads[s.cluster.Pods[pod].Namespace]; !ok {
			leads[s.cluster.Pods[pod].Namespace] = pod
		}
	})
	if len(leads) > 0 {
		s.leads[actor] = leads
	}
}

// coarse leaves out by what kind of workload pods are reached.
func coarse(p place) place {
	if p.kind == atKind {
		return place{kind: atPods, namespace: p.namespace}
	}
	return p
}

// wider lists the places that a place is part of, itself first.
func wider(p place) []place {
	out := []place{p}
	if p.kind == atNew {
		return append(out, place{kind: atNew})
	}
	if p.namespace != "" {
		out = append(out, place{kind: atPods, namespace: p.namespace})
	}
	return append(out, place{kind: atPods})
}

// isNode reports whether an actor is a node: by way of others it reaches what the
// tokens of its pods do.
func isNode(a Actor) bool { return strings.HasPrefix(string(a), "node:") }

// has reports whether a door is open, be it as part of a wider one.
func (s *state) has(d door) bool {
	return slices.ContainsFunc(wider(d.at), func(p place) bool {
		_, ok := s.doors[door{d.actor, d.channel, p}]
		return ok
	})
}

// leadsTo reports whether an actor reaches pods of a namespace.
func (s *state) leadsTo(actor Actor, namespace string) bool {
	_, every := s.leads[actor][""]
	_, ok := s.leads[actor][namespace]
	return every || ok
}

// beyond lists what is open here and not in another state.
func (s *state) beyond(other *state, change string) (out []Change) {
	gained := map[Actor][]place{} // where an actor has a door more
	for d, c := range s.doors {
		if other.has(d) || s.part(d) {
			continue
		}
		gained[d.actor] = append(gained[d.actor], d.at)
		out = append(out, Change{Change: change, Actor: d.actor, Channel: d.channel, Direct: true, Target: s.targetAt(s.number[s.exact(d, c)]), Scope: scopeOf(d.at), Via: []Step{s.step(c)}})
	}
	examples := 0
	for actor, namespaces := range sorted(s.leads) {
		for namespace, pod := range sorted(namespaces) {
			if isNode(actor) || other.leadsTo(actor, namespace) || holding(gained[actor], namespace) || s.byGroup(other, actor, namespace) {
				continue
			}
			e := Change{Change: change, Actor: actor, Target: Target{Kind: "pods", Namespace: namespace}, Scope: map[bool]string{true: "cluster", false: "namespace"}[namespace == ""]}
			if examples++; examples <= examplesMax {
				if path, ok, err := s.Path(actor, &s.cluster.Pods[pod]); ok && err == nil {
					e.Channel, e.Via = path.Channel, path.Via
				}
			}
			out = append(out, e)
		}
	}
	return out
}

// part reports whether a door is part of a wider one of the same state.
func (s *state) part(d door) bool {
	return slices.ContainsFunc(wider(d.at)[1:], func(p place) bool {
		_, ok := s.doors[door{d.actor, d.channel, p}]
		return ok && p != d.at
	})
}

// exact is the place to describe a door by.
func (s *state) exact(d door, c arc) place {
	if _, ok := s.number[d.at]; ok {
		return d.at
	}
	return s.places[c.to]
}

// holding reports whether one of the places holds pods of a namespace.
func holding(places []place, namespace string) bool {
	return slices.ContainsFunc(places, func(p place) bool {
		return p.kind != atNew && (p.namespace == namespace || p == (place{kind: atPods}))
	})
}

// byGroup reports whether an actor owes it to a group that it is so for the group.
func (s *state) byGroup(other *state, actor Actor, namespace string) bool {
	p, err := placeOf(actor)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(s.groupsOf(s.number[p]), func(g int32) bool {
		group := actorAt(s.places[g])
		return s.leadsTo(group, namespace) && !other.leadsTo(group, namespace)
	})
}
