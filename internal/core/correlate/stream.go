package correlate

import (
	"slices"
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
	for id, o := range e.streams {
		if o == s {
			delete(e.streams, id)
		}
	}
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
	// Connection 0 is no connection: such ids name streams by their event.
	id := event.RequestID{N: uint32(len(e.streams))}
	for e.streams[id] != nil {
		id.N++
	}
	s := &stream{op: op, container: o.Container, began: &o}
	e.streams[id] = s
	e.touch(s, true)
	e.touchStreams(o.Container)
}

func (e *Engine) applyStreamRequest(r *request) {
	if r.Op != event.OpAttach && r.Op != event.OpCopyIn && r.Op != event.OpCopyOut || !r.asked || !r.Certain {
		return
	}
	s := e.streams[r.ID]
	if s == nil {
		s = &stream{id: r.ID, op: r.Op, req: r}
		e.streams[r.ID] = s
	}
	s.container = e.inside.resolve(r)
	e.touch(s, true)
	e.touchStreams(s.container)
}

func (e *Engine) touchStreams(id event.ContainerID) {
	for _, s := range e.streams {
		if s.container == id || s.container == "" {
			e.touch(s, true)
		}
	}
}

// eventOf returns the event-only stream that is Docker's account of s: the
// first of its kind in the container after the request, and not already that
// of an earlier request.
func (e *Engine) eventOf(s *stream) *stream {
	return e.pairing(s.container, s.op)[s]
}

// pairing matches the requests of one kind in one container with Docker's
// events, in order of time.
func (e *Engine) pairing(id event.ContainerID, op event.DockerOp) map[*stream]*stream {
	var asked, told []*stream
	for _, s := range e.streams {
		switch {
		case s.op != op || s.container != id:
		case s.req != nil && s.req.succeeded() && !e.toldByGuard(s):
			asked = append(asked, s)
		case s.req == nil:
			told = append(told, s)
		}
	}
	slices.SortFunc(asked, func(a, b *stream) int { return a.req.Time.Compare(b.req.Time) })
	slices.SortFunc(told, func(a, b *stream) int { return a.began.Time.Compare(b.began.Time) })
	pairs := map[*stream]*stream{}
	for _, a := range asked {
		for i, t := range told {
			if d := t.began.Time.Sub(a.req.Time); d > -skew && d < 5*time.Second {
				pairs[a], pairs[t] = t, a
				told = slices.Delete(told, i, i+1)
				break
			}
		}
	}
	return pairs
}

// toldByGuard reports whether s is a guard's own request, of which it told as its
// client's.
func (e *Engine) toldByGuard(s *stream) bool {
	return s.req != nil && e.coverage.passedOn(s.req) && e.coverage.guardTells(s.req.Time)
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
	if s.req != nil && (s.req.stopped() || e.toldByGuard(s)) {
		return session.Session{}, false
	}
	pair := e.eventOf(s)
	if s.req == nil && pair != nil || s.op == event.OpAttach && e.partOfRun(s) {
		return session.Session{}, false
	}
	out := session.Session{
		ID:   sessionID("stream", string(s.container), string(s.op), s.key(), strconv.FormatInt(s.time().UnixNano(), 10)),
		Kind: session.KindAttach, Channel: event.ChannelDockerAttach, State: session.StateRunning,
		Target: e.target(s.container), Started: s.time(),
	}
	if s.op == event.OpAttach {
		out.Stdin = e.input(s)
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

// input says whether what the client of an attach types reaches anybody: it asked
// for that, and the container's first process has a standard input.
func (e *Engine) input(s *stream) *bool {
	if c := e.inside.container(s.container); c != nil && c.info != nil && c.info.Stdin != nil && !*c.info.Stdin {
		return c.info.Stdin
	}
	if s.req != nil {
		return &s.req.Stdin
	}
	return nil
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

// partOfRun reports whether an attach is the streams of a docker run: it came
// between the container's create and its start.
func (e *Engine) partOfRun(s *stream) bool {
	c := e.inside.container(s.container)
	if c == nil {
		return false
	}
	for _, r := range e.inside.runsIn(s.container) {
		b := e.inside.begins(r)
		if wait := b.Sub(s.time()); wait > -skew && wait < time.Minute && e.inside.first(r, b) {
			return true
		}
	}
	return false
}
