package correlate

import (
	"fmt"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

const viaGate = "socket-gate" // the kernel saw the process as it connected

// rebuff is a process that the socket gate kept from a runtime's socket: a session
// of which nothing ran. However often the process tried, it is one.
type rebuff struct {
	st          state
	key         rebuffKey
	first, last event.GateSighting
	tries       int
}

type rebuffKey struct {
	process event.ProcessID
	socket  event.Text
}

// rebuffs are those that are known, each under its key.
type rebuffs map[rebuffKey]*rebuff

// add notes a try.
func (rs rebuffs) add(o *event.GateSighting) *rebuff {
	k := rebuffKey{o.Peer.ID, o.Socket}
	r := rs[k]
	if r == nil {
		r = &rebuff{key: k, first: *o, last: *o}
		rs[k] = r
	}
	if o.Time.Before(r.first.Time) {
		r.first = *o
	}
	if !o.Time.Before(r.last.Time) {
		r.last = *o
	}
	r.tries++
	return r
}

func (r *rebuff) state() *state { return &r.st }

func (r *rebuff) forget(e *Engine) { delete(e.doors.rebuffs, r.key) }

func (r *rebuff) derive(e *Engine, s *session.Session) bool {
	ended := r.last.Time
	*s = session.Session{
		ID:   sessionID("gate", string(e.site.boot), r.key.process.String(), string(r.key.socket)),
		Kind: session.KindRequest, Channel: event.ChannelUnknown, State: session.StateFailed, Started: r.first.Time, Ended: &ended,
		Path: string(r.key.socket),
		Decision: &session.Decision{
			Effect: effect.Deny, Stopped: true,
			Message: fmt.Sprintf("the socket gate lets nobody connect to %s but whom it names", r.key.socket),
		},
	}
	known(s, session.LevelExact, e.actors.peer(r.first.Peer), viaGate)
	e.coverage.stamp(s)
	var a account
	a.gate(&r.first)
	if r.tries > 1 {
		a.gate(&r.last)
	}
	s.Evidence = a.sorted()
	return true
}

func (a *account) gate(o *event.GateSighting) {
	where := ""
	if o.Asked != "" && o.Asked != o.Socket {
		where = " as " + quote(string(o.Asked))
	}
	a.add(*o, string(o.Verdict), "connect to %s%s by %s", quote(string(o.Socket)), where, describe(o.Peer))
}
