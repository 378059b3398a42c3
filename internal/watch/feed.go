package watch

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// tickEvery is how often time itself is told to correlation while anything
// waits for it.
const tickEvery = 100 * time.Millisecond

// stopAhead is how far time is put forward at the end: correlate's default
// Options.Settle.
const stopAhead = 500 * time.Millisecond

// feed is the one goroutine that drives correlation.
type feed struct {
	opt       Options
	source    *source
	outbox    *outbox
	correlate *correlate.Fleet

	due       time.Time // that was waited for last
	revisions atomic.Uint64
	resumed   atomic.Uint64 // sessions of an earlier run
	open      atomic.Pointer[correlate.Stats]

	restated time.Time // when the states were told last
	readings readings

	mu     sync.Mutex
	states map[event.Witness]event.WitnessState // guarded by mu
	losses map[lossKey]uint64                   // guarded by mu
}

type lossKey struct {
	witness event.Witness
	what    string
}

func newFeed(opt Options, s *source, out *outbox) *feed {
	f := &feed{
		opt: opt, source: s, outbox: out, correlate: correlate.NewFleet(opt.Correlate),
		states: map[event.Witness]event.WitnessState{}, losses: map[lossKey]uint64{},
	}
	f.open.Store(&correlate.Stats{})
	return f
}

// run feeds until done is closed and the queue is empty.
func (f *feed) run(ctx context.Context, done <-chan struct{}) {
	f.resume(ctx)
	f.restated = time.Now()
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case o := <-f.source.queue:
			f.observe(o)
		case now := <-ticker.C:
			f.tick(now)
			f.restate(now)
		case <-done:
			f.drain()
			return
		}
	}
}

// drain feeds what is left on the queue, without waiting, and lets as much time
// pass as a new session waits for its other half: what was seen in the last
// moments is published, too.
func (f *feed) drain() {
	defer func() { f.outbox.put(nil, f.advance(clock(time.Now().Add(stopAhead)))) }()
	for {
		select {
		case o := <-f.source.queue:
			f.observe(o)
		default:
			return
		}
	}
}

// resume takes over the sessions that an earlier run left running, and says
// that nobody watched since then.
func (f *feed) resume(ctx context.Context) {
	until, ok, err := f.opt.Keeper.Newest(ctx)
	if err != nil {
		f.opt.Logger.Error("the end of the earlier run is not known", slog.Any("error", err))
	}
	for _, o := range f.interruption(until, ok) {
		f.observe(o)
	}
	if !ok {
		return
	}
	f.opt.Logger.Warn("nothing was watched", slog.Time("since", until.UTC()), slog.Time("until", time.Now().UTC()), slog.String("reason", "Sallyport was not running"))
	for s, err := range f.opt.Keeper.Running(ctx) {
		if err != nil {
			f.opt.Logger.Error("sessions of the earlier run could not all be read; some stay as they were", slog.Any("error", err))
			return
		}
		f.correlate.Adopt(s, time.Now().UTC())
		f.resumed.Add(1)
	}
}

// interruption returns what is to be said when an earlier run saw its last at
// until, if there was one. A node's clock may be ahead of ours.
func (f *feed) interruption(until time.Time, before bool) (out []event.Observation) {
	if !before {
		return nil
	}
	if now := time.Now().UTC(); until.After(now) {
		until = now
	}
	for _, w := range f.opt.Witnesses {
		if w.Optional {
			continue // what it saw last is not known
		}
		out = append(out, event.WitnessState{
			Header: event.Header{Time: until.Add(time.Nanosecond), Witness: w.Name},
			Reason: "Sallyport was not running",
		})
	}
	return out
}

// observe feeds one observation and hands it with what follows from it to the
// store.
func (f *feed) observe(o event.Observation) {
	f.hear(o)
	revisions := f.correlate.Observe(o)
	f.revisions.Add(uint64(len(revisions)))
	if !f.readings.keep(o) {
		o = nil
	}
	f.outbox.put(o, revisions)
}

// hear takes note of what concerns the status.
func (f *feed) hear(o event.Observation) {
	switch o := o.(type) {
	case event.WitnessState:
		if o.Node == "" { // of nodes their own status tells
			f.note(o)
		}
	case event.Loss:
		f.mu.Lock()
		f.losses[lossKey{o.Witness, o.What}] += max(1, o.Count)
		f.mu.Unlock()
	}
}

func (f *feed) note(s event.WitnessState) {
	f.mu.Lock()
	was, known := f.states[s.Witness]
	f.states[s.Witness] = s
	f.mu.Unlock()
	if !known || was.Up != s.Up || was.Reason != s.Reason {
		f.opt.Logger.Info("witness state", slog.String("witness", string(s.Witness)), slog.Bool("up", s.Up), slog.String("reason", s.Reason))
	}
}

// tick tells the time to whom it can bring anything: correlation, and the rules
// behind the store, which get it once for each time that they wait for. While
// observations wait it does not: absence would count as evidence before they
// are heard.
func (f *feed) tick(now time.Time) {
	stats := f.correlate.Stats()
	f.open.Store(&stats)
	due := f.opt.Keeper.Due()
	awaited := !due.IsZero() && !now.Before(due) && !due.Equal(f.due)
	if !awaited && !f.correlate.Pending() || len(f.source.queue) > 0 {
		return
	}
	tick := clock(now)
	revisions := f.advance(tick)
	if awaited {
		f.due = due
		f.outbox.put(tick, revisions)
		return
	}
	f.outbox.put(nil, revisions)
}

// advance tells correlation the time.
func (f *feed) advance(tick event.Tick) []session.Revision {
	revisions := f.correlate.Observe(tick)
	f.revisions.Add(uint64(len(revisions)))
	return revisions
}

func clock(now time.Time) event.Tick {
	return event.Tick{Header: event.Header{Time: now.UTC(), Witness: event.WitnessEngine}}
}
