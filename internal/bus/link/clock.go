package link

import (
	"time"
)

// clock measures how another machine's clock differs from ours, as NTP does:
// of four times, two by each clock. What is not known is how the way's time is
// split between there and back, so half of it is the error.
type clock struct {
	samples []sample
	told    sample
	toldAt  time.Time
}

type sample struct {
	offset time.Duration // theirs minus ours
	err    time.Duration
	at     time.Time // by our clock
}

const (
	samplesMax = 16
	// drift is how fast two clocks may part: 50 parts per million.
	drift = 50e-6
	// stale is after how long a sample does not count any more.
	stale = 10 * time.Minute
	// tellEvery is how often an unchanged offset is told again.
	tellEvery = time.Minute
)

// add takes a measurement: sent and got by our clock, theirs in between.
func (c *clock) add(sent, came, left, got time.Time) {
	way := got.Sub(sent) - left.Sub(came)
	if got.Before(sent) || left.Before(came) || way < 0 {
		return // a clock was set in between
	}
	s := sample{offset: (came.Sub(sent) + left.Sub(got)) / 2, err: way/2 + 1, at: got}
	c.samples = append(c.samples, s)
	if len(c.samples) > samplesMax {
		c.samples = append(c.samples[:0], c.samples[1:]...)
	}
	if best, ok := c.best(got); ok && (s.offset-best.offset).Abs() > s.err+best.err {
		c.samples = append(c.samples[:0], s) // they contradict each other: a clock was set
	}
}

// best returns the measurement with the smallest error by now.
func (c *clock) best(now time.Time) (best sample, ok bool) {
	for _, s := range c.samples {
		age := now.Sub(s.at)
		if age > stale || age < 0 {
			continue
		}
		s.err += time.Duration(float64(age) * drift)
		if !ok || s.err < best.err {
			best, ok = s, true
		}
	}
	return best, ok
}

// news returns the best measurement when it is worth telling: the first one,
// one that is clearly better, one that does not agree with what was told.
func (c *clock) news(now time.Time) (sample, bool) {
	s, ok := c.best(now)
	if !ok {
		return s, false
	}
	first := c.toldAt.IsZero()
	if first || s.err < c.told.err/2 || (s.offset-c.told.offset).Abs() > c.told.err || now.Sub(c.toldAt) >= tellEvery {
		c.told, c.toldAt = s, now
		return s, true
	}
	return s, false
}
