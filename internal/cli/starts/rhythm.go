package starts

import (
	"slices"
	"time"
)

// rhythm tells when the kubelet is about to run a command of a container by
// itself. It runs probes by a ticker, so the next comes a period after the one
// before.
type rhythm struct {
	since time.Time              // when the container was first heard of
	seen  map[string][]time.Time // by argv, when one was asked for; the latest few
}

const (
	// rhythmSlack is how late a probe may be.
	rhythmSlack = 50 * time.Millisecond
	rhythmSeen  = 8
	// rhythmMax bounds the commands remembered: a container has few probes, but who
	// is at the runtime's socket can ask for anything in their manner.
	rhythmMax = 64
)

// beat notes that a probe was asked for.
func (r *rhythm) beat(argv string, t time.Time) {
	if r.seen[argv] == nil && len(r.seen) >= rhythmMax {
		return
	}
	if r.seen == nil {
		r.seen = map[string][]time.Time{}
	}
	list := append(r.seen[argv], t)
	r.seen[argv] = list[max(0, len(list)-rhythmSeen):]
}

// due reports whether a probe with argv, of which the specification has one every
// so often, may come at t or within lead. One that has come is not due any more.
func (r *rhythm) due(argv string, every []time.Duration, t time.Time, lead time.Duration) bool {
	for _, s := range r.seen[argv] {
		for _, p := range every {
			next := s.Add(p)
			if t.Before(next.Add(-lead)) || t.After(next.Add(rhythmSlack)) {
				continue
			}
			if !r.came(argv, next) {
				return true
			}
		}
	}
	return false
}

// strange reports whether not all probes with argv have come yet of a container that
// was heard of less than a period ago: nobody knows when the others will. Later,
// those that have not come do not run.
func (r *rhythm) strange(argv string, every []time.Duration, t time.Time) bool {
	return len(r.seen[argv]) < len(every) && t.Sub(r.since) < slices.Max(every)+rhythmSlack
}

func (r *rhythm) came(argv string, due time.Time) bool {
	for _, s := range r.seen[argv] {
		if !s.Before(due.Add(-rhythmSlack)) {
			return true
		}
	}
	return false
}
