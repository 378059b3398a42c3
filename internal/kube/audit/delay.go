package audit

import "time"

// delays remembers the longest delay of the last while.
type delays struct {
	since       time.Time
	now, before time.Duration
}

// delaysFor is how long a delay is remembered at least.
const delaysFor = 5 * time.Minute

func (d *delays) add(at time.Time, delay time.Duration) {
	if at.Sub(d.since) > delaysFor {
		d.since, d.before, d.now = at, d.now, 0
	}
	d.now = max(d.now, delay)
}

// most returns the longest delay of the last five to ten minutes.
func (d *delays) most(at time.Time) time.Duration {
	d.add(at, 0)
	return max(d.now, d.before)
}
