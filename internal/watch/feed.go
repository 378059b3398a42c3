package watch

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/playback"
)

// tickEvery is how often time itself is told to correlation while anything
// waits for it.
const tickEvery = 100 * time.Millisecond

// restateEvery is how often the states of the witnesses are kept anew. Whoever
// resumes from kept observations needs to go back no further than that to know
// what could be seen when.
const restateEvery = time.Minute

// ResumeMargin is how much earlier than the oldest open session Keeper.Resume
// must begin: its request and the states of the witnesses come before it.
const ResumeMargin = restateEvery + 30*time.Second

// feed is the one goroutine that drives correlation.
type feed struct {
	opt       Options
	source    *source
	outbox    *outbox
	correlate *correlate.Engine

	revisions atomic.Uint64
	resumed   atomic.Uint64 // observations of an earlier run
	open      atomic.Pointer[correlate.Stats]

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
		opt: opt, source: s, outbox: out, correlate: correlate.New(opt.Correlate),
		states: map[event.Witness]event.WitnessState{}, losses: map[lossKey]uint64{},
	}
	f.open.Store(&correlate.Stats{})
	return f
}

// run feeds until done is closed and the queue is empty.
func (f *feed) run(ctx context.Context, done <-chan struct{}) {
	f.resume(ctx)
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	restate := time.NewTicker(restateEvery)
	defer restate.Stop()
	for {
		select {
		case o := <-f.source.queue:
			f.observe(o)
		case now := <-ticker.C:
			f.tick(now)
		case now := <-restate.C:
			f.restate(now.UTC())
		case <-done:
			f.drain()
			return
		}
	}
}

// drain feeds what is left on the queue, without waiting.
func (f *feed) drain() {
	for {
		select {
		case o := <-f.source.queue:
			f.observe(o)
		default:
			return
		}
	}
}

// resume feeds what an earlier run had seen of sessions that were open at its
// end, and then says that nobody watched from there on. What the store already
// has, it does not store again.
func (f *feed) resume(ctx context.Context) {
	player := playback.New(f.correlate)
	for o, err := range f.opt.Keeper.Resume(ctx) {
		if err != nil {
			f.opt.Logger.Error("earlier observations could not all be read; sessions open since then may lack evidence", slog.Any("error", err))
			break
		}
		f.resumed.Add(1)
		f.outbox.put(nil, player.Observe(o))
	}
	if player.Last().IsZero() {
		return
	}
	for _, w := range f.opt.Witnesses {
		f.observe(event.WitnessState{
			Header: event.Header{Time: player.Last().Add(time.Nanosecond), Witness: w.Name},
			Reason: "Sallyport was not running",
		})
	}
}

// observe feeds one observation and hands it with what follows from it to the
// store.
func (f *feed) observe(o event.Observation) {
	switch o := o.(type) {
	case event.WitnessState:
		f.note(o)
	case event.Loss:
		f.mu.Lock()
		f.losses[lossKey{o.Witness, o.What}] += max(1, o.Count)
		f.mu.Unlock()
	}
	revisions := f.correlate.Observe(o)
	f.revisions.Add(uint64(len(revisions)))
	f.outbox.put(o, revisions)
}

// restate keeps what holds for the witnesses, as of now. Correlation knows it
// already.
func (f *feed) restate(now time.Time) {
	f.mu.Lock()
	states := slices.Collect(maps.Values(f.states))
	f.mu.Unlock()
	for _, s := range states {
		if !s.Up {
			continue
		}
		if s.From.IsZero() {
			s.From = s.Time
		}
		s.Time = now
		f.outbox.put(s, nil)
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

// tick tells correlation the time, when time can bring anything. While
// observations wait it does not: absence would count as evidence before they
// are heard.
func (f *feed) tick(now time.Time) {
	stats := f.correlate.Stats()
	f.open.Store(&stats)
	if !f.correlate.Pending() || len(f.source.queue) > 0 {
		return
	}
	revisions := f.correlate.Observe(event.Tick{Header: event.Header{Time: now.UTC(), Witness: event.WitnessEngine}})
	f.revisions.Add(uint64(len(revisions)))
	f.outbox.put(nil, revisions)
}
