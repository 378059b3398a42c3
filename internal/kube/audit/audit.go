// Package audit is the witness of the API server's audit: who asked for what,
// by the log file that the API server writes, by the webhook that it calls, or
// both. What it reports never says which process ran.
//
// Events that concern no command are passed over without decoding them whole
// (Parse). Lines that are no events (damaged, cut short, compressed, longer than
// LineMax) are counted, quoted in the log at most once in ten seconds, reported
// as event.Loss and skipped.
//
// Limits: the API server writes what its audit policy says (MinimalPolicy is the
// one to give it) and no more; it drops events of the webhook when its buffer is
// full or four retries have failed, and only counts them. A canary shows whether
// the feed is alive, and DropsOptions asks for that count. Audit ids, addresses
// other than the last, user agents and the order of parameters are the client's
// choice; an event that comes twice is reported twice.
package audit

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Options configures a Witness: a log file, a webhook, or both.
type Options struct {
	Log     *LogOptions
	Webhook *WebhookOptions
	Canary  *CanaryOptions // nil: a silent feed goes unnoticed
	Drops   *DropsOptions  // nil: what the API server drops goes unnoticed
	// Logger receives what concerns the operator; nil discards it.
	Logger *slog.Logger
}

// Stats counts what a Witness has read since New.
type Stats struct {
	Events    uint64 // audit events of any kind
	Relevant  uint64 // of these, those that were reported
	Bytes     uint64
	Malformed uint64 // lines and items that are no audit event
	Oversized uint64 // lines beyond LineMax that may have been relevant
	Posts     uint64 // requests of the webhook that were accepted
	Refused   uint64 // requests of the webhook that were not
	Rotations uint64 // times that the log file changed under its name
	Gaps      uint64 // times that something may be missing
	Canaries  uint64 // canaries that came back
	Dropped   uint64 // events that the API server says it has dropped
}

// Witness reads the audit events of one API server.
type Witness struct {
	opts  Options
	times times
	// follower keeps its place when it is run again.
	follower *follower
	stats    struct {
		events, relevant, bytes, malformed, oversized, posts, refused, rotations, gaps, canaries, dropped atomic.Uint64
	}
}

// times are the waits of a witness; tests shorten them.
type times struct {
	poll     time.Duration // between looks at the log file
	progress time.Duration // between reports of progress and between bookmarks
	lag      time.Duration // how old a bookmark is kept: what is newer may not be stored yet
	retry    time.Duration // before a feed that failed is tried again
}

// New returns a witness; it does no I/O.
func New(o Options) *Witness {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Witness{opts: o, times: times{
		poll: 100 * time.Millisecond, progress: time.Second, lag: 5 * time.Second, retry: 2 * time.Second,
	}}
	if o.Log != nil {
		w.follower = &follower{Witness: w, opts: *o.Log}
	}
	return w
}

// Stats returns the counts so far; it may be called at any time.
func (w *Witness) Stats() Stats {
	s := &w.stats
	return Stats{
		Events: s.events.Load(), Relevant: s.relevant.Load(), Bytes: s.bytes.Load(), Malformed: s.malformed.Load(),
		Oversized: s.oversized.Load(), Posts: s.posts.Load(), Refused: s.refused.Load(), Rotations: s.rotations.Load(),
		Gaps: s.gaps.Load(), Canaries: s.canaries.Load(), Dropped: s.dropped.Load(),
	}
}

// Run reports observations until ctx ends, and then returns ctx's error.
// A file that is absent, an address that is taken, a feed that falls silent are
// no errors: they are reported as event.WitnessState. Calls of emit never
// overlap.
func (w *Witness) Run(ctx context.Context, emit func(event.Observation)) error {
	s := newSink(w, emit)
	g, ctx := errgroup.WithContext(ctx)
	run := func(name string, feed func(context.Context, *sink) error) {
		s.expect(name)
		g.Go(func() error { return w.keep(ctx, s, name, feed) })
	}
	if w.opts.Log != nil {
		run(feedLog, w.follow)
	}
	if w.opts.Webhook != nil {
		run(feedWebhook, w.serve)
	}
	if s.canary != nil {
		g.Go(func() error { return s.canary.run(ctx, s) })
	}
	if w.opts.Drops != nil {
		g.Go(func() error { return newDrops(w).run(ctx, s) })
	}
	g.Go(func() error { return s.faults.run(ctx, s) })
	return g.Wait()
}

// keep runs a feed again whenever it fails. Why it does is logged, too, once for each
// reason: of a log that was never there no rule tells.
func (w *Witness) keep(ctx context.Context, s *sink, name string, feed func(context.Context, *sink) error) error {
	said := ""
	for {
		err := feed(ctx, s)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if reason := err.Error(); reason != said {
			said = reason
			w.opts.Logger.Warn("audit events are not heard", slog.String("feed", name), slog.Any("error", err), slog.Bool("tries_again", true))
		}
		s.down(name, err.Error())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(w.times.retry):
		}
	}
}
