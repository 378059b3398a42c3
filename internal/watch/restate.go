package watch

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// restate tells the store again, each Options.RestateEvery, what the witnesses said last
// of themselves. Whoever reads only some of what is kept, because the rest is not any
// more, then knows who watched; and the last of it shows until when anybody did.
// Correlation is not told: it knows.
func (f *feed) restate(now time.Time) {
	if now.Sub(f.restated) < f.opt.RestateEvery || len(f.source.queue) > 0 {
		return
	}
	f.restated = now
	for _, s := range f.said() {
		if s.Up && s.From.IsZero() {
			s.From = s.Time
		}
		s.Time = now.UTC()
		f.outbox.put(s, nil)
	}
}

// said returns the last state of each witness of this host.
func (f *feed) said() (out []event.WitnessState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.opt.Witnesses {
		if s, ok := f.states[w.Name]; ok {
			out = append(out, s)
		}
	}
	return out
}
