package correlate

import "time"

// clock is what time it is, by the observations, and how long the engine waits
// for what. Time never goes back: what comes late finds it where it was.
type clock struct {
	opt Options
	now time.Time
}

// advance has it be t, unless it is later already.
func (c *clock) advance(t time.Time) {
	if t.After(c.now) {
		c.now = t
	}
}

// settled reports whether enough time has passed since t for absence to mean
// something.
func (c *clock) settled(t time.Time) bool { return !c.now.Before(t.Add(c.opt.Window)) }

// skew is how far two witnesses of one host may differ about the same moment:
// their clocks are one, but each stamps at its own point of the way.
const skew = 20 * time.Millisecond

// grain is how far the clocks themselves of two witnesses of one host may
// differ: what one stamps before it hands something on is no later than what the
// other stamps after it has got it, but for this.
const grain = time.Millisecond

// causes reports whether what happened at a can have led to what happened at b.
func causes(a, b time.Time) bool { return !a.After(b.Add(grain)) }

// between reports whether t lies between a and b, of which either may be
// unknown.
func between(t, a, b time.Time) bool {
	return (a.IsZero() || !t.Before(a.Add(-skew))) && (b.IsZero() || !t.After(b.Add(skew)))
}
