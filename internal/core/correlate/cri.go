package correlate

import (
	"iter"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/pairing"
	"github.com/sallyport/sallyport/internal/core/session"
)

// criFits reports whether o can be the request behind a. CRI knows no exec id
// that the client could name: container, command and time must do.
func criFits(a arrival, o *event.RuntimeRequest, l lags) bool {
	lag := l.sync
	switch {
	case o.API != event.APICRI:
		return false
	case o.Op == event.RuntimeOpExecStream:
		lag = l.stream
	case o.Op != event.RuntimeOpExecSync:
		return false
	}
	argv, whole := a.argv()
	return causes(o.Time, a.began()) && !o.Time.Before(a.began().Add(-lag)) && (o.Cut || asAsked(o.Argv, argv, whole))
}

// criAsked are the requests by CRI that can be an arrival's; alone says that
// there may be one that was not seen.
type criAsked struct {
	requests []*event.RuntimeRequest
	alone    bool
}

// criChoice returns the requests by CRI that can be a's, the kubelet's among
// them, in all ways of pairing the container's execs with the requests. alone
// says that there may be one that was not seen.
func (e *Engine) criChoice(a arrival) (asked []*event.RuntimeRequest, alone bool) {
	if o := e.settledCRI(a); o != nil {
		return []*event.RuntimeRequest{o}, false
	}
	w, ok := e.memo.cri[a.subject()]
	if !ok {
		e.weighCRI(a)
		w = e.memo.cri[a.subject()]
	}
	return w.requests, w.alone
}

// weighCRI works out the choices of a and of every command in its container
// that could be mistaken for it.
func (e *Engine) weighCRI(a arrival) {
	g := e.criGroup(a)
	p := pairing.Problem{Fits: g.fits, Right: len(g.requests)}
	for i, b := range g.arrivals {
		p.LeftAlone = append(p.LeftAlone, len(g.fits[i]) == 0 || !e.criKnown(b.began()))
	}
	if len(p.Fits) > groupMax || len(g.requests) > groupMax {
		e.memo.cri[a.subject()] = criAsked{alone: true}
		return
	}
	for _, o := range g.requests {
		p.RightAlone = append(p.RightAlone, !e.criMustRun(o))
	}
	choices, ok := p.Solve()
	if !ok { // one of the requests failed after all
		for i := range p.RightAlone {
			p.RightAlone[i] = true
		}
		choices, ok = p.Solve()
	}
	if !ok {
		choices = []pairing.Choice{{Partners: p.Fits[0], Alone: true}}
	}
	for i, w := range choices {
		asked := criAsked{alone: w.Alone || len(p.Fits[i]) == 0}
		for _, j := range w.Partners {
			asked.requests = append(asked.requests, g.requests[j])
		}
		e.memo.cri[g.arrivals[i].subject()] = asked
		e.settleCRI(g.arrivals[i], asked)
	}
}

// criSettled is the one request by CRI that a command came of, and the epoch of
// which that holds.
type criSettled struct {
	request *event.RuntimeRequest
	epoch   uint64
}

// criSettles is after how long the one request of a command is no longer looked
// for anew: what a node tells of itself comes within seconds.
const criSettles = 20 * time.Second

func (e *Engine) settleCRI(a arrival, asked criAsked) {
	if _, whole := a.argv(); whole && !asked.alone && len(asked.requests) == 1 && e.now.Sub(a.began()) > criSettles {
		a.subject().state().cri = criSettled{asked.requests[0], e.doors.epoch}
	}
}

func (e *Engine) settledCRI(a arrival) *event.RuntimeRequest {
	if s := a.subject().state().cri; s.epoch == e.doors.epoch {
		return s.request
	}
	return nil
}

// criGroup is what could be mistaken for each other: commands, the requests
// by CRI that fit any of them, and by the index of each command those of the
// requests that fit it.
type criGroup struct {
	arrivals []arrival
	requests []*event.RuntimeRequest
	fits     [][]int
}

// criGroup collects the requests that fit a, the commands that fit those, and
// so on. a comes first. What is settled is left out.
func (e *Engine) criGroup(a arrival) criGroup {
	asks := e.criAsks(a.container())
	all, self := e.momentsAround(a)
	gone, paired := make([]bool, len(asks)), make([]bool, len(all))
	for i, m := range all {
		if o := e.settledCRI(m.arrival); o != nil {
			paired[i] = true
			first := criBefore(asks, o.Time)
			if j := slices.Index(asks[first:], o); j >= 0 {
				gone[first+j] = true
			}
		}
	}
	lag := make([]lags, len(all))
	for i := range all {
		lag[i] = e.doors.pace.lags(all[i].beganAt)
	}
	part := pairing.Graph{
		Left: len(all), Right: len(asks),
		RightOf: func(i int) iter.Seq[int] {
			low, high := criBefore(asks, all[i].beganAt.Add(-lag[i].stream)), criBefore(asks, all[i].beganAt.Add(grain+1))
			return those(low, high, func(j int) bool { return !gone[j] && criFits(all[i].arrival, asks[j], lag[i]) })
		},
		LeftOf: func(j int) iter.Seq[int] {
			low, high := startingIn(all, asks[j].Time.Add(-grain), asks[j].Time.Add(streamWait))
			return those(low, high, func(i int) bool { return !paired[i] && criFits(all[i].arrival, asks[j], lag[i]) })
		},
	}.Around(self, groupMax)
	g := criGroup{fits: part.Fits}
	for _, i := range part.Left {
		g.arrivals = append(g.arrivals, all[i].arrival)
	}
	for _, j := range part.Right {
		g.requests = append(g.requests, asks[j])
	}
	return g
}

// criAsks lists the requests by CRI that name a container, by time. The list is
// not the caller's to change.
func (e *Engine) criAsks(id event.ContainerID) []*event.RuntimeRequest {
	out, ok := e.memo.asks[id]
	if !ok {
		out = slices.DeleteFunc(e.doors.asksFor(id), func(o *event.RuntimeRequest) bool { return o.API != event.APICRI })
		e.memo.asks[id] = out
	}
	return out
}

// criBefore returns where in a list of requests those from t on begin.
func criBefore(asks []*event.RuntimeRequest, t time.Time) int {
	i, _ := slices.BinarySearchFunc(asks, t, func(o *event.RuntimeRequest, t time.Time) int { return o.Time.Compare(t) })
	return i
}

// criMustRun reports whether an exec must have come of a request by CRI: the
// container ran on, and containerd, which tells of every exec, was heard. A
// stream that its client never opened is the exception; it is found out by
// requests being one too many.
func (e *Engine) criMustRun(o *event.RuntimeRequest) bool {
	until := o.Time.Add(e.opt.Window)
	k := e.inside.container(o.Container)
	return e.coverage.isKubelet(o.Peer) && k != nil && e.coverage.wouldTell(event.WitnessContainerd, "", o.Time) &&
		slices.ContainsFunc(k.runs, func(r *run) bool { return e.inside.covers(r, o.Time) && e.inside.covers(r, until) })
}

// criKnown reports whether every request by CRI that can have been made at t was
// seen.
func (e *Engine) criKnown(t time.Time) bool {
	k := e.coverage.at(event.WitnessKernel, t)
	if k == nil || !k.Up || !k.Peers {
		return false
	}
	if whole, _ := e.coverage.peersWhole(t.Add(-skew), t.Add(skew)); !whole {
		return false
	}
	daemon := e.coverage.daemonPID(event.WitnessDocker)
	for _, service := range runtimeServices {
		for _, c := range e.doors.byService[service] {
			if c.openAt(t) && !(daemon != 0 && c.peer.ID.PID == daemon || e.doors.heard(c, t) || e.doors.followed(c, t)) {
				return false
			}
		}
	}
	return true
}

// attributeCRI names the client of the runtime's socket that asked for a, when
// nobody else can have: not one whose requests were not seen, and not the
// kubelet, which asks for others.
func (e *Engine) attributeCRI(a arrival, s *session.Session) bool {
	asked, alone := e.criChoice(a)
	if _, seen := a.argv(); alone || !seen || slices.ContainsFunc(asked, func(o *event.RuntimeRequest) bool {
		return e.coverage.isKubelet(o.Peer) || !o.Certain || o.Cut
	}) {
		return false
	}
	s.Channel = event.ChannelRuntimeCRI
	e.attributeAsks(s, asked)
	s.Unexplained = session.Unexplained{Is: true, Reason: "no request at the API server: the runtime was used directly"}
	return true
}

// inputByCRI says whether the requests by CRI that can be a's ask for standard
// input; nil when they differ, or not all were seen. An exec_sync has none.
func (e *Engine) inputByCRI(a arrival) *bool {
	asked, alone := e.criChoice(a)
	if alone || len(asked) == 0 {
		return nil
	}
	for _, o := range asked {
		if o.Cut || o.Stdin != asked[0].Stdin {
			return nil
		}
	}
	return &asked[0].Stdin
}

// criClients lists who asked for what can be a, when somebody besides the kubelet
// did: then the kubelet is one among others. Clients whose requests were not
// seen are atRuntime's.
func (e *Engine) criClients(a arrival) []session.Actor {
	var out []session.Actor
	asked, alone := e.criChoice(a)
	for _, o := range asked {
		if !e.coverage.isKubelet(o.Peer) {
			out = appendActor(out, e.asker(o))
		}
	}
	if len(out) > 0 && (alone || slices.ContainsFunc(asked, func(o *event.RuntimeRequest) bool { return e.coverage.isKubelet(o.Peer) })) {
		out = append(out, kubeletItself)
	}
	return out
}
