// Package containerd is the witness of containerd's event stream: it reports
// tasks and execs with the host pid of each process, and, after every
// (re)connect, what runs already. It is also the way to find the containerd
// that a Docker daemon runs for itself.
//
// containerd's events carry no argv and no caller; what they give is the tie
// between a runtime's exec id (under Docker: Docker's execID) and a host pid.
package containerd

import (
	"context"
	"errors"
	"log/slog"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Options tunes a Witness.
type Options struct {
	// Address is the path of containerd's socket.
	Address string
	// Namespaces to list tasks of; default moby, k8s.io, default. Events come
	// from all namespaces.
	Namespaces []string
	// Logger; nil is silent.
	Logger *slog.Logger
}

// Witness reports what one containerd says.
type Witness struct{ opts Options }

// New returns a witness; it does no I/O.
func New(opts Options) *Witness { return &Witness{opts} }

// Run reports observations to emit, from one goroutine, until ctx ends. It
// reconnects for ever and states every gap as event.WitnessState.
func (w *Witness) Run(ctx context.Context, emit func(event.Observation)) error {
	return errors.New("run containerd witness: not built yet")
}

// Usual returns the paths where containerd's socket usually is.
func Usual() []string {
	return []string{"/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock"}
}

// Find returns the socket of the containerd that the Docker daemon behind
// dockerSocket uses.
func Find(dockerSocket string) (address string, err error) {
	return "", errors.New("find containerd: not built yet")
}
