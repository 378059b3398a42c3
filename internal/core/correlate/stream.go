package correlate

import (
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// stream is an attach or a copy: a request that joins streams to a container
// and starts no process. It is known by its request, by Docker's event, or by
// both.
type stream struct {
	st        state
	at        event.RequestID // in streams
	id        event.RequestID // zero when only the event was seen
	op        event.DockerOp
	container event.ContainerID
	req       *request
	began     *event.DockerEvent // attach, extract-to-dir, archive-path
}

func (s *stream) state() *state { return &s.st }

func (s *stream) key() string {
	if s.began != nil && s.req == nil {
		return string(s.container) + " " + string(s.op) + " " + strconv.FormatInt(s.began.Time.UnixNano(), 10)
	}
	return strconv.FormatUint(uint64(s.id.Conn), 10) + "/" + strconv.FormatUint(uint64(s.id.N), 10)
}

func (s *stream) forget(e *Engine) {
	e.streams.drop(s)
}

var streamOps = map[event.DockerAction]event.DockerOp{
	event.DockerAttach:  event.OpAttach,
	event.DockerCopyIn:  event.OpCopyIn,
	event.DockerCopyOut: event.OpCopyOut,
}

// applyStreamEvent keeps Docker's event as a stream of its own; derive leaves
// it to the request that accounts for it.
func (e *Engine) applyStreamEvent(o event.DockerEvent) {
	op, ok := streamOps[o.Action]
	if !ok {
		return // detach ends a stream: see ended
	}
	s := &stream{op: op, container: o.Container, began: &o}
	e.streams.add(s)
	e.touch(s, true)
	e.touchStreams(o.Container)
}

func (e *Engine) applyStreamRequest(r *request) {
	if r.Op != event.OpAttach && r.Op != event.OpCopyIn && r.Op != event.OpCopyOut || !r.asked || !r.Certain {
		return
	}
	s := e.streams.byID[r.ID]
	if s == nil {
		s = &stream{id: r.ID, op: r.Op, req: r}
		e.streams.add(s)
	}
	s.container = e.inside.resolve(r)
	e.touch(s, true)
	e.touchStreams(s.container)
}

func (s *stream) time() time.Time {
	if s.req != nil {
		return s.req.Time
	}
	return s.began.Time
}

func (s *stream) derive(e *Engine) (session.Session, bool) {
	if s.req != nil {
		s.container = e.inside.resolve(s.req)
	}
	if s.req != nil && (s.req.stopped() || e.streams.toldByGuard(s)) {
		return session.Session{}, false
	}
	pair := e.streams.eventOf(s)
	if s.req == nil && pair != nil || s.op == event.OpAttach && e.inside.partOfRun(s) {
		return session.Session{}, false
	}
	out := session.Session{
		ID:   sessionID("stream", string(s.container), string(s.op), s.key(), strconv.FormatInt(s.time().UnixNano(), 10)),
		Kind: session.KindAttach, Channel: event.ChannelDockerAttach, State: session.StateRunning,
		Target: e.target(s.container), Started: s.time(),
	}
	if s.op == event.OpAttach {
		out.Stdin = e.inside.input(s)
	} else {
		out.Kind, out.Channel, out.Direction = session.KindCopy, event.ChannelDockerArchive, "in"
		if s.op == event.OpCopyOut {
			out.Direction = "out"
		}
		if s.req != nil {
			out.Path = string(s.req.Path)
		}
	}
	s.outcome(e, &out)
	e.attributeStream(s, &out)
	e.coverage.stamp(&out)
	out.Evidence = s.evidence(e, pair)
	return out, true
}

func (s *stream) outcome(e *Engine, out *session.Session) {
	if s.req != nil && !s.req.succeeded() {
		out.State, out.Ended = session.StateFailed, &s.req.answer.Time
		return
	}
	if s.op != event.OpAttach {
		at := s.time()
		if s.req != nil && s.req.answer != nil {
			at = s.req.answer.Time
		}
		out.State, out.Ended = session.StateEnded, &at
		return
	}
	if s.req != nil {
		if c := e.doors.conns.byID[s.id.Conn]; c != nil && !c.closed().IsZero() {
			at := c.closed()
			out.State, out.Ended = session.StateEnded, &at
			return
		}
	}
	if c := e.inside.container(s.container); c != nil {
		for _, ev := range c.events {
			if (ev.Action == event.DockerDetach || ev.Action == event.DockerDie) && ev.Time.After(s.time()) {
				at := ev.Time
				out.State, out.Ended = session.StateEnded, &at
				return
			}
		}
	}
}
