package correlate

import "github.com/sallyport/sallyport/internal/core/event"

// memo keeps what was worked out since the last observation. Sessions that one
// fact touches are derived together, and each asks the same questions about all
// of them.
type memo struct {
	arrivals map[event.ContainerID][]arrival
	calls    map[podName][]*call
	spans    map[podName][]span
	choices  map[subject]choice
	cri      map[subject]criAsked
}

// changed forgets what was worked out: a fact came, went or got older.
func (e *Engine) changed() {
	e.memo = memo{
		arrivals: map[event.ContainerID][]arrival{}, calls: map[podName][]*call{}, spans: map[podName][]span{},
		choices: map[subject]choice{}, cri: map[subject]criAsked{},
	}
}
