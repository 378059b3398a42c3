package correlate

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

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
func (ss *streams) toldByGuard(s *stream) bool {
	return s.req != nil && ss.coverage.passedOn(s.req) && ss.coverage.guardTells(s.req.Time)
}
