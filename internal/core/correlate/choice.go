package correlate

import (
	"iter"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/pairing"
)

// choice is who can stand behind an arrival.
type choice struct {
	calls []*call
	// alone says that it may also have come without a request to the API
	// server.
	alone bool
	// admitted says that every request that could matter was seen by the
	// admission webhook, and was kept apart from all others that could be
	// confused with it: by the webhook, or by the kubelet's own request.
	admitted bool
	// settled says that what is still to come can add nobody.
	settled bool
}

// groupMax bounds the identical commands that are told apart at once.
const groupMax = 512

// choose weighs all arrivals and requests that could be mistaken for each
// other, a among them.
func (e *Engine) choose(a arrival) choice {
	if w, ok := e.memo.choices[a.subject()]; ok {
		return w
	}
	g := e.group(a)
	weighed := e.weigh(g)
	for i, x := range g.arrivals[:len(weighed)] {
		e.memo.choices[x.subject()] = weighed[i]
	}
	return weighed[0]
}

// weigh returns the choices of a whole group; of one that is too large, those
// of its first arrival.
func (e *Engine) weigh(g group) []choice {
	if len(g.calls) == 0 {
		return []choice{{alone: true, settled: e.kube.asksKnown(g.arrivals[0].began())}}
	}
	p := pairing.Problem{Fits: g.fits, Right: len(g.calls), LeftAlone: make([]bool, len(g.arrivals))}
	for i, x := range g.arrivals {
		p.LeftAlone[i] = !e.mustBeAsked(x)
	}
	admitted, apart, settled := true, true, true
	for _, c := range g.calls {
		p.RightAlone = append(p.RightAlone, !e.mustRun(c))
		admitted = admitted && c.adm != nil
		apart = apart && c.adm != nil && c.adm.Alone
		settled = settled && e.settled(e.kube.earliest(c)) && c.vouched() && c.identified()
	}
	var choices []pairing.Choice
	if len(g.arrivals) <= groupMax && len(g.calls) <= groupMax {
		choices, _ = p.Solve()
	}
	if choices == nil {
		choices = []pairing.Choice{{Partners: g.fits[0], Alone: true}}
	}
	out := make([]choice, len(choices))
	for i, w := range choices {
		out[i] = choice{alone: w.Alone, settled: settled && e.kube.asksKnown(g.arrivals[i].began())}
		out[i].admitted = admitted && (apart || len(g.fits[i]) == 1 && e.followedThrough(g.arrivals[i]))
		for _, j := range w.Partners {
			out[i].calls = append(out[i].calls, g.calls[j])
		}
	}
	return out
}

// group is what could be mistaken for each other: arrivals, requests in order of
// time, and by the index of each arrival those of the requests that fit it.
type group struct {
	arrivals []arrival
	calls    []*call
	fits     [][]int
}

// group collects the requests that fit a, the arrivals that fit those, and so
// on. a comes first.
func (e *Engine) group(a arrival) group {
	k := e.inside.container(a.container())
	if k == nil || k.pod == nil {
		return group{arrivals: []arrival{a}}
	}
	spans := e.kube.spansOf(k.pod.pod)
	all, self := e.momentsAround(a)
	fit := func(i, j int) bool { return spans[j].holds(all[i]) && e.fits(all[i].arrival, spans[j].call) }
	part := pairing.Graph{
		Left: len(all), Right: len(spans),
		RightOf: func(i int) iter.Seq[int] { return those(0, len(spans), func(j int) bool { return fit(i, j) }) },
		LeftOf:  func(j int) iter.Seq[int] { return those(0, len(all), func(i int) bool { return fit(i, j) }) },
	}.Around(self, groupMax)
	g := group{fits: part.Fits}
	for _, i := range part.Left {
		g.arrivals = append(g.arrivals, all[i].arrival)
	}
	for _, j := range part.Right {
		g.calls = append(g.calls, spans[j].call)
	}
	return g
}

// those yields the numbers from low up to high of which ok holds.
func those(low, high int, ok func(int) bool) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := low; i < high; i++ {
			if ok(i) && !yield(i) {
				return
			}
		}
	}
}

// moment is an arrival with its times at hand.
type moment struct {
	arrival
	beganAt, arrivedAt time.Time
}

func newMoment(a arrival) moment { return moment{a, a.began(), a.arrived()} }

// momentsIn lists the arrivals in a container by when they began. The list is not
// the caller's to change.
func (e *Engine) momentsIn(id event.ContainerID) []moment {
	out, ok := e.memo.moments[id]
	if ok {
		return out
	}
	for _, a := range e.arrivalsIn(id) {
		out = append(out, newMoment(a))
	}
	slices.SortStableFunc(out, func(a, b moment) int { return a.beganAt.Compare(b.beganAt) })
	e.memo.moments[id] = out
	return out
}

// momentsAround lists the arrivals in a's container by when they began, a among
// them even where it is not known to be in the container, and a's place. The
// list is not the caller's to change.
func (e *Engine) momentsAround(a arrival) (all []moment, self int) {
	all = e.momentsIn(a.container())
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

// mustBeAsked reports whether a can only have come by a request to the API
// server: whoever else could have asked the kubelet or the runtime would have
// been seen, and it is not what the kubelet runs by itself.
func (e *Engine) mustBeAsked(a arrival) bool {
	t := a.began()
	return e.coverage.nodeDoorsWatched(t) && len(e.doors.atKubelet(t)) == 0 && len(e.criClients(a)) == 0 && len(e.atRuntime(a)) == 0 &&
		e.hookOf(a) == nil && e.specKnown(a) && e.kube.asksKnown(t)
}

// specKnown reports whether it is known what the kubelet runs by itself in a's
// container, and what a ran.
func (e *Engine) specKnown(a arrival) bool {
	k := e.inside.container(a.container())
	_, whole := a.argv()
	return whole && k != nil && k.pod != nil && k.pod.spec != nil
}

// mustRun reports whether a process must have come of c: the API server opened
// the stream, and whoever would have seen no process was looking. The answer
// 101 alone does not say that anything ran (testbed.md §4.8); a command that is
// not found leaves an exec without a process, which counts as its arrival.
func (e *Engine) mustRun(c *call) bool {
	if !c.opened() || c.ask().op == event.KubeNodeExec { // the latter fails after its 101 (testbed.md §4.10)
		return false
	}
	lo := e.kube.earliest(c)
	return e.coverage.wouldTell(event.WitnessKernel, "process", lo) && e.coverage.wouldTell(event.WitnessContainerd, "", lo)
}
