package correlate

import (
	"cmp"
	"strconv"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// A guard stands between clients and a service, so that of each request there are
// two: the client's, of which the guard tells, and the guard's own, which the
// kernel sees. Only the first has somebody behind it.

const gapGuard = "it came through a guard, which has not told who asked"

const gapHeld = "the guard that held it has not told what became of it"

// refusal is a request that a guard stopped, or holds: a session of which nothing ran.
type refusal struct {
	st        state
	req       *request
	container event.ContainerID
}

func (r *refusal) state() *state { return &r.st }

func (r *refusal) key() string {
	return strconv.FormatUint(uint64(r.req.ID.Conn), 10) + "/" + strconv.FormatUint(uint64(r.req.ID.N), 10)
}

func (r *refusal) forget(*Engine) { r.req.refused = nil }

// stopped reports whether a guard kept the request from the service, or keeps it
// as yet.
func (r *request) stopped() bool {
	return r.decision != nil && (r.decision.Stopped || r.decision.Waiting)
}

// setOff names the session of what a request set off, once that is known.
func (e *Engine) setOff(r *request) session.ID {
	switch r.Op {
	case event.OpExecCreate, event.OpExecStart:
		id := r.ExecID
		if r.answer != nil && r.answer.Created != "" {
			id = event.ExecID(r.answer.Created)
		}
		if list := e.inside.execs.byID[id]; len(list) > 0 {
			return e.inside.execs.sessionID(list[0])
		}
	case event.OpContainerCreate, event.OpContainerStart:
		if u := e.inside.firstSince(r.decision.Time, func(id event.ContainerID) bool { return e.inside.refersTo(r, id) }); u != nil {
			return u.sessionID()
		}
	case event.OpAttach, event.OpCopyIn, event.OpCopyOut:
		if t := e.doors.twin(r); t != nil {
			r = t
		}
		if s := e.streams.byID[r.ID]; s != nil && s.st.published != nil {
			return s.st.published.ID
		}
	case event.OpOther:
	}
	return ""
}

func (r *refusal) derive(e *Engine, s *session.Session) bool {
	q := r.req
	if t := e.doors.twin(q); t != nil && e.streams.byID[t.ID] != nil {
		return false // it is that stream's session
	}
	// What a second person approved is another session, as soon as anything of it shows.
	if !q.asked || !q.stopped() && (e.setOff(q) != "" || e.settled(q.decision.Time)) {
		return false
	}
	r.container = e.inside.resolve(q)
	*s = session.Session{
		ID:   sessionID("refused", r.key(), strconv.FormatInt(q.Time.UnixNano(), 10)),
		Kind: session.Kind(q.decision.Kind), Channel: q.decision.Channel, State: session.StateFailed, Started: q.Time, Ended: &q.decision.Time,
		Target: e.target(r.container), ExecID: q.ExecID, Path: string(q.Path), User: q.User, Privileged: q.Privileged, TTY: q.TTY,
	}
	if r.container == "" {
		s.Target.ContainerName = q.Ref
	}
	s.Target.HostAccess = cmp.Or(s.Target.HostAccess, q.HostAccess)
	if s.Argv = e.doors.argvAsked(q); s.Argv != nil {
		s.ArgvSource = "request"
	}
	switch q.Op {
	case event.OpExecCreate, event.OpAttach:
		s.Stdin = &q.Stdin
	case event.OpCopyIn:
		s.Direction = "in"
	case event.OpCopyOut:
		s.Direction = "out"
	default:
	}
	switch a := e.actors.of(q); {
	case q.nameless():
		e.attributeRefused(q, s)
	case a.Kind != session.ActorNone || a.Address != "":
		known(s, session.LevelExact, a, viaRequest)
	default:
		none(s)
	}
	s.Decision = decisionOf(q)
	if !q.decision.Stopped {
		s.State, s.Ended = session.StateWaiting, nil
		if q.decision.Waiting && !e.coverage.guardHeard(q.decision.Time) {
			s.State, s.Gaps = session.StateUnknown, []string{gapHeld}
		}
	}
	e.coverage.stamp(s)
	var a account
	a.request(q)
	if q.nameless() {
		for _, r := range e.doors.fitting(q) {
			a.request(r)
		}
	}
	s.Evidence = a.sorted()
	return true
}

// decisionOf returns what a guard decided about the last of these requests that it
// decided about; nil when none did.
func decisionOf(requests ...*request) *session.Decision {
	var last *event.Decision
	for _, q := range requests {
		if d := q.decision; d != nil && (last == nil || d.Time.After(last.Time)) {
			last = d
		}
	}
	return asDecided(last)
}

func asDecided(d *event.Decision) *session.Decision {
	if d == nil {
		return nil
	}
	return &session.Decision{Effect: d.Effect, Rule: d.Rule, Message: d.Message, Approver: d.Approver, Stopped: d.Stopped}
}
