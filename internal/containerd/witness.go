// Package containerd is the witness of containerd's event stream: it reports
// tasks and execs with the host pid of each process, after every connect what
// runs already, and what each container is: under CRI its pod, namespace, uid
// and name, which needs no API server. It is also the way to find the
// containerd that a Docker daemon runs for itself.
//
// containerd's events carry no argv and no caller; what they give is the tie
// between a runtime's exec id (under Docker: Docker's execID) and a host pid.
//
// Limits: containerd keeps no history. What happens while the witness is not
// connected is lost, and stated as a gap. Nothing here changes anything in
// containerd; on every connect the witness publishes one event, of topic
// "/sallyport/hello", to learn that its subscription is live. CRI-O has no such
// interface: the witness CRIO asks it what its containers are, and nothing ties an
// exec to a process.
package containerd

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Bounds on waiting for containerd. A call that takes longer than callTimeout
// counts as a dead connection; heartbeats are calls too, so a containerd that
// hangs is noticed after heartbeat + callTimeout at most.
const (
	callTimeout  = 5 * time.Second
	heartbeat    = 5 * time.Second
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// Options tunes a Witness.
type Options struct {
	// Address is the path of containerd's socket.
	Address string
	// Namespaces whose running tasks are listed after a connect. Empty: all
	// that containerd names. Events come from all namespaces anyway.
	Namespaces []string
	// Logger; nil is silent.
	Logger *slog.Logger
}

// Witness reports what one containerd says.
type Witness struct {
	opts  Options
	stats struct{ events, ignored, bad, tasks, containers, unanswered, connects atomic.Uint64 }
}

// Stats counts what a Witness has done since New.
type Stats struct {
	Events  uint64 // reported as event.RuntimeEvent
	Ignored uint64 // of a kind that concerns no command
	Bad     uint64 // not understood; each also reported as event.Loss
	Tasks   uint64 // reported as event.RuntimeTask
	// Containers were reported as event.RuntimeContainer; about Unanswered
	// there was no answer.
	Containers, Unanswered uint64
	Connects               uint64 // connections that worked
}

// New returns a witness; it does no I/O.
func New(opts Options) *Witness {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Witness{opts: opts}
}

// Stats may be called at any time.
func (w *Witness) Stats() Stats {
	return Stats{
		Events:   w.stats.events.Load(),
		Ignored:  w.stats.ignored.Load(),
		Bad:      w.stats.bad.Load(),
		Tasks:    w.stats.tasks.Load(),
		Connects: w.stats.connects.Load(),

		Containers: w.stats.containers.Load(), Unanswered: w.stats.unanswered.Load(),
	}
}

// Run reports observations until ctx ends, and then returns nil. Calls of emit
// never overlap.
//
// Every connection has a WitnessState that is up: its From is the moment from
// which on no event is missed. Events come as they happen and, among them, one RuntimeTask for each container's first process and each
// exec that was running; a task's Time is just before containerd was asked, so
// that an event about the same process never lies before it. Each container
// that has a task or is made while the witness is connected is described by one
// RuntimeContainer, soon after it is first heard of. A connection's
// end is a WitnessState that is down, whose Time is when containerd was last
// heard: between it and the next From is a gap. It is repeated, with the same
// Time, when the reason changes, and not at every attempt; attempts never end.
func (w *Witness) Run(ctx context.Context, emit func(event.Observation)) error {
	backoff, reason, blind := firstBackoff, "", time.Now()
	for {
		up, heard, err := w.connection(ctx, emit)
		if ctx.Err() != nil {
			return nil
		}
		if up {
			backoff, reason, blind = firstBackoff, "", heard
		}
		if err.Error() != reason {
			reason = err.Error()
			w.opts.Logger.Warn("containerd is not heard", "address", w.opts.Address, "error", err)
			emit(event.WitnessState{Header: header(blind), Reason: reason})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

func header(t time.Time) event.Header {
	return event.Header{Time: t.UTC(), Witness: event.WitnessContainerd}
}
