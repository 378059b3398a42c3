package correlate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/pairing"
	"github.com/sallyport/sallyport/internal/core/session"
)

// arrival is a command that came into a pod's container: an exec that the
// runtime told of, or else a process tree that a shim started and no runtime
// told of (CRI-O, or containerd unheard).
type arrival struct {
	x *exec
	n *entry
}

func (a arrival) subject() subject {
	if a.x != nil {
		return a.x
	}
	return a.n
}

// arrivalID returns the id of the session that a is.
func (e *Engine) arrivalID(a arrival) session.ID {
	if a.x != nil {
		return a.x.sessionID()
	}
	return e.entryID(a.n)
}

func (a arrival) container() event.ContainerID {
	if a.x != nil {
		return a.x.container
	}
	return a.n.where
}

// began is the earliest that anybody saw of it.
func (a arrival) began() time.Time {
	if a.x != nil {
		return a.x.asked()
	}
	return a.n.born()
}

// arrived is when it was there for certain: whoever asked, asked before that.
// That is when the runtime had made its exec, or else when its process came in.
func (a arrival) arrived() time.Time {
	t := a.began()
	if a.x != nil && a.x.added != nil && a.x.added.Time.Equal(t) {
		return t
	}
	if a.x != nil && a.n != nil && a.n.fact != nil && a.n.fact.Cause != event.EntryFound && a.n.born().After(t) {
		return a.n.born()
	}
	return t
}

// argv is what the process executed first; false when nobody saw that.
func (a arrival) argv() ([]string, bool) {
	if a.n == nil {
		return nil, false
	}
	p := a.n.procs[a.n.root]
	if p == nil {
		return nil, false
	}
	for _, x := range p.execs {
		if !slices.Equal(x.Argv.Args, runcInit) {
			return x.Argv.Args, !x.Argv.Truncated
		}
	}
	return nil, false
}

// tty reports whether the process had a terminal; known is false when nobody
// saw.
func (a arrival) tty() (has, known bool) {
	if a.n == nil || !a.n.ran() {
		return false, false
	}
	return a.n.procs[a.n.root].execs[0].TTY != "", true
}

// ofPod reports whether a is a command that came into a container of a pod, by
// the kubelet or somebody who uses the runtime as the kubelet does. Clients of
// the runtime choose their exec ids; it draws random ones.
func (e *Engine) ofPod(a arrival) bool {
	if a.x != nil {
		return e.inPod(a.x.container) && randomID(string(a.x.key.id)) && a.x.begun()
	}
	return a.n != nil && a.n.fact != nil && a.n.fact.Cause == event.EntryInjected && e.inPod(a.n.where) && e.byShim(a.n)
}

// arrivalsIn lists the commands that came into a container, those of the
// runtime's own clients left out: they have an id of their own. The list is not
// the caller's to change.
func (e *Engine) arrivalsIn(id event.ContainerID) []arrival {
	out, ok := e.memo.arrivals[id]
	c := e.containers[id]
	if ok || c == nil {
		return out
	}
	for _, x := range c.execs {
		if a := (arrival{x, e.entryOf(x)}); e.ofPod(a) {
			out = append(out, a)
		}
	}
	for _, n := range c.entries {
		if a := (arrival{nil, n}); e.ofPod(a) && e.execOf(n) == nil {
			out = append(out, a)
		}
	}
	e.memo.arrivals[id] = out
	return out
}

// byShim reports whether a container's shim let n in.
func (e *Engine) byShim(n *entry) bool {
	i := n.runtimeParent() + 1
	return i < len(n.fact.Lineage) && e.isShimOf(n.where, n.fact.Lineage[i])
}

// fits reports whether c can be the request behind a: nothing that is known
// speaks against it.
func (e *Engine) fits(a arrival, c *call) bool {
	k := c.ask()
	if !commands(k.op) || c.refused() || e.twin(c) || e.madeUp(c) {
		return false
	}
	p := e.containers[a.container()]
	if p == nil || p.pod == nil || p.pod.pod != k.pod || k.container != "" && k.container != p.pod.container {
		return false
	}
	if f := c.fact(); p.pod.uid != "" && f != nil && f.Object != nil && f.Object.UID != "" && f.Object.UID != p.pod.uid {
		return false
	}
	if a.arrived().Before(e.lo(c)) {
		return false
	}
	if until, ends := e.hi(c); ends && a.began().After(until) {
		return false
	}
	if has, known := a.tty(); known && has != k.tty && k.op == event.KubeExec {
		return false
	}
	argv, whole := a.argv()
	return asAsked(k.argv, argv, whole) && e.manner(a)&mannerOf(k.op) != 0 && e.streamed(a, c)
}

// asAsked reports whether a process that executed ran can come from a request
// for asked. Webhooks of other tools put "env NAME=value" before the command
// (channels.md §4.1).
func asAsked(asked, ran []string, whole bool) bool {
	if ran == nil {
		return true
	}
	if len(ran) > len(asked) && ran[0] == "env" {
		rest := ran[1:]
		for len(rest) > len(asked) && strings.Contains(rest[0], "=") {
			rest = rest[1:]
		}
		if slices.Equal(rest, asked) {
			return true
		}
	}
	if whole {
		return slices.Equal(asked, ran) || isScript(asked, ran)
	}
	return len(ran) <= len(asked) && (len(ran) == 0 || slices.Equal(asked[:len(ran)-1], ran[:len(ran)-1]))
}

// isScript reports whether ran is what the kernel makes of a script that was
// asked for: an interpreter, at most one argument of its, the script's path, and
// the rest (execve(2)).
func isScript(asked, ran []string) bool {
	before := len(ran) - len(asked)
	if len(asked) == 0 || before < 1 || before > 2 || !slices.Equal(asked[1:], ran[before+1:]) {
		return false
	}
	path := ran[before]
	return path == asked[0] || !strings.Contains(asked[0], "/") && strings.Contains(path, "/") && base(path) == asked[0]
}

// arrivalsOf lists the commands that c may stand behind.
func (e *Engine) arrivalsOf(c *call) []arrival {
	var out []arrival
	for _, k := range e.containersOf(c.pod()) {
		for _, a := range e.arrivalsIn(k.id) {
			if e.fits(a, c) && slices.Contains(e.choose(a).calls, c) {
				out = append(out, a)
			}
		}
	}
	return out
}

// partOfCopy returns the command that a is a preparation of: kubectl cp asks
// "test -d DIR" before it lets tar write. nil when a stands for itself.
func (e *Engine) partOfCopy(a arrival) *arrival {
	argv, _ := a.argv()
	if len(argv) != 3 || argv[0] != "test" || argv[1] != "-d" {
		return nil
	}
	mine := e.choose(a)
	if len(mine.calls) != 1 || mine.alone {
		return nil
	}
	for _, o := range e.arrivalsIn(a.container()) {
		args, _ := o.argv()
		wait := o.began().Sub(a.began())
		if dir, path, ok := copied(args); !ok || dir != "in" || path != argv[2] || wait < 0 || wait > copyWait {
			continue
		}
		if his := e.choose(o); len(his.calls) == 1 && !his.alone && sameClient(mine.calls[0], his.calls[0]) {
			return &o
		}
	}
	return nil
}

// copyWait is how long kubectl cp may take from its question to its copy.
const copyWait = 30 * time.Second

// sameClient reports whether two requests come from one client, as far as the
// API server can tell.
func sameClient(a, b *call) bool {
	f, g := a.fact(), b.fact()
	if f == nil || g == nil {
		return f == g && a.adm.User.Name == b.adm.User.Name
	}
	return f.User.Name == g.User.Name && f.Address == g.Address && f.UserAgent == g.UserAgent
}

// choice is who can stand behind an arrival.
type choice struct {
	calls []*call
	// alone says that it may also have come without a request to the API
	// server.
	alone bool
	// admitted says that every request that could matter was seen by the
	// admission webhook, and let go when no other could be confused with it.
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
		return []choice{{alone: true, settled: e.asksKnown(g.arrivals[0].began())}}
	}
	p := pairing.Problem{Fits: g.fits, Right: len(g.calls), LeftAlone: make([]bool, len(g.arrivals))}
	for i, x := range g.arrivals {
		p.LeftAlone[i] = !e.mustBeAsked(x)
	}
	admitted, settled := true, true
	for _, c := range g.calls {
		p.RightAlone = append(p.RightAlone, !e.mustRun(c))
		admitted = admitted && c.adm != nil && c.adm.Alone
		settled = settled && e.settled(e.lo(c)) && c.vouched()
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
		out[i] = choice{alone: w.Alone, admitted: admitted, settled: settled && e.asksKnown(g.arrivals[i].began())}
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
	k := e.containers[a.container()]
	if k == nil || k.pod == nil {
		return group{arrivals: []arrival{a}}
	}
	spans := e.spansOf(k.pod.pod)
	others := e.momentsIn(a.container(), a)
	g := group{}
	in := make([]bool, len(spans))
	taken := make([]bool, len(others))
	for todo := []int{0}; len(todo) > 0 && len(g.arrivals) <= groupMax; todo = todo[1:] { // others[0] is a
		m := others[todo[0]]
		taken[todo[0]] = true
		var fits []int
		for j, c := range spans {
			if !c.holds(m) || !e.fits(m.arrival, c.call) {
				continue
			}
			fits = append(fits, j)
			if in[j] {
				continue
			}
			in[j] = true
			for i, o := range others {
				if !taken[i] && c.holds(o) && e.fits(o.arrival, c.call) {
					taken[i] = true
					todo = append(todo, i)
				}
			}
		}
		g.arrivals, g.fits = append(g.arrivals, m.arrival), append(g.fits, fits)
	}
	return g.number(spans, in)
}

// number gives the requests that are in the group numbers of their own.
func (g group) number(spans []span, in []bool) group {
	index := make([]int, len(spans))
	for j, c := range spans {
		if in[j] {
			index[j] = len(g.calls)
			g.calls = append(g.calls, c.call)
		}
	}
	for _, fits := range g.fits {
		for i, j := range fits {
			fits[i] = index[j]
		}
	}
	return g
}

// moment is an arrival with its times at hand.
type moment struct {
	arrival
	beganAt, arrivedAt time.Time
}

// momentsIn lists the arrivals in a container, a first.
func (e *Engine) momentsIn(id event.ContainerID, a arrival) []moment {
	out := []moment{{a, a.began(), a.arrived()}}
	for _, o := range e.arrivalsIn(id) {
		if o.subject() != a.subject() {
			out = append(out, moment{o, o.began(), o.arrived()})
		}
	}
	return out
}

// span is a request with its times at hand.
type span struct {
	*call
	from, until time.Time
	ends        bool
}

// holds reports whether m is of the request's time.
func (c span) holds(m moment) bool {
	return !m.arrivedAt.Before(c.from) && (!c.ends || !m.beganAt.After(c.until))
}

// spansOf lists the requests that concern a pod, in order of time.
func (e *Engine) spansOf(pod podName) []span {
	out, ok := e.memo.spans[pod]
	if ok {
		return out
	}
	for _, c := range e.callsTo(pod) {
		until, ends := e.hi(c)
		out = append(out, span{c, e.lo(c), until, ends})
	}
	e.memo.spans[pod] = out
	return out
}

// callsTo lists the requests that concern a pod, in order of time. The list is
// not the caller's to change.
func (e *Engine) callsTo(pod podName) []*call {
	out, ok := e.memo.calls[pod]
	if ok {
		return out
	}
	out = slices.Clone(e.kube.byPod[pod])
	slices.SortFunc(out, func(a, b *call) int {
		if d := e.lo(a).Compare(e.lo(b)); d != 0 {
			return d
		}
		return cmp.Compare(a.sessionID(), b.sessionID())
	})
	e.memo.calls[pod] = out
	return out
}

// mustBeAsked reports whether a can only have come by a request to the API
// server: whoever else could have asked the kubelet or the runtime would have
// been seen, and it is not what the kubelet runs by itself.
func (e *Engine) mustBeAsked(a arrival) bool {
	t := a.began()
	return e.nodeDoorsWatched(t) && len(e.atKubelet(t)) == 0 && len(e.criClients(a)) == 0 && len(e.atRuntime(a)) == 0 &&
		e.hookOf(a) == nil && e.specKnown(a) && e.asksKnown(t)
}

// specKnown reports whether it is known what the kubelet runs by itself in a's
// container, and what a ran.
func (e *Engine) specKnown(a arrival) bool {
	k := e.containers[a.container()]
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
	lo := e.lo(c)
	until := lo.Add(e.opt.Window)
	return e.settled(lo) && e.coverage.whole(event.WitnessKernel, "process", lo, until) &&
		e.coverage.whole(event.WitnessContainerd, "", lo, until)
}

// attributeArrival finds who asked the API server, the kubelet or the runtime
// for a command in a pod, and by which way.
func (e *Engine) attributeArrival(a arrival, s *session.Session) {
	s.Kind, s.Channel = session.KindExec, event.ChannelUnknown
	none(s)
	if e.attributeCRI(a, s) {
		return
	}
	w := e.choose(a)
	if !w.settled {
		a.subject().state().lookAt = a.began().Add(auditWait + 2*e.kube.lag)
	}
	if len(w.calls) > 0 {
		e.byCall(a, w, s)
		return
	}
	e.byNode(a, w, s)
}

// byCall attributes a to the requests that can stand behind it.
func (e *Engine) byCall(a arrival, w choice, s *session.Session) {
	c := w.calls[0]
	s.Kind, s.Channel = c.channelOf()
	var actors []session.Actor
	for _, o := range w.calls {
		actors = appendIdentity(actors, e.kubeActor(o))
		if _, ch := o.channelOf(); ch != s.Channel {
			s.Channel = event.ChannelUnknown
		}
	}
	if w.alone {
		actors = append(actors, e.otherwise(a)...)
	}
	switch {
	case len(actors) > 1 || w.alone:
		s.Attribution = session.Attribution{Level: session.LevelSet, Via: []string{viaWindow}, Candidates: actors}
	case !w.settled:
		s.Gaps = append(s.Gaps, gapPending)
		return
	case w.admitted && len(w.calls) == 1:
		known(s, session.LevelExact, actors[0], viaAdmission)
	default:
		known(s, session.LevelStrong, actors[0], viaWindow)
	}
	if len(w.calls) == 1 {
		s.Argv, s.ArgvSource, s.TTY = c.ask().argv, "request", c.ask().tty
		if f := c.fact(); f != nil {
			s.AuditID = f.ID
		}
	}
	if dir, path, ok := copied(s.Argv); ok && s.Kind == session.KindExec {
		s.Kind, s.Channel, s.Direction, s.Path = session.KindCopy, event.ChannelKubeCopy, dir, path
	}
}

const gapPending = "who asked is not known yet: the API server's audit log comes late"

// byNode attributes a to the kubelet itself, to somebody who talks to the
// kubelet directly, or to a client of the runtime's socket.
func (e *Engine) byNode(a arrival, w choice, s *session.Session) {
	hook := e.hookOf(a)
	candidates := e.otherwise(a)
	if hook != nil && w.settled && e.routine(a, hook, len(candidates) == 1) {
		s.Kind, s.Channel = session.KindProbe, event.ChannelKubeProbe
		if hook.Period == 0 {
			s.Kind, s.Channel = session.KindHook, event.ChannelKubeHook
		}
		if e.manner(a) == byProbe || e.nodeDoorsWatched(a.began()) {
			known(s, session.LevelStrong, kubeletItself, viaSpec)
			return
		}
		candidates = append(candidates, session.Actor{Kind: session.ActorNone}) // or somebody whom nobody would have seen
		s.Attribution = session.Attribution{Level: session.LevelSet, Via: []string{viaSpec}, Candidates: candidates}
		return
	}
	if len(candidates) > 0 {
		s.Attribution = session.Attribution{Level: session.LevelSet, Via: []string{viaOpen}, Candidates: candidates}
	}
	if e.atKubelet(a.began()) != nil {
		s.Channel = event.ChannelKubeletExec
		if e.manner(a) == byRun {
			s.Channel = event.ChannelKubeletRun
		}
	}
	switch {
	case !e.coverage.any(event.WitnessAudit) && !e.coverage.any(event.WitnessAdmission):
		s.Gaps = append(s.Gaps, "no witness of the API server: who asked there is not known")
	case !w.settled:
		s.Gaps = append(s.Gaps, gapPending)
	case hook != nil:
		s.Unexplained = session.Unexplained{Is: true, Reason: "a command of the pod's specification, at a time or in company that is not the kubelet's own"}
	default:
		s.Unexplained = session.Unexplained{Is: true, Reason: "no request at the API server: the kubelet or the runtime was used directly"}
	}
}

var kubeletItself = session.Actor{Kind: session.ActorNone, Service: event.ServiceKubelet}

// otherwise lists who besides the API server's clients can have brought a in.
func (e *Engine) otherwise(a arrival) []session.Actor {
	var out []session.Actor
	t := a.began()
	if e.hookOf(a) != nil {
		out = append(out, kubeletItself)
	}
	at := e.atKubelet(t)
	if m := e.manner(a); m&(byStream|byRun) != 0 && (len(at) > 0 || !e.portWatched(t)) {
		for _, r := range e.reviewed(t) {
			out = appendIdentity(out, r)
		}
		for _, c := range at {
			out = appendActor(out, e.peer(c.peer))
		}
	}
	for _, c := range e.atRuntime(a) {
		out = appendActor(out, e.peer(c.peer))
	}
	for _, c := range e.criClients(a) {
		if c.Service == "" || len(out) == 0 || out[0].Service == "" {
			out = appendActor(out, c)
		}
	}
	return out
}

// appendIdentity adds a unless the same identity from the same place is listed.
func appendIdentity(list []session.Actor, a session.Actor) []session.Actor {
	for _, b := range list {
		if a.User == b.User && a.Address == b.Address && a.UserAgent == b.UserAgent && sameIdentity(a.Impersonator, b.Impersonator) {
			return list
		}
	}
	return append(list, a)
}

func sameIdentity(a, b *session.Identity) bool {
	return a == nil && b == nil || a != nil && b != nil && a.User == b.User
}

// hookOf returns the command of the pod's specification that a ran, or nil.
func (e *Engine) hookOf(a arrival) *event.KubeHook {
	k := e.containers[a.container()]
	argv, whole := a.argv()
	if k == nil || k.pod == nil || k.pod.spec == nil || !whole {
		return nil
	}
	var probe, hook *event.KubeHook
	m := e.manner(a)
	for i := range k.pod.spec.Hooks {
		h := &k.pod.spec.Hooks[i]
		switch {
		case !slices.Equal(h.Argv, argv):
		case h.Period != 0 && m&byProbe != 0 && probe == nil:
			probe = h
		case h.Period == 0 && m&byRun != 0 && hook == nil:
			hook = h
		}
	}
	if probe != nil && (hook == nil || !e.firstOf(a, argv)) {
		return probe
	}
	return hook
}

// firstOf reports whether a is the first in its container to run argv. Of a hook
// and a probe with the same command the hook comes first: probes wait for it.
func (e *Engine) firstOf(a arrival, argv []string) bool {
	return !slices.ContainsFunc(e.arrivalsIn(a.container()), func(o arrival) bool {
		args, _ := o.argv()
		return o.began().Before(a.began()) && slices.Equal(args, argv)
	})
}

// routine reports whether a ran what the kubelet runs by itself, and nobody else
// can have: nobody had a connection to the kubelet or the runtime. Where such
// connections are not seen, the time has to be the kubelet's, too.
func (e *Engine) routine(a arrival, h *event.KubeHook, nobodyElse bool) bool {
	if e.manner(a) == byProbe {
		return true // the kubelet asks that way for probes only
	}
	return nobodyElse && (e.nodeDoorsWatched(a.began()) || e.onTime(a, h))
}

// nodeDoorsWatched reports whether every client of the kubelet's port and of
// the runtime's socket is known at t.
func (e *Engine) nodeDoorsWatched(t time.Time) bool {
	k := e.coverage.at(event.WitnessKernel, t)
	return k != nil && k.Peers && e.portWatched(t)
}

// portWatched reports whether every client of the kubelet's port is known at t.
func (e *Engine) portWatched(t time.Time) bool {
	k := e.coverage.at(event.WitnessKernel, t)
	return k != nil && k.Up && slices.Contains(k.Ports, event.ServiceKubelet) &&
		e.coverage.whole(event.WitnessKernel, "process", t.Add(-skew), t.Add(skew))
}

// onTime reports whether a came when the kubelet itself runs h: a probe no
// sooner after the one before than its period, with room for jitter; a hook
// once, when its container starts or stops.
func (e *Engine) onTime(a arrival, h *event.KubeHook) bool {
	k := e.containers[a.container()]
	argv, _ := a.argv()
	same := 0
	for _, o := range k.pod.spec.Hooks {
		if slices.Equal(o.Argv, argv) {
			same++
		}
	}
	span := time.Duration(h.Period) * 7 / 10
	if span == 0 {
		span = time.Minute
	}
	near := 0
	for _, o := range e.arrivalsIn(a.container()) {
		if other, _ := o.argv(); slices.Equal(other, argv) && o.began().Sub(a.began()).Abs() < span && len(e.choose(o).calls) == 0 {
			near++
		}
	}
	if near > same {
		return false
	}
	if h.Kind == event.KubePostStart {
		return slices.ContainsFunc(k.runs, func(r *run) bool { d := a.began().Sub(r.begins(e)); return d > -skew && d < time.Minute })
	}
	return true
}

// atKubelet lists the connections to the kubelet's port that were open at t and
// are not the API server's or the kubelet's own.
func (e *Engine) atKubelet(t time.Time) []*conn {
	return e.openTo(t, func(c *conn) bool { return c.service == event.ServiceKubelet && !isAPIServer(c.peer) })
}

// atRuntime lists the connections to the runtime's sockets that were open when a
// began and are not the kubelet's or the Docker daemon's, without those whose
// requests were all seen and do not ask for a.
func (e *Engine) atRuntime(a arrival) []*conn {
	t := a.began()
	asked := e.asksFor(a.container())
	silent := func(c *conn) bool {
		return e.heard(c, t) && !slices.ContainsFunc(asked, func(o *event.RuntimeRequest) bool { return o.ID.Conn == c.id && criFits(a, o) })
	}
	docker := e.coverage.daemonPID(event.WitnessDocker)
	return e.openTo(t, func(c *conn) bool {
		runtime := c.service == event.ServiceContainerd || c.service == event.ServiceCRIO
		return runtime && !isKubelet(c.peer) && (docker == 0 || c.peer.ID.PID != docker) && !silent(c)
	})
}

// isKubelet and isAPIServer go by what a local process is called: by its file,
// its name, or its first argument, as of a program that is several in one.
func isKubelet(p event.Peer) bool { return called(p, "kubelet") }

// isAPIServer says nothing of a process that is elsewhere.
func isAPIServer(p event.Peer) bool { return called(p, "kube-apiserver") }

func called(p event.Peer, name string) bool {
	return base(string(p.Exe)) == name || string(p.Comm) == name || len(p.Argv.Args) > 0 && base(p.Argv.Args[0]) == name
}

// reviewCache is how long a kubelet remembers that somebody may talk to it
// before it asks the API server again.
const reviewCache = 5 * time.Minute

// reviewed lists the users about whom a kubelet asked, so that they may have
// asked it for something at t. They are never more than candidates: one
// question stands for many commands, and not each is about a command.
func (e *Engine) reviewed(t time.Time) []session.Actor {
	var out []session.Actor
	for _, r := range e.kube.reviews {
		at, err := e.local(r.Received)
		if r.Review == nil || r.Review.AllowedSaid && !r.Review.Allowed || r.Review.Resource != "nodes/proxy" ||
			!e.responsible(strings.TrimPrefix(r.User.Name, "system:node:")) {
			continue
		}
		if at.Add(-err).After(t.Add(e.opt.Window)) || at.Add(err).Before(t.Add(-reviewCache)) {
			continue
		}
		u := r.Review.User
		out = appendIdentity(out, session.Actor{Kind: session.ActorKubernetes, User: u.Name, KubeUID: u.UID, Groups: u.Groups, Extra: u.Extra})
	}
	return out
}
