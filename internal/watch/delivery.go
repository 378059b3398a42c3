package watch

import (
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/core/session"
)

// delivery hands acknowledged revisions to somebody who may be slow.
type delivery struct {
	to     func([]session.Revision)
	queue  chan []session.Revision
	missed atomic.Uint64
}

// deliveryMax is how many commits may wait for a slow reader.
const deliveryMax = 256

func newDelivery(to func([]session.Revision)) *delivery {
	return &delivery{to: to, queue: make(chan []session.Revision, deliveryMax)}
}

func (d *delivery) put(revisions []session.Revision) {
	if d.to == nil || len(revisions) == 0 {
		return
	}
	select {
	case d.queue <- revisions:
	default:
		d.missed.Add(uint64(len(revisions)))
	}
}

// run delivers until close was called and everything is delivered.
func (d *delivery) run() {
	for revisions := range d.queue {
		d.to(revisions)
	}
}

func (d *delivery) close() { close(d.queue) }
