package watch

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// isReading reports whether o says only how far the kernel sensor has read. It
// comes ten times a second, and is not counted among what the witnesses saw.
func isReading(o event.Observation) bool {
	p, ok := o.(event.Progress)
	return ok && p.Witness == event.WitnessKernel
}

// readings picks the words of how far this host's kernel sensor has read that are
// to be kept, so that who plays what was kept knows as much as who was there.
// While nothing happens there are none.
type readings struct{ last, kept time.Time }

// How long after an observation it still matters whether the kernel sensor has
// read so far: for whom was there when it happened, and for what did not come of
// it (correlate's default Options.Window).
const (
	readingSoon = 50 * time.Millisecond
	readingLate = 2500 * time.Millisecond
)

// keep reports whether o is to be kept: everything else, and of those words each
// until one is past all that was observed, and one that is long past that.
func (r *readings) keep(o event.Observation) bool {
	h := o.Head()
	if !isReading(o) || h.Node != "" { // a node has seen to that
		if h.Node == "" && h.Time.After(r.last) {
			r.last = h.Time
		}
		return true
	}
	through, soon, late := o.(event.Progress).Through, r.last.Add(readingSoon), r.last.Add(readingLate)
	if !r.kept.Before(soon) && (!r.kept.Before(late) || through.Before(late)) {
		return false
	}
	r.kept = through
	return true
}
