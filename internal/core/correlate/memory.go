package correlate

import (
	"maps"
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
)

// memory keeps of the cluster's observations what the engine of a node that is
// heard of later has to know: states, clocks, and the latest requests.
type memory struct {
	clocks map[string]event.Clock
	rest   []event.Observation // requests, states, losses, progress; oldest first
}

// restMax bounds the clocks, and the other observations, that are remembered.
const restMax = 1 << 12

func newMemory() memory {
	return memory{clocks: map[string]event.Clock{}}
}

func (m *memory) keep(o event.Observation) {
	switch o := o.(type) {
	case event.Clock:
		if _, known := m.clocks[o.Of]; known || len(m.clocks) < restMax {
			m.clocks[o.Of] = o
		}
	default:
		if len(m.rest) >= restMax {
			m.rest = append([]event.Observation(nil), m.rest[restMax/4:]...)
		}
		m.rest = append(m.rest, o)
	}
}

// all returns what is remembered: clocks by name, then the rest.
func (m *memory) all() []event.Observation {
	out := make([]event.Observation, 0, len(m.clocks)+len(m.rest))
	for _, key := range slices.Sorted(maps.Keys(m.clocks)) {
		out = append(out, m.clocks[key])
	}
	return append(out, m.rest...)
}
