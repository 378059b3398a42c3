package docker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Bounds on what is remembered.
const (
	heldMax       = 1024 // events that wait for their container's labels
	containersMax = 8192
	execsMax      = 4096
)

// follower is the state of a witness: all of it belongs to the goroutine of
// run, which never waits for the daemon.
type follower struct {
	*Witness
	daemon    *daemon
	emit      func(event.Observation)
	inspector *inspector
	pings     chan error
	opened    chan subscription

	connecting sync.WaitGroup
	sub        subscription // the open one; without messages when there is none
	cursor     *cursor
	since      time.Time // the first connect; what is older is not told
	lost       uint64    // of sub.lost, what was told
	quiet      time.Time // until when events were last known not to be lost
	backoff    time.Duration
	retry      *time.Timer
	// deciding runs while it is open whether the stream resumed without loss.
	deciding *time.Timer
	up, told bool // the state told last, and that there is one
	reason   string
	// hungAt is since when the daemon does not answer on an open stream.
	hungAt time.Time

	labels   map[string]forgeable        // by container id
	held     map[string][]events.Message // by container id, until labels are known
	heldN    int
	pending  map[string]bool // containers asked for; true: ask again
	execSeen map[string]bool
}

func newFollower(w *Witness, d *daemon, emit func(event.Observation)) *follower {
	return &follower{
		Witness: w, daemon: d, emit: emit,
		inspector: newInspector(d),
		pings:     make(chan error),
		opened:    make(chan subscription, 1),
		cursor:    newCursor(),
		labels:    map[string]forgeable{},
		held:      map[string][]events.Message{},
		pending:   map[string]bool{},
		execSeen:  map[string]bool{},
	}
}

func (f *follower) run(ctx context.Context) error {
	f.retry, f.deciding = time.NewTimer(0), time.NewTimer(0)
	f.deciding.Stop()
	defer f.retry.Stop()
	defer f.deciding.Stop()
	defer f.connecting.Wait()
	for {
		select {
		case <-f.retry.C:
			since := f.since
			if !f.cursor.at.IsZero() {
				since = f.cursor.at
			}
			f.connecting.Go(func() { f.opened <- subscribe(ctx, f.daemon, since) }) // room for one, one at a time
		case s := <-f.opened:
			f.connected(s)
		case m := <-f.sub.messages:
			f.message(&m)
		case err := <-f.sub.ended:
			f.drain()
			f.disconnected(err)
		case <-f.deciding.C:
			f.gap(f.sub.opened)
		case err := <-f.pings:
			f.pinged(err)
		case r := <-f.inspector.replies:
			f.reply(r)
		case <-ctx.Done():
			f.sub.close()
			return ctx.Err()
		}
		f.countLoss()
	}
}

// connected takes a new event stream, or the failure to get one.
func (f *follower) connected(s subscription) {
	if s.err != nil {
		f.disconnected(s.err)
		return
	}
	f.stats.connects.Add(1)
	f.sub, f.lost, f.quiet, f.backoff = s, 0, s.opened, 0
	if f.since.IsZero() {
		f.since = s.opened
		f.tellUp(s.opened, s.limit)
	} else {
		f.deciding.Reset(f.times.resume)
	}
	clear(f.execSeen)
	f.discover()
}

// disconnected ends a stream and tries again later.
func (f *follower) disconnected(err error) {
	f.sub.close()
	f.sub = subscription{}
	f.deciding.Stop()
	f.hungAt = time.Time{}
	f.tellDown(err)
	f.backoff = min(max(2*f.backoff, f.times.backoff), f.times.backoffs)
	f.retry.Reset(f.backoff)
}

// drain takes what came before the stream ended.
func (f *follower) drain() {
	for {
		select {
		case m := <-f.sub.messages:
			f.message(&m)
		default:
			return
		}
	}
}

// message takes the next event. After a reconnect the daemon first repeats what
// it remembers; that holds the last event that we heard before if nothing was
// missed since.
func (f *follower) message(m *events.Message) {
	undecided := f.deciding.Stop()
	last := f.cursor.last
	if !f.cursor.pass(m) {
		f.stats.duplicates.Add(1)
		switch {
		case !undecided:
		case f.cursor.key(m) == last:
			f.tellUp(f.cursor.at, f.sub.limit)
		default:
			f.deciding.Reset(f.times.resume)
		}
		return
	}
	if undecided {
		f.gap(f.cursor.at)
	}
	if m.Type != events.ContainerEventType || f.cursor.at.Before(f.since) {
		return
	}
	f.containerEvent(m)
}

// gap says that events may be missing before from.
func (f *follower) gap(from time.Time) {
	f.stats.gaps.Add(1)
	why := "the daemon no longer knows the last event that was heard: it was restarted, or more than 256 events passed"
	if f.sub.limit != "" {
		why += "; " + f.sub.limit
	}
	f.tellUp(from, why)
}

// pinged takes what the watchdog found. A hung daemon keeps its connections
// open, so nothing is lost on a stream that outlives the hang.
func (f *follower) pinged(err error) {
	switch {
	case f.sub.messages == nil: // the next connect tells
	case err != nil:
		if f.hungAt.IsZero() {
			f.hungAt = time.Now()
		}
		f.tellDown(fmt.Errorf("the daemon does not answer: %w", err))
	case !f.hungAt.IsZero():
		f.tellUp(f.hungAt, f.sub.limit)
		f.hungAt = time.Time{}
		f.discover()
	}
}

// discover asks for everything that runs.
func (f *follower) discover() { f.inspector.ask(question{}) }

// countLoss tells events that found no room here.
func (f *follower) countLoss() {
	f.stats.dropped.Store(f.inspector.dropped.Load())
	if f.sub.lost == nil {
		return
	}
	now := time.Now()
	if n := f.sub.lost.Load(); n > f.lost {
		f.stats.lost.Add(n - f.lost)
		f.emit(event.Loss{Header: header(now), From: f.quiet.UTC(), Count: n - f.lost, What: "events"})
		f.lost = n
	}
	f.quiet = now
}

// tellUp reports that everything since from has been or will be told.
func (f *follower) tellUp(from time.Time, reason string) {
	f.told, f.up = true, true
	f.opts.Logger.Info("docker events are followed", "from", from, "reason", reason)
	f.emit(event.WitnessState{
		Header: header(time.Now()), Up: true, From: from.UTC(),
		OpenDoors: f.sub.doors, DaemonPID: f.sub.pid, Reason: reason,
	})
}

// tellDown reports that events are not heard, once for each cause.
func (f *follower) tellDown(err error) {
	if errors.Is(err, context.Canceled) {
		return // our own end
	}
	if f.told && !f.up && f.reason == err.Error() {
		return
	}
	f.told, f.up, f.reason = true, false, err.Error()
	f.opts.Logger.Warn("docker events are not heard", "error", err)
	f.emit(event.WitnessState{Header: header(time.Now()), Reason: clip(f.reason, maxName)})
}
