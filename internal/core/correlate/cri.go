package correlate

import (
	"iter"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/pairing"
)

// cri finds the requests by CRI that can stand behind the commands in pods. It
// knows no exec id that the client could name: a container's commands and the
// requests that name it are paired in all ways that container, command and time
// leave.
type cri struct {
	*clock
	coverage *coverage
	inside   *inside
	doors    *doors
	arrivals *arrivals

	// What was worked out since the last observation; see Engine.changed.
	asks   map[event.ContainerID][]*event.RuntimeRequest
	chosen map[subject]criAsked
}

func newCRI(now *clock, c *coverage, in *inside, d *doors, as *arrivals) cri {
	return cri{
		clock: now, coverage: c, inside: in, doors: d, arrivals: as,
		asks: map[event.ContainerID][]*event.RuntimeRequest{}, chosen: map[subject]criAsked{},
	}
}

func (cr *cri) changed() {
	clear(cr.asks)
	clear(cr.chosen)
}

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

// asked returns the requests by CRI that can be a's, the kubelet's among
// them, in all ways of pairing the container's execs with the requests. alone
// says that there may be one that was not seen.
func (cr *cri) asked(a arrival) (asked []*event.RuntimeRequest, alone bool) {
	if o := cr.settledOn(a); o != nil {
		return []*event.RuntimeRequest{o}, false
	}
	w, ok := cr.chosen[a.subject()]
	if !ok {
		cr.weigh(a)
		w = cr.chosen[a.subject()]
	}
	return w.requests, w.alone
}

// weigh works out the choices of a and of every command in its container
// that could be mistaken for it.
func (cr *cri) weigh(a arrival) {
	g := cr.group(a)
	p := pairing.Problem{Fits: g.fits, Right: len(g.requests)}
	for i, b := range g.arrivals {
		p.LeftAlone = append(p.LeftAlone, len(g.fits[i]) == 0 || !cr.known(b.began()))
	}
	if len(p.Fits) > groupMax || len(g.requests) > groupMax {
		cr.chosen[a.subject()] = criAsked{alone: true}
		return
	}
	for _, o := range g.requests {
		p.RightAlone = append(p.RightAlone, !cr.mustRun(o))
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
		cr.chosen[g.arrivals[i].subject()] = asked
		cr.settle(g.arrivals[i], asked)
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

func (cr *cri) settle(a arrival, asked criAsked) {
	if _, whole := a.argv(); whole && !asked.alone && len(asked.requests) == 1 && cr.now.Sub(a.began()) > criSettles {
		a.subject().state().cri = criSettled{asked.requests[0], cr.doors.epoch}
	}
}

func (cr *cri) settledOn(a arrival) *event.RuntimeRequest {
	if s := a.subject().state().cri; s.epoch == cr.doors.epoch {
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

// group collects the requests that fit a, the commands that fit those, and
// so on. a comes first. What is settled is left out.
func (cr *cri) group(a arrival) criGroup {
	asks := cr.asksFor(a.container())
	all, self := cr.arrivals.momentsAround(a)
	gone, paired := make([]bool, len(asks)), make([]bool, len(all))
	for i, m := range all {
		if o := cr.settledOn(m.arrival); o != nil {
			paired[i] = true
			first := criBefore(asks, o.Time)
			if j := slices.Index(asks[first:], o); j >= 0 {
				gone[first+j] = true
			}
		}
	}
	lag := make([]lags, len(all))
	for i := range all {
		lag[i] = cr.doors.pace.lags(all[i].beganAt)
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

// asksFor lists the requests by CRI that name a container, by time. The list is
// not the caller's to change.
func (cr *cri) asksFor(id event.ContainerID) []*event.RuntimeRequest {
	out, ok := cr.asks[id]
	if !ok {
		out = slices.DeleteFunc(cr.doors.asksFor(id), func(o *event.RuntimeRequest) bool { return o.API != event.APICRI })
		cr.asks[id] = out
	}
	return out
}

// criBefore returns where in a list of requests those from t on begin.
func criBefore(asks []*event.RuntimeRequest, t time.Time) int {
	i, _ := slices.BinarySearchFunc(asks, t, func(o *event.RuntimeRequest, t time.Time) int { return o.Time.Compare(t) })
	return i
}

// mustRun reports whether an exec must have come of a request by CRI: the
// container ran on, and containerd, which tells of every exec, was heard. A
// stream that its client never opened is the exception; it is found out by
// requests being one too many.
func (cr *cri) mustRun(o *event.RuntimeRequest) bool {
	until := o.Time.Add(cr.opt.Window)
	k := cr.inside.seen(o.Container)
	return cr.coverage.isKubelet(o.Peer) && k != nil && cr.coverage.wouldTell(event.WitnessContainerd, "", o.Time) &&
		slices.ContainsFunc(k.runs, func(r *run) bool { return cr.inside.covers(r, o.Time) && cr.inside.covers(r, until) })
}

// known reports whether every request by CRI that can have been made at t was
// seen.
func (cr *cri) known(t time.Time) bool {
	k := cr.coverage.at(event.WitnessKernel, t)
	if k == nil || !k.Up || !k.Peers {
		return false
	}
	if whole, _ := cr.coverage.peersWhole(t.Add(-skew), t.Add(skew)); !whole {
		return false
	}
	daemon := cr.coverage.daemonPID(event.WitnessDocker)
	for _, service := range runtimeServices {
		for _, c := range cr.doors.byService[service] {
			if c.openAt(t) && !(daemon != 0 && c.peer.ID.PID == daemon || cr.doors.heard(c, t) || cr.doors.followed(c, t)) {
				return false
			}
		}
	}
	return true
}

// input says whether the requests by CRI that can be a's ask for standard
// input; nil when they differ, or not all were seen. An exec_sync has none.
func (cr *cri) input(a arrival) *bool {
	asked, alone := cr.asked(a)
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

// clientAsked reports whether somebody besides the kubelet asked for what can be a.
func (cr *cri) clientAsked(a arrival) bool {
	asked, _ := cr.asked(a)
	return slices.ContainsFunc(asked, func(o *event.RuntimeRequest) bool { return !cr.coverage.isKubelet(o.Peer) })
}

// atRuntime lists the connections to the runtime's sockets that were open when a
// began and are not the kubelet's or the Docker daemon's, without those whose
// requests were all seen and do not ask for a.
func (cr *cri) atRuntime(a arrival) []*conn {
	t := a.began()
	asked, lag := cr.doors.asksFor(a.container()), cr.doors.pace.lags(t)
	silent := func(c *conn) bool {
		return cr.doors.heard(c, t) && !slices.ContainsFunc(asked, func(o *event.RuntimeRequest) bool { return o.ID.Conn == c.id && criFits(a, o, lag) })
	}
	docker := cr.coverage.daemonPID(event.WitnessDocker)
	var out []*conn
	for _, service := range runtimeServices {
		out = append(out, cr.doors.openTo(t, service, func(c *conn) bool {
			return !cr.coverage.isKubelet(c.peer) && (docker == 0 || c.peer.ID.PID != docker) && !silent(c)
		})...)
	}
	return out
}

// manner is how a command can have come through CRI. The kubelet's own request
// on the runtime's socket tells: a stream is what the API server or somebody at
// the kubelet's port asks for; exec_sync with a timeout is a probe, without one
// a lifecycle hook or the kubelet's /run (testbed.md §4.7).
type manner uint8

const (
	byStream manner = 1 << iota
	byProbe
	byRun
	byClient // not the kubelet's request
	// byAny: not known.
	byAny = byStream | byProbe | byRun | byClient
)

// manner returns how a can have come through CRI.
func (cr *cri) manner(a arrival) manner {
	asked, alone := cr.asked(a)
	if alone {
		return byAny
	}
	var m manner
	for _, o := range asked {
		switch {
		case o.Cut:
			return byAny
		case !cr.coverage.isKubelet(o.Peer):
			m |= byClient
		case o.Op == event.RuntimeOpExecStream:
			m |= byStream
		case o.Timeout != nil && *o.Timeout > 0:
			m |= byProbe
		default:
			m |= byRun
		}
	}
	return m
}

// mannerOf is how a request to the API server reaches CRI.
func mannerOf(op event.KubeOp) manner {
	if op == event.KubeNodeRun {
		return byRun
	}
	return byStream
}

// followedThrough reports whether the kubelet's one request that led to a was
// seen, and no other can have.
func (cr *cri) followedThrough(a arrival) bool {
	asked, alone := cr.asked(a)
	return !alone && len(asked) == 1 && cr.coverage.isKubelet(asked[0].Peer) && asked[0].Op == event.RuntimeOpExecStream
}
