package correlate

import (
	"cmp"
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

func (s *stream) forget(e *Engine) { e.streams.drop(s) }

func (s *stream) time() time.Time {
	if s.req != nil {
		return s.req.Time
	}
	return s.began.Time
}

// streams are those that are known, each in byID under the id of its request. One
// of which only Docker's event was seen has an id of connection 0, which is none,
// until it turns out to be a request's: then it stays, and makes no session.
type streams struct {
	coverage *coverage
	byID     map[event.RequestID]*stream
}

func newStreams(c *coverage) streams {
	return streams{coverage: c, byID: map[event.RequestID]*stream{}}
}

func (ss *streams) add(s *stream) {
	s.at = s.id
	if s.req == nil {
		for s.at.N = uint32(len(ss.byID)); ss.byID[s.at] != nil; {
			s.at.N++
		}
	}
	ss.byID[s.at] = s
}

func (ss *streams) drop(s *stream) { delete(ss.byID, s.at) }

// eventOf returns the event-only stream that is Docker's account of s: the
// first of its kind in the container after the request, and not already that
// of an earlier request.
func (ss *streams) eventOf(s *stream) *stream {
	return ss.pairing(s.container, s.op)[s]
}

// pairing matches the requests of one kind in one container with Docker's
// events, in order of time.
func (ss *streams) pairing(id event.ContainerID, op event.DockerOp) map[*stream]*stream {
	var asked, told []*stream
	for _, s := range ss.byID {
		switch {
		case s.op != op || s.container != id:
		case s.req != nil && s.req.succeeded() && !ss.toldByGuard(s):
			asked = append(asked, s)
		case s.req == nil:
			told = append(told, s)
		}
	}
	slices.SortFunc(asked, func(a, b *stream) int { return inTurn(a.req, b.req) })
	slices.SortFunc(told, func(a, b *stream) int { return cmp.Or(a.began.Time.Compare(b.began.Time), cmp.Compare(a.at.N, b.at.N)) })
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
func (ss *streams) toldByGuard(s *stream) bool {
	return s.req != nil && ss.coverage.passedOn(s.req) && ss.coverage.guardTells(s.req.Time)
}

func (s *stream) derive(e *Engine, out *session.Session) bool {
	if s.req != nil {
		if id := e.inside.resolve(s.req); id != s.container {
			s.container = id
			e.touchStreams(id) // Docker's event may be about this one after all
		}
	}
	if s.req != nil && (s.req.stopped() || e.streams.toldByGuard(s)) {
		return false
	}
	pair := e.streams.eventOf(s)
	if s.req == nil && pair != nil || s.op == event.OpAttach && e.inside.partOfRun(s) {
		return false
	}
	*out = session.Session{
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
	s.outcome(e, out)
	e.attributeStream(s, out)
	e.coverage.stamp(out)
	out.Evidence = s.evidence(e, pair)
	return true
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
	if c := e.inside.seen(s.container); c != nil {
		for _, ev := range c.events {
			if (ev.Action == event.DockerDetach || ev.Action == event.DockerDie) && ev.Time.After(s.time()) {
				at := ev.Time
				out.State, out.Ended = session.StateEnded, &at
				return
			}
		}
	}
}
