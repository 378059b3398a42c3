package correlate

import (
	"cmp"
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// attributeArrival finds who asked the API server, the kubelet or the runtime
// for a command in a pod, and by which way.
func (e *Engine) attributeArrival(a arrival, s *session.Session) {
	s.Kind, s.Channel = session.KindExec, event.ChannelUnknown
	none(s)
	s.Stdin = e.cri.input(a)
	if e.attributeCRI(a, s) {
		return
	}
	w := e.choices.of(a)
	e.kube.awaitAudit(a.subject(), a.began(), w.settled)
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
		actors = appendIdentity(actors, e.kube.actor(o))
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
	case !c.identified() && e.kube.auditSettled(a.began()):
		s.Gaps = append(s.Gaps, gapReceived)
		return
	case !w.settled:
		s.Gaps = append(s.Gaps, gapPending)
		return
	case w.admitted && len(w.calls) == 1:
		known(s, session.LevelExact, actors[0], viaAdmission)
	default:
		known(s, session.LevelStrong, actors[0], viaWindow)
	}
	if len(w.calls) == 1 {
		if k := c.ask(); k.argv != nil || !k.unsaid {
			s.Argv, s.ArgvSource, s.TTY = k.argv, k.argvSource(), k.tty
			s.Stdin = cmp.Or(k.input(), s.Stdin)
		}
		if f := c.fact(); f != nil {
			s.AuditID, s.Verb = f.ID, f.Verb
		}
	}
	if dir, path, ok := copied(s.Argv); ok && s.Kind == session.KindExec {
		s.Kind, s.Channel, s.Direction, s.Path = session.KindCopy, event.ChannelKubeCopy, dir, path
	}
}

const (
	gapPending  = "who asked is not known yet: the API server's audit log comes late"
	gapReceived = "the API server's audit log told only that the request was received, which hides impersonation"
	gapExport   = "the API server's audit log is an export and may lack who asked"
)

// byNode attributes a to the kubelet itself, to somebody who talks to the
// kubelet directly, or to a client of the runtime's socket.
func (e *Engine) byNode(a arrival, w choice, s *session.Session) {
	hook := e.choices.hookOf(a)
	candidates := e.otherwise(a)
	if hook != nil && w.settled && e.choices.routine(a, hook, len(candidates) == 1) {
		s.Kind, s.Channel = session.KindProbe, event.ChannelKubeProbe
		if hook.Period == 0 {
			s.Kind, s.Channel = session.KindHook, event.ChannelKubeHook
		}
		if e.cri.manner(a) == byProbe || e.coverage.nodeDoorsWatched(a.began()) {
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
	if e.doors.atKubelet(a.began()) != nil {
		s.Channel = event.ChannelKubeletExec
		if e.cri.manner(a) == byRun {
			s.Channel = event.ChannelKubeletRun
		}
	}
	switch {
	case !e.coverage.any(event.WitnessAudit) && !e.coverage.any(event.WitnessAdmission):
		s.Gaps = append(s.Gaps, "no witness of the API server: who asked there is not known")
	case e.coverage.partial(event.WitnessAudit, a.began()):
		s.Gaps = append(s.Gaps, gapExport)
	case !w.settled:
		s.Gaps = append(s.Gaps, gapPending)
	case e.choices.mayBeHook(a):
		candidates = append(candidates, kubeletItself, session.Actor{Kind: session.ActorNone})
		s.Attribution = session.Attribution{Level: session.LevelSet, Via: []string{viaSpec}, Candidates: candidates}
		s.Gaps = append(s.Gaps, "nobody saw what ran, and the kubelet runs probes or hooks in this container: this may be one of them")
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
	if e.choices.hookOf(a) != nil {
		out = append(out, kubeletItself)
	}
	at := e.doors.atKubelet(t)
	if m := e.cri.manner(a); m&(byStream|byRun) != 0 && (len(at) > 0 || !e.coverage.portWatched(t)) {
		for _, r := range e.kube.reviewed(t) {
			out = appendIdentity(out, r)
		}
		for _, c := range at {
			out = appendActor(out, e.actors.peer(c.peer))
		}
	}
	for _, c := range e.cri.atRuntime(a) {
		out = appendActor(out, e.actors.peer(c.peer))
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

// attributeCRI names the client of the runtime's socket that asked for a, when
// nobody else can have: not one whose requests were not seen, and not the
// kubelet, which asks for others.
func (e *Engine) attributeCRI(a arrival, s *session.Session) bool {
	asked, alone := e.cri.asked(a)
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

// criClients lists who asked for what can be a, when somebody besides the kubelet
// did: then the kubelet is one among others. Clients whose requests were not
// seen are atRuntime's.
func (e *Engine) criClients(a arrival) []session.Actor {
	var out []session.Actor
	asked, alone := e.cri.asked(a)
	for _, o := range asked {
		if !e.coverage.isKubelet(o.Peer) {
			out = appendActor(out, e.actors.asker(o))
		}
	}
	if len(out) > 0 && (alone || slices.ContainsFunc(asked, func(o *event.RuntimeRequest) bool { return e.coverage.isKubelet(o.Peer) })) {
		out = append(out, kubeletItself)
	}
	return out
}
