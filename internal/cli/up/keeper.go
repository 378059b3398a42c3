package up

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/recording"
	"github.com/sallyport/sallyport/internal/store"
)

// keeper is the store as the engine wants it.
type keeper struct {
	store     *store.Store
	retention store.Retention
	rules     *ruling // nil: none
	// recordings are pruned with the rest; nil: there are none.
	recordings *recording.Recordings
	keep       recording.Retention // of recordings
}

// Append implements watch.Keeper.
func (k keeper) Append(ctx context.Context, observations []event.Observation, revisions []session.Revision) ([]session.Revision, error) {
	b := store.Batch{Observations: observations, Revisions: revisions}
	if k.rules != nil {
		b.Findings = k.rules.judge(observations, revisions)
	}
	added, err := k.store.Append(ctx, b)
	if err == nil && k.rules != nil {
		k.rules.stored(len(b.Findings), added.Findings)
	}
	return added.Revisions, err
}

// Due implements watch.Keeper.
func (k keeper) Due() time.Time {
	if k.rules == nil {
		return time.Time{}
	}
	return k.rules.due()
}

// Prune implements watch.Keeper.
func (k keeper) Prune(ctx context.Context) error {
	_, err := k.store.Prune(ctx, k.retention)
	if k.recordings != nil {
		_, e := k.recordings.Prune(ctx, k.keep)
		err = errors.Join(err, e)
	}
	return err
}

// Running implements watch.Keeper.
func (k keeper) Running(ctx context.Context) iter.Seq2[session.Session, error] {
	return k.store.Running(ctx)
}

// Newest implements watch.Keeper.
func (k keeper) Newest(ctx context.Context) (time.Time, bool, error) { return k.store.Newest(ctx) }
