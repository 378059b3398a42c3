package correlate

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// memo keeps what was worked out since the last observation. Sessions that one
// fact touches are derived together, and each asks the same questions about all
// of them.
type memo struct {
	arrivals map[event.ContainerID][]arrival
	moments  map[event.ContainerID][]moment // by when they began
	asks     map[event.ContainerID][]*event.RuntimeRequest
	choices  map[subject]choice
	cri      map[subject]criAsked
}

func newMemo() memo {
	return memo{
		arrivals: map[event.ContainerID][]arrival{},
		choices:  map[subject]choice{}, cri: map[subject]criAsked{},
		moments: map[event.ContainerID][]moment{}, asks: map[event.ContainerID][]*event.RuntimeRequest{},
	}
}

// changed forgets what was worked out: a fact came, went or got older. It costs
// next to nothing where nothing was, as outside pods.
func (e *Engine) changed() {
	clear(e.memo.arrivals)
	e.kube.changed()
	clear(e.memo.choices)
	clear(e.memo.cri)
	clear(e.memo.moments)
	clear(e.memo.asks)
	e.coverage.wanted = time.Time{} // only now: what was worked out rests on it, too
}
