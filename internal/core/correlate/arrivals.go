package correlate

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// arrivals finds the commands that came into the containers of pods.
type arrivals struct {
	inside *inside

	// What was worked out since the last observation; see Engine.changed.
	byContainer map[event.ContainerID][]arrival
	moments     map[event.ContainerID][]moment // by when they began
}

func newArrivals(in *inside) arrivals {
	return arrivals{inside: in, byContainer: map[event.ContainerID][]arrival{}, moments: map[event.ContainerID][]moment{}}
}

func (as *arrivals) changed() {
	clear(as.byContainer)
	clear(as.moments)
}

// ofPod reports whether a is a command that came into a container of a pod, by
// the kubelet or somebody who uses the runtime as the kubelet does. Clients of
// the runtime choose their exec ids; it draws random ones.
func (as *arrivals) ofPod(a arrival) bool {
	if a.x != nil {
		return as.inside.inPod(a.x.container) && randomID(string(a.x.key.id)) && a.x.begun()
	}
	if a.n == nil || a.n.fact == nil || !as.inside.inPod(a.n.where) {
		return false
	}
	if a.n.reported() {
		return a.n.fact.Cause != event.EntryStart
	}
	return a.n.fact.Cause == event.EntryInjected && as.inside.byShim(a.n)
}

// in lists the commands that came into a container, those of the
// runtime's own clients left out: they have an id of their own. The list is not
// the caller's to change.
func (as *arrivals) in(id event.ContainerID) []arrival {
	out, ok := as.byContainer[id]
	c := as.inside.container(id)
	if ok || c == nil {
		return out
	}
	for _, x := range c.execs {
		if a := (arrival{x, as.inside.entryOf(x)}); as.ofPod(a) {
			out = append(out, a)
		}
	}
	for _, n := range c.entries {
		if a := (arrival{nil, n}); as.ofPod(a) && as.inside.execOf(n) == nil {
			out = append(out, a)
		}
	}
	as.byContainer[id] = out
	return out
}

// moment is an arrival with its times at hand.
type moment struct {
	arrival
	beganAt, arrivedAt time.Time
}

func newMoment(a arrival) moment { return moment{a, a.began(), a.arrived()} }

// momentsIn lists the arrivals in a container by when they began. The list is not
// the caller's to change.
func (as *arrivals) momentsIn(id event.ContainerID) []moment {
	out, ok := as.moments[id]
	if ok {
		return out
	}
	for _, a := range as.in(id) {
		out = append(out, newMoment(a))
	}
	slices.SortStableFunc(out, func(a, b moment) int { return a.beganAt.Compare(b.beganAt) })
	as.moments[id] = out
	return out
}

// momentsAround lists the arrivals in a's container by when they began, a among
// them even where it is not known to be in the container, and a's place. The
// list is not the caller's to change.
func (as *arrivals) momentsAround(a arrival) (all []moment, self int) {
	all = as.momentsIn(a.container())
	self = slices.IndexFunc(all, func(m moment) bool { return m.subject() == a.subject() })
	if self < 0 {
		all, self = append(slices.Clone(all), newMoment(a)), len(all)
	}
	return all, self
}

// startingIn returns the part of a list of moments that began between two times.
func startingIn(list []moment, from, until time.Time) (low, high int) {
	low, _ = slices.BinarySearchFunc(list, from, func(m moment, t time.Time) int { return m.beganAt.Compare(t) })
	high, _ = slices.BinarySearchFunc(list, until.Add(1), func(m moment, t time.Time) int { return m.beganAt.Compare(t) })
	return low, high
}
