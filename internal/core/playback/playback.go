// Package playback plays kept observations to a correlation engine.
//
// A live engine hears of the passing of time by ticks between observations;
// those are not kept. Player puts them back, at exactly the moments when they
// make a difference, so that the same observations give the same sessions on
// every run and on every machine. It is pure.
package playback

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Engine is what a Player drives.
type Engine interface {
	Observe(event.Observation) []session.Revision
	Flush() []session.Revision
	// NodeDue returns when, by the clock of a node ("" for the host itself), the
	// passing of time alone may next bring revisions; false when it brings none.
	NodeDue(node string) (time.Time, bool)
}

// Player plays to one engine. It is not safe for concurrent use.
type Player struct {
	engine Engine
}

// New returns a player of an engine that nothing else drives.
func New(e Engine) *Player { return &Player{engine: e} }

// Observe lets time pass up to o and then gives o to the engine.
func (p *Player) Observe(o event.Observation) []session.Revision {
	out := p.until(o.Head().Node, o.Head().Time)
	return append(out, p.engine.Observe(o)...)
}

// until lets time pass up to t, exclusive, on one node: each has a clock of its own.
func (p *Player) until(node string, t time.Time) []session.Revision {
	var out []session.Revision
	for due, ok := p.engine.NodeDue(node); ok && due.Before(t); {
		tick := event.Tick{Header: event.Header{Time: due, Witness: event.WitnessEngine, Node: node}}
		out = append(out, p.engine.Observe(tick)...)
		next, more := p.engine.NodeDue(node)
		ok = more && next.After(due) // an engine that does not move on is not asked for ever
		due = next
	}
	return out
}

// Flush ends the input and returns what is still due.
func (p *Player) Flush() []session.Revision { return p.engine.Flush() }
