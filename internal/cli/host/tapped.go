package host

import (
	"context"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/watch"
)

// tapped is a witness whose observations somebody else sees too, before the
// engine does.
type tapped struct {
	watch.Witness
	see func(event.Observation)
}

// Run implements watch.Witness.
func (t tapped) Run(ctx context.Context, emit func(event.Observation)) error {
	return t.Witness.Run(ctx, func(o event.Observation) {
		t.see(o)
		emit(o)
	})
}
