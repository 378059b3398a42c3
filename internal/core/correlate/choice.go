package correlate

import (
	"iter"
	"slices"

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

// choices finds who can stand behind the commands in pods: requests to the API
// server, the kubelet itself, or somebody who went past both. All commands and
// requests that could be mistaken for each other are weighed at once.
type choices struct {
	*clock
	coverage *coverage
	inside   *inside
	doors    *doors
	kube     *kube
	arrivals *arrivals
	cri      *cri

	chosen map[subject]choice // since the last observation; see Engine.changed
}

func (ch *choices) changed() { clear(ch.chosen) }

// groupMax bounds the identical commands that are told apart at once.
const groupMax = 512

// of weighs all arrivals and requests that could be mistaken for each
// other, a among them.
func (ch *choices) of(a arrival) choice {
	if w, ok := ch.chosen[a.subject()]; ok {
		return w
	}
	g := ch.group(a)
	weighed := ch.weigh(g)
	for i, x := range g.arrivals[:len(weighed)] {
		ch.chosen[x.subject()] = weighed[i]
	}
	return weighed[0]
}

// weigh returns the choices of a whole group; of one that is too large, those
// of its first arrival.
func (ch *choices) weigh(g group) []choice {
	if len(g.calls) == 0 {
		return []choice{{alone: true, settled: ch.kube.asksKnown(g.arrivals[0].began())}}
	}
	p := pairing.Problem{Fits: g.fits, Right: len(g.calls), LeftAlone: make([]bool, len(g.arrivals))}
	for i, x := range g.arrivals {
		p.LeftAlone[i] = !ch.mustBeAsked(x)
	}
	admitted, apart, settled := true, true, true
	for _, c := range g.calls {
		p.RightAlone = append(p.RightAlone, !ch.mustRun(c))
		admitted = admitted && c.adm != nil
		apart = apart && c.adm != nil && c.adm.Alone
		settled = settled && ch.settled(ch.kube.earliest(c)) && c.vouched() && c.identified()
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
		out[i] = choice{alone: w.Alone, settled: settled && ch.kube.asksKnown(g.arrivals[i].began())}
		out[i].admitted = admitted && (apart || len(g.fits[i]) == 1 && ch.cri.followedThrough(g.arrivals[i]))
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
func (ch *choices) group(a arrival) group {
	k := ch.inside.seen(a.container())
	if k == nil || k.pod == nil {
		return group{arrivals: []arrival{a}}
	}
	spans := ch.kube.spansOf(k.pod.pod)
	all, self := ch.arrivals.momentsAround(a)
	fit := func(i, j int) bool { return spans[j].holds(all[i]) && ch.fits(all[i].arrival, spans[j].call) }
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

// mustBeAsked reports whether a can only have come by a request to the API
// server: whoever else could have asked the kubelet or the runtime would have
// been seen, and it is not what the kubelet runs by itself.
func (ch *choices) mustBeAsked(a arrival) bool {
	t := a.began()
	return ch.coverage.nodeDoorsWatched(t) && len(ch.doors.atKubelet(t)) == 0 && !ch.cri.clientAsked(a) && len(ch.cri.atRuntime(a)) == 0 &&
		ch.hookOf(a) == nil && ch.specKnown(a) && ch.kube.asksKnown(t)
}

// specKnown reports whether it is known what the kubelet runs by itself in a's
// container, and what a ran.
func (ch *choices) specKnown(a arrival) bool {
	k := ch.inside.seen(a.container())
	_, whole := a.argv()
	return whole && k != nil && k.pod != nil && k.pod.spec != nil
}

// mustRun reports whether a process must have come of c: the API server opened
// the stream, and whoever would have seen no process was looking. The answer
// 101 alone does not say that anything ran (testbed.md §4.8); a command that is
// not found leaves an exec without a process, which counts as its arrival.
func (ch *choices) mustRun(c *call) bool {
	if !c.opened() || c.ask().op == event.KubeNodeExec { // the latter fails after its 101 (testbed.md §4.10)
		return false
	}
	lo := ch.kube.earliest(c)
	return ch.coverage.wouldTell(event.WitnessKernel, "process", lo) && ch.coverage.wouldTell(event.WitnessContainerd, "", lo)
}

// arrivalsOf lists the commands that c may stand behind.
func (ch *choices) arrivalsOf(c *call) []arrival {
	var out []arrival
	for _, k := range ch.inside.ofPod(c.pod()) {
		for _, a := range ch.arrivals.in(k.id) {
			if ch.fits(a, c) && slices.Contains(ch.of(a).calls, c) {
				out = append(out, a)
			}
		}
	}
	return out
}

// fits reports whether c can be the request behind a: nothing that is known
// speaks against it.
func (ch *choices) fits(a arrival, c *call) bool {
	k := c.ask()
	if !commands(k.op) || c.refused() || ch.kube.twin(c) || ch.kube.madeUp(c) {
		return false
	}
	p := ch.inside.seen(a.container())
	if p == nil || p.pod == nil || p.pod.pod != k.pod || k.container != "" && k.container != p.pod.container {
		return false
	}
	if f := c.fact(); p.pod.uid != "" && f != nil && f.Object != nil && f.Object.UID != "" && f.Object.UID != p.pod.uid {
		return false
	}
	if a.arrived().Before(ch.kube.earliest(c)) {
		return false
	}
	if until, ends := ch.kube.latest(c); ends && a.began().After(until) {
		return false
	}
	if has, known := a.tty(); known && has != k.tty && k.op == event.KubeExec && !k.unsaid {
		return false
	}
	return a.ran(k) && ch.cri.manner(a)&mannerOf(k.op) != 0 && ch.streamed(a, c)
}

// streamed reports whether one of the kubelet's requests for a stream that can
// have led to a can have come of c: the API server answers a request when the
// kubelet has the stream's address, so the kubelet asked for it between the two
// (testbed.md §4.8), with the input and the terminal that c wants.
func (ch *choices) streamed(a arrival, c *call) bool {
	asked, alone := ch.cri.asked(a)
	want := c.ask()
	if alone || c.started == nil || want.op != event.KubeExec {
		return true
	}
	from := ch.kube.earliest(c)
	until, err := ch.kube.local(c.started.Time)
	return slices.ContainsFunc(asked, func(o *event.RuntimeRequest) bool {
		return o.Op == event.RuntimeOpExecStream && causes(from, o.Time) && causes(o.Time, until.Add(err)) &&
			(o.Cut || o.Stdin == want.stdin && o.TTY == want.tty)
	})
}
