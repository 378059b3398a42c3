package correlate

import "time"

// NextDue returns the moment at which the passing of time alone may next bring
// revisions; ok is false when nothing waits for it. Whoever plays kept
// observations ticks at exactly these moments.
func (e *Engine) NextDue() (t time.Time, ok bool) {
	if len(e.queue) == 0 {
		return time.Time{}, false
	}
	return e.queue[0].state().dueAt, true
}
