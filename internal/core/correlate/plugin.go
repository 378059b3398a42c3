package correlate

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// The daemon's authorization plugin tells of requests that clients sent to the daemon
// itself, so that the kernel may have seen the same ones come. What the daemon let it
// know of who asks is a certificate or nothing.

// forbidden is how the daemon answers what its plugin does not allow.
const forbidden = 403

// nameless reports whether r is the plugin's word on a request of which it does not
// know who sent it: then it says what was decided, and somebody else who asked.
func (r *request) nameless() bool { return r.Plugin && r.Peer.Certificate == nil }

// fits reports whether r, which a client was seen sending, may be the request that
// the plugin told of as q, and stopped: the daemon asks about a request between its
// coming and its answer.
func (q *request) fits(r *request) bool {
	return r.asked && !r.Plugin && r.Op == q.Op && r.ExecID == q.ExecID &&
		(r.Argv == nil || q.Argv == nil || slices.Equal(r.Argv, q.Argv)) &&
		between(q.decision.Time, r.Time, answeredAt(r)) && (r.answer == nil || r.answer.Status == forbidden)
}

// answeredAt is when a request was answered; zero when that was not seen.
func answeredAt(r *request) time.Time {
	if r.answer == nil {
		return time.Time{}
	}
	return r.answer.Time
}

// twin returns the other account of a request that the plugin stopped: of what the
// plugin told, what a client was seen sending, and the other way round. There is one
// only where nothing else fits either of them.
func (d *doors) twin(r *request) *request {
	if r.Plugin && !r.stopped() || !r.Plugin && (r.answer == nil || r.answer.Status != forbidden) {
		return nil
	}
	other := d.onlyOne(r)
	if other == nil || d.onlyOne(other) != r {
		return nil
	}
	return other
}

// onlyOne returns the one other account that fits r; nil for none or several.
func (d *doors) onlyOne(r *request) (other *request) {
	for _, o := range d.requests.byID {
		told, seen := o, r
		if r.Plugin {
			told, seen = r, o
		}
		if !told.Plugin || !told.asked || !told.stopped() || !told.fits(seen) {
			continue
		}
		if other != nil {
			return nil
		}
		other = o
	}
	return other
}

// attributeRefused finds who asked for what the plugin stopped without knowing: one
// of those who had a connection to the daemon, but for those whose requests were all
// seen while none of them is this one.
func (e *Engine) attributeRefused(q *request, s *session.Session) {
	fitting := e.doors.fitting(q)
	clients, complete := e.actors.candidates(q.Time, event.ServiceDocker, func(c *conn) bool {
		return q.Op != event.OpOther && e.doors.heard(c, q.decision.Time) &&
			!slices.ContainsFunc(fitting, func(r *request) bool { return r.ID.Conn == c.id })
	})
	oneOf(s, clients, complete)
}

// fitting returns the requests that clients were seen sending and that may be q.
func (d *doors) fitting(q *request) (all []*request) {
	for _, r := range d.requests.byID {
		if q.fits(r) {
			all = append(all, r)
		}
	}
	return all
}

// touchRefused looks again at what the plugin stopped and may have come as r.
func (e *Engine) touchRefused(r *request) {
	for _, q := range e.doors.requests.byID {
		if q.Plugin && q.refused != nil && q.asked && q.fits(r) {
			e.touch(q.refused, true)
		}
	}
}
