package admission

import "time"

// pace is how long requests took lately from when they were let go to when they
// were known to have started: tens of milliseconds, and a second and more on a
// node that has too much to do.
type pace struct {
	took [paceKept]struct {
		at   time.Time
		long time.Duration
	}
	next int
}

const (
	paceKept = 32
	// paceFor is how long one says something about the next.
	paceFor = 10 * time.Second
	// leadMin is what a start takes where nothing is in its way.
	leadMin = 200 * time.Millisecond
)

func (p *pace) add(at time.Time, long time.Duration) {
	p.took[p.next%paceKept].at, p.took[p.next%paceKept].long = at, long
	p.next++
}

// slowest returns how long the slowest of them took; 0 when there was none.
func (p *pace) slowest(now time.Time) (long time.Duration) {
	for _, t := range p.took {
		if now.Sub(t.at) < paceFor {
			long = max(long, t.long)
		}
	}
	return long
}
