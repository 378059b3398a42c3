package correlate

import (
	"maps"
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
)

// memory keeps of the cluster's observations what the engine of a node that is
// heard of later has to know: pods, states, clocks, and the latest requests.
type memory struct {
	pods   map[string]event.KubePod
	clocks map[string]event.Clock
	rest   []event.Observation // requests, states, losses, progress; oldest first
}

const (
	// podsMax bounds the pods remembered.
	podsMax = 1 << 17
	// restMax bounds the other observations remembered.
	restMax = 1 << 12
)

func newMemory() memory {
	return memory{pods: map[string]event.KubePod{}, clocks: map[string]event.Clock{}}
}

func (m *memory) keep(o event.Observation) {
	switch o := o.(type) {
	case event.KubePod:
		key := o.Namespace + "/" + o.Name + "/" + o.UID
		if o.Deleted {
			delete(m.pods, key)
		} else if _, known := m.pods[key]; known || len(m.pods) < podsMax {
			m.pods[key] = o
		}
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

// all returns what is remembered: pods and clocks by name, then the rest.
func (m *memory) all() []event.Observation {
	out := make([]event.Observation, 0, len(m.pods)+len(m.clocks)+len(m.rest))
	for _, key := range slices.Sorted(maps.Keys(m.pods)) {
		out = append(out, m.pods[key])
	}
	for _, key := range slices.Sorted(maps.Keys(m.clocks)) {
		out = append(out, m.clocks[key])
	}
	return append(out, m.rest...)
}
