package watch

import (
	"errors"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// outbox is the bounded queue before the store, and the goroutine that empties
// it. While the store works, a full outbox makes the feed wait. While it fails,
// the feed goes on: the oldest observations are dropped, then revisions that a
// newer one of the same session replaces, then the oldest revisions.
type outbox struct {
	opt     Options
	deliver func([]session.Revision)

	work chan struct{} // capacity 1: there is something to write
	news chan struct{} // capacity 1: a revision is among it
	full chan struct{} // capacity 1: a batch is complete, do not wait for more
	room chan struct{} // capacity 1: the writer took a batch

	mu           sync.Mutex
	observations []event.Observation // guarded by mu
	revisions    []session.Revision  // guarded by mu
	closed       bool                // guarded by mu
	failing      bool                // guarded by mu
	stats        StoreStatus         // guarded by mu
	stated       uint64              // guarded by mu; dropped observations that are on record
	err          error               // guarded by mu; the last
}

func newOutbox(opt Options, deliver func([]session.Revision)) *outbox {
	return &outbox{
		opt: opt, deliver: deliver,
		work: make(chan struct{}, 1), news: make(chan struct{}, 1), full: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
}

// signal notes that something happened, for whoever waits on c; several
// signals that nobody waited for are one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put adds an observation (nil for none) and revisions.
func (b *outbox) put(o event.Observation, revisions []session.Revision) {
	if o == nil && len(revisions) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waitForRoom()
	if o != nil {
		b.observations = append(b.observations, o)
	}
	b.revisions = append(b.revisions, revisions...)
	if b.failing { // else what one observation brought waits, however much it is
		b.trim()
	}
	signal(b.work)
	if len(revisions) > 0 {
		signal(b.news)
	}
	if len(b.observations)+len(b.revisions) >= b.opt.BatchSize {
		signal(b.full)
	}
}

// waitForRoom waits, mu held on entry and exit, until the writer has taken what
// fills the outbox, but no longer than one write may take.
func (b *outbox) waitForRoom() {
	if !b.over() || b.failing {
		return
	}
	timer := time.NewTimer(b.opt.AppendWait)
	defer timer.Stop()
	for b.over() && !b.failing {
		b.mu.Unlock()
		select {
		case <-b.room:
		case <-timer.C:
			b.fail(errors.New("store does not answer"))
		}
		b.mu.Lock()
	}
}

// over reports, mu held, whether the outbox is full.
func (b *outbox) over() bool {
	return len(b.observations) >= b.opt.Unsaved || len(b.revisions) >= b.opt.UnsavedMax
}

// trim drops, mu held, what is beyond the bounds.
func (b *outbox) trim() {
	if n := len(b.observations) - b.opt.Unsaved; n > 0 {
		// A quarter at once, so that a full outbox does not move for each record.
		n = min(len(b.observations), n+b.opt.Unsaved/4)
		b.stats.DroppedObservations += uint64(n)
		b.observations = append([]event.Observation(nil), b.observations[n:]...)
	}
	if len(b.revisions) > b.opt.UnsavedMax {
		b.revisions = latest(b.revisions)
	}
	if n := len(b.revisions) - b.opt.UnsavedMax; n > 0 {
		b.stats.DroppedRevisions += uint64(n)
		b.revisions = append([]session.Revision(nil), b.revisions[n:]...)
	}
}

// latest keeps the last revision of each session, in order.
func latest(revisions []session.Revision) []session.Revision {
	last := make(map[session.ID]int, len(revisions))
	for i, r := range revisions {
		last[r.Session.ID] = i
	}
	out := make([]session.Revision, 0, len(last))
	for i, r := range revisions {
		if last[r.Session.ID] == i {
			out = append(out, r)
		}
	}
	return out
}

// take returns everything that waits.
func (b *outbox) take() ([]event.Observation, []session.Revision) {
	b.mu.Lock()
	defer b.mu.Unlock()
	observations, revisions := b.observations, b.revisions
	b.observations, b.revisions = nil, nil
	signal(b.room)
	return observations, revisions
}

// putBack returns a batch that could not be stored to where it was.
func (b *outbox) putBack(observations []event.Observation, revisions []session.Revision) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.observations = append(observations, b.observations...)
	b.revisions = append(revisions, b.revisions...)
	b.trim()
}

// close says that nothing more will be put.
func (b *outbox) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	signal(b.work)
	signal(b.full)
}

// waiting returns how much is not stored yet.
func (b *outbox) waiting() (observations, revisions int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.observations), len(b.revisions)
}

func (b *outbox) lastError() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// status returns a copy of what is known of the store.
func (b *outbox) status() StoreStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.UnsavedObservations, s.UnsavedRevisions = len(b.observations), len(b.revisions)
	s.OK = !b.failing
	if b.err != nil {
		s.LastError = b.err.Error()
	}
	return s
}
