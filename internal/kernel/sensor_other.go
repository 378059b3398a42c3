//go:build !(linux && (amd64 || arm64))

package kernel

import (
	"context"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Sensor watches the kernel; on this system it cannot.
type Sensor struct{ opt Options }

// New returns a sensor that is not running.
func New(opt Options) *Sensor { return &Sensor{opt: opt.withDefaults()} }

// Run always fails with an *UnavailableError.
func (*Sensor) Run(context.Context, func(event.Observation)) error {
	return &UnavailableError{Missing: Probe().missing()}
}

// Skip implements what it says on Linux.
func (*Sensor) Skip(uint32) {}

// SetPorts does nothing here.
func (*Sensor) SetPorts([]Port) {}

// Status implements what it says on Linux.
func (s *Sensor) Status() Status { return Status{Mode: s.opt.Requests, Reason: "needs Linux"} }

// Probe reports that there is nothing to use.
func Probe() Features {
	return Features{{
		Name: FeatureTracepoints, What: "processes and entries", Needed: true, Err: errNotLinux,
		Hint: "Run Sallyport on the Linux host that runs the containers.",
	}}
}
