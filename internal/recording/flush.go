package recording

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
)

// enqueue puts a recorder behind those that wait for their flush.
func (r *Recordings) enqueue(rec *Recorder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec.due, rec.next = time.Now().Add(r.opt.Delay), nil
	if r.last != nil {
		r.last.next = rec
		r.last = rec
		return
	}
	r.first, r.last = rec, rec
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// head returns the recorder that waits longest, taken off the queue when it is
// due, and how long it still has to wait.
func (r *Recordings) head() (rec *Recorder, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec = r.first; rec == nil {
		return nil, 0
	}
	if wait = time.Until(rec.due); wait > 0 {
		return rec, wait
	}
	if r.first = rec.next; r.first == nil {
		r.last = nil
	}
	rec.next = nil
	return rec, 0
}

// flushing flushes recorders when they are due, until Close.
func (r *Recordings) flushing() {
	defer r.ended.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		rec, wait := r.head()
		if rec != nil && wait == 0 {
			rec.flushDue()
			continue
		}
		if rec == nil {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-r.stop:
			return
		}
	}
}

// written notes that a recorder has something to sync.
func (r *Recordings) written(rec *Recorder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsynced[rec] = struct{}{}
}

// forget notes that a recorder has ended.
func (r *Recordings) forget(rec *Recorder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, rec)
	delete(r.unsynced, rec)
}

// syncing brings to the disk what was written, and states it from time to time,
// until Close.
func (r *Recordings) syncing() {
	defer r.ended.Done()
	ticker := time.NewTicker(r.opt.SyncEvery)
	defer ticker.Stop()
	state := time.NewTicker(r.opt.StateEvery)
	defer state.Stop()
	grown := map[*Recorder]session.Recording{}
	for {
		select {
		case <-ticker.C:
			r.syncAll(grown)
		case <-state.C:
			r.stateAll(grown)
		case <-r.stop:
			return
		}
	}
}

func (r *Recordings) syncAll(grown map[*Recorder]session.Recording) {
	r.mu.Lock()
	list := make([]*Recorder, 0, len(r.unsynced))
	for rec := range r.unsynced {
		list = append(list, rec)
	}
	clear(r.unsynced)
	r.mu.Unlock()
	for _, rec := range list {
		if s, ok := rec.sync(); ok {
			grown[rec] = s
		}
	}
}

// stateAll states those that have grown and have not ended meanwhile: then the
// ledger knows more already. What the ledger does not take is stated the next time.
func (r *Recordings) stateAll(grown map[*Recorder]session.Recording) {
	var list []session.Recording
	r.mu.Lock()
	for rec, s := range grown {
		if _, ok := r.open[rec]; ok {
			list = append(list, s)
		} else {
			delete(grown, rec)
		}
	}
	r.mu.Unlock()
	if err := r.state(context.Background(), list...); err != nil {
		r.opt.Logger.Error("recordings that grow are not stated in the ledger", "error", err)
		return
	}
	clear(grown)
}
