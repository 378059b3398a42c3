package watch

import (
	"context"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// run writes until the outbox is closed and empty, or ctx ends.
func (b *outbox) run(ctx context.Context) {
	prune := time.NewTicker(b.opt.PruneEvery)
	defer prune.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-prune.C:
			b.prune(ctx)
			continue
		case <-b.work:
		}
		b.gather(ctx)
		b.write(ctx)
		if b.finished() {
			return
		}
	}
}

// gather waits for more records to share one commit: long while all of them are
// observations, which nobody waits for, and shortly once there is a revision.
func (b *outbox) gather(ctx context.Context) {
	timer := time.NewTimer(b.opt.QuietDelay)
	defer timer.Stop()
	select {
	case <-b.news:
		timer.Reset(b.opt.BatchDelay)
	case <-b.full:
		return
	case <-timer.C:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-b.full:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// The pause between two attempts to write while the store fails.
const (
	retryMin = 250 * time.Millisecond
	retryMax = 5 * time.Second
)

// write stores all that waits, trying again until it is stored or ctx ends.
func (b *outbox) write(ctx context.Context) {
	pause := retryMin
	for attempt := 1; ; attempt++ {
		observations, revisions := b.take()
		if len(observations)+len(revisions) == 0 {
			return
		}
		stored, err := b.append(ctx, observations, revisions)
		if err == nil {
			b.succeed(stored)
			return
		}
		if attempt >= salvageAfter && b.works(ctx) {
			b.salvage(ctx, observations, revisions)
			continue
		}
		b.putBack(observations, revisions)
		b.fail(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, retryMax)
	}
}

// salvageAfter is how many times a batch must fail before it is suspected to
// hold a record that can never be stored.
const salvageAfter = 3

// works reports whether the store takes a record that is surely good.
func (b *outbox) works(ctx context.Context) bool {
	good := event.WitnessState{Header: event.Header{Time: time.Now().UTC(), Witness: event.WitnessEngine}, Up: true}
	_, err := b.append(ctx, []event.Observation{good}, nil)
	return err == nil
}

// salvage stores a batch in ever smaller parts; what still fails alone is
// dropped and counted. It is for a store that works and a batch that fails.
func (b *outbox) salvage(ctx context.Context, observations []event.Observation, revisions []session.Revision) {
	if len(observations)+len(revisions) == 0 {
		return
	}
	stored, err := b.append(ctx, observations, revisions)
	if err == nil {
		b.succeed(stored)
		return
	}
	if len(observations)+len(revisions) == 1 {
		b.reject(observations, revisions, err)
		return
	}
	o, r := (len(observations)+1)/2, len(revisions)/2
	if len(revisions) > 0 && len(observations) > 0 { // first apart by kind: revisions matter more
		o, r = 0, len(revisions)
	}
	b.salvage(ctx, observations[:o], revisions[:r])
	b.salvage(ctx, observations[o:], revisions[r:])
}

func (b *outbox) reject(observations []event.Observation, revisions []session.Revision, err error) {
	b.mu.Lock()
	b.stats.DroppedObservations += uint64(len(observations))
	b.stats.DroppedRevisions += uint64(len(revisions))
	b.mu.Unlock()
	b.opt.Logger.Error("a record cannot be stored and is dropped", slog.Any("error", err), slog.Int("revisions", len(revisions)))
}

func (b *outbox) append(ctx context.Context, observations []event.Observation, revisions []session.Revision) ([]session.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opt.AppendWait)
	defer cancel()
	return b.opt.Keeper.Append(ctx, observations, revisions)
}

// fail notes that the store does not take what it is given, and says so once.
func (b *outbox) fail(err error) {
	b.mu.Lock()
	first := !b.failing
	b.failing, b.err = true, err
	b.stats.Errors++
	if first {
		b.stats.FailingSince = time.Now().UTC()
	}
	b.mu.Unlock()
	signal(b.room)
	if first {
		b.opt.Logger.Error("store does not take records; watching goes on and they wait in memory", slog.Any("error", err),
			slog.Int("unsaved_max", b.opt.Unsaved))
	}
}

func (b *outbox) succeed(stored []session.Revision) {
	b.mu.Lock()
	recovered, since := b.failing, b.stats.FailingSince
	b.failing = false
	b.stats.Appends++
	b.stats.Revisions += uint64(len(stored))
	b.stats.FailingSince = time.Time{}
	dropped := b.stats.DroppedObservations
	if recovered {
		b.record(since)
	}
	b.mu.Unlock()
	if recovered {
		b.opt.Logger.Warn("store takes records again", slog.Time("failing_since", since), slog.Uint64("dropped_observations", dropped))
	}
	b.deliver(stored)
}

// record puts on record, mu held, that the store took nothing since a moment
// and what that cost. Correlation is not told: it missed nothing.
func (b *outbox) record(since time.Time) {
	head := event.Header{Time: time.Now().UTC(), Witness: event.WitnessEngine}
	b.observations = append(b.observations,
		event.WitnessState{Header: event.Header{Time: since, Witness: event.WitnessEngine}, Reason: "store: " + b.err.Error()},
		event.WitnessState{Header: head, Up: true})
	if n := b.stats.DroppedObservations - b.stated; n > 0 {
		b.observations = append(b.observations, event.Loss{Header: head, From: since, Count: n, What: "observations"})
		b.stated += n
	}
	signal(b.work)
}

func (b *outbox) finished() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		return false
	}
	signal(b.work) // there may be more: come round again
	return len(b.observations)+len(b.revisions) == 0
}

func (b *outbox) prune(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, b.opt.PruneEvery)
	defer cancel()
	if err := b.opt.Keeper.Prune(ctx); err != nil && ctx.Err() == nil {
		b.opt.Logger.Error("retention could not be applied", slog.Any("error", err))
	}
}
