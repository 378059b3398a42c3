package watch

import (
	"context"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Capture runs the witnesses of opt until ctx ends and gives every observation,
// uncorrelated, to keep, from one goroutine. It ends early with keep's first
// error.
func Capture(ctx context.Context, opt Options, keep func(event.Observation) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	source := newSource(opt.withDefaults())
	done := start(func() { source.run(ctx) })
	var failed error
	var readings readings
	take := func(o event.Observation) {
		if failed != nil || !readings.keep(o) {
			return
		}
		if failed = keep(o); failed != nil {
			cancel()
		}
	}
	for {
		select {
		case o := <-source.queue:
			take(o)
			continue
		case <-done:
		}
		break
	}
	for {
		select {
		case o := <-source.queue:
			take(o)
		default:
			return failed
		}
	}
}
