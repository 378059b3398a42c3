// Package correlate joins observations into sessions.
package correlate

import (
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Engine joins observations into sessions. It is a pure state machine: no
// clock, no I/O, no goroutines. It is not safe for concurrent use.
type Engine struct{}

// Options tunes an Engine; the zero value is the default.
type Options struct{}

// New returns an empty engine.
func New(Options) *Engine { return &Engine{} }

// Observe takes one observation and returns the revisions that are due by now.
func (e *Engine) Observe(o event.Observation) []session.Revision { return nil }

// Flush returns what is still due at the end of the input, as if enough time
// had passed for every window to close.
func (e *Engine) Flush() []session.Revision { return nil }
