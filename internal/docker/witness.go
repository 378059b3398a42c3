package docker

import (
	"context"
	"log/slog"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Options configures a Witness.
type Options struct {
	// Address is the daemon's address: unix:///path, tcp://host:port. Empty
	// takes DOCKER_HOST and its companions from the environment, else the
	// client library's default.
	Address string
	// Logger receives what concerns the operator; nil discards it.
	Logger *slog.Logger
}

// Witness follows one Docker daemon.
type Witness struct {
	opts Options
}

// New returns a witness; it does no I/O.
func New(o Options) *Witness { return &Witness{opts: o} }

// Run follows the daemon until ctx ends and returns ctx's error, or the error
// of an address that cannot be used. A daemon that is absent, hung or restarted
// is not an error: it is reported as event.WitnessState. emit is called by one
// goroutine at a time.
func (w *Witness) Run(ctx context.Context, emit func(event.Observation)) error {
	<-ctx.Done()
	return ctx.Err()
}
