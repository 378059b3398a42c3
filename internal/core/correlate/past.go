package correlate

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
)

// past is what the engine remembers of what it has forgotten.
type past struct {
	retired retired
	late    uint64 // facts about sessions that were closed for good
	// forgotten is the latest moment of which facts were dropped before their
	// time: sessions that were first seen by then may lack some.
	forgotten time.Time
}

func newPast() past { return past{retired: newRetired(retiredMax)} }

// lost notes that sessions that were first seen by t have lost facts.
func (p *past) lost(t time.Time) {
	if t.After(p.forgotten) {
		p.forgotten = t
	}
}

// lacks reports whether what was first seen at t may lack facts.
func (p *past) lacks(t time.Time) bool { return !t.After(p.forgotten) }

// straggles reports, and counts, a session of which a straggling fact is all that
// is left.
func (p *past) straggles(s *session.Session) bool {
	if !p.retired.covers(s) {
		return false
	}
	p.late++
	return true
}

// retired remembers the ids of sessions that are closed for good and until when
// facts came for them, so that a straggling fact does not open one of them
// again with nothing but itself. What began later is no straggler: an exec may
// be started long after its create.
type retired struct {
	until map[session.ID]time.Time
	ring  []session.ID
	next  int
}

const retiredMax = 1 << 15

func newRetired(n int) retired {
	return retired{until: make(map[session.ID]time.Time), ring: make([]session.ID, n)}
}

func (r *retired) add(id session.ID, until time.Time) {
	delete(r.until, r.ring[r.next])
	r.ring[r.next] = id
	r.until[id] = until
	r.next = (r.next + 1) % len(r.ring)
}

// covers reports whether s is of a closed session's time.
func (r *retired) covers(s *session.Session) bool {
	until, ok := r.until[s.ID]
	return ok && !s.Started.After(until)
}
