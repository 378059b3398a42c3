package watch

import (
	"context"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Sink takes the observations of a node on their way to a collector, in place
// of correlation and the store. It is called from one goroutine.
type Sink interface {
	// Put takes one observation. It may block; it must not lose any unsaid.
	Put(o event.Observation) error
	// Beat says that every observation of before at has been put.
	Beat(at time.Time)
	// Newest returns the latest time of any observation of an earlier run;
	// false without one.
	Newest() (time.Time, bool)
}

// ship gives what the witnesses see to the sink until ctx ends and they have
// stopped.
func (e *Engine) ship(ctx context.Context) error {
	sourced := start(func() { e.source.run(ctx) })
	until, before := e.opt.Sink.Newest()
	for _, o := range e.feed.interruption(until, before) {
		e.put(o)
	}
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case o := <-e.source.queue:
			e.put(o)
		case now := <-ticker.C:
			// While observations wait, they are of before now.
			if len(e.source.queue) == 0 {
				e.opt.Sink.Beat(now.UTC())
			}
		case <-sourced:
			for len(e.source.queue) > 0 {
				e.put(<-e.source.queue)
			}
			e.opt.Sink.Beat(time.Now().UTC())
			return nil
		}
	}
}

func (e *Engine) put(o event.Observation) {
	if !e.feed.readings.keep(o) {
		return
	}
	e.feed.hear(o)
	if err := e.opt.Sink.Put(o); err != nil {
		e.opt.Logger.Error("an observation cannot be shipped and is dropped", slog.Any("error", err))
	}
}
