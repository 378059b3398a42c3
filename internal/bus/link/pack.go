package link

import (
	"github.com/sallyport/sallyport/internal/bus"
	"github.com/sallyport/sallyport/internal/core/event"
)

// packFacts makes a batch of the first of some observations; its numbers mean
// nothing. It returns how many it took.
func packFacts(list []event.Observation) (b bus.Batch, taken int, err error) {
	p, err := bus.NewPacker()
	if err != nil {
		return b, 0, err
	}
	var lines []byte
	count := 0
	for _, o := range list {
		line, err := event.Marshal(o)
		if err != nil {
			return b, 0, err
		}
		if count > 0 && len(lines)+len(line) > 256<<10 {
			break
		}
		taken++
		if len(line) < bus.MaxObservation {
			lines, count = append(append(lines, line...), '\n'), count+1
		}
	}
	return p.Pack(1, max(1, uint64(count)), count, lines), taken, nil
}
