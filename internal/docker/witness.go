package docker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

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

// Stats counts what a Witness heard and what it had to give up.
type Stats struct {
	Events          uint64 // events of containers reported
	Duplicates      uint64 // events heard twice after a reconnect
	LostEvents      uint64 // events that found no room here
	Inspects        uint64 // answers to inspects reported
	DroppedInspects uint64 // inspects that found no room
	FailedInspects  uint64 // inspects without an answer
	Connects        uint64 // event streams opened
	Gaps            uint64 // of these, those that could not resume without loss
}

// Witness follows one Docker daemon.
type Witness struct {
	opts  Options
	times times
	stats struct {
		events, duplicates, lost, inspects, dropped, failed, connects, gaps atomic.Uint64
	}
}

// times are the waits of a witness; tests shorten them.
type times struct {
	ping     time.Duration // between pings, and the wait for each
	backoff  time.Duration // before the second try to connect; doubles
	backoffs time.Duration // the longest
	resume   time.Duration // for a daemon that remembers nothing to say something
}

// New returns a witness; it does no I/O.
func New(o Options) *Witness {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Witness{opts: o, times: times{
		ping: 5 * time.Second, backoff: 100 * time.Millisecond, backoffs: 5 * time.Second, resume: 2 * time.Second,
	}}
}

// Run follows the daemon until ctx ends and returns ctx's error, or the error
// of an address that cannot be used. A daemon that is absent, hung or restarted
// is not an error: it is reported as event.WitnessState. emit is called by one
// goroutine.
func (w *Witness) Run(ctx context.Context, emit func(event.Observation)) error {
	d, err := dial(w.opts.Address)
	if err != nil {
		return err
	}
	defer d.close()
	g, ctx := errgroup.WithContext(ctx)
	f := newFollower(w, d, emit)
	g.Go(func() error { return f.inspector.run(ctx) })
	g.Go(func() error { return watchdog(ctx, d, w.times.ping, f.pings) })
	g.Go(func() error { return f.run(ctx) })
	return g.Wait()
}

// Stats returns the counts so far; it may be called at any time.
func (w *Witness) Stats() Stats {
	s := &w.stats
	return Stats{
		Events: s.events.Load(), Duplicates: s.duplicates.Load(), LostEvents: s.lost.Load(),
		Inspects: s.inspects.Load(), DroppedInspects: s.dropped.Load(), FailedInspects: s.failed.Load(),
		Connects: s.connects.Load(), Gaps: s.gaps.Load(),
	}
}

// watchdog pings the daemon beside the event stream, which is silent when
// nothing happens and when the daemon hangs alike.
func watchdog(ctx context.Context, d *daemon, every time.Duration, result chan<- error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := d.ping(ctx, every)
		select {
		case result <- err:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
