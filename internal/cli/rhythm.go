package cli

import "time"

// rhythm tells when the kubelet is about to run a command of a container by
// itself. It runs probes by a ticker, so the next comes a period after the one
// before.
type rhythm struct {
	periods map[string][]time.Duration // by argv, of the pod's specification
	seen    map[string][]time.Time     // when one was asked for; the latest few
}

const (
	// rhythmLead is how long before a probe is due a request for the same command
	// is better held: as long as it takes, from its leave, to have its exec.
	rhythmLead = 200 * time.Millisecond
	// rhythmSlack is how late a probe may be.
	rhythmSlack = 50 * time.Millisecond
	rhythmSeen  = 8
)

// beat notes that a probe was asked for.
func (r *rhythm) beat(argv string, t time.Time) {
	if len(r.periods[argv]) == 0 {
		return
	}
	if r.seen == nil {
		r.seen = map[string][]time.Time{}
	}
	list := append(r.seen[argv], t)
	r.seen[argv] = list[max(0, len(list)-rhythmSeen):]
}

// due reports whether a probe with argv may come about t. One that has come is not
// due any more.
func (r *rhythm) due(argv string, t time.Time) bool {
	for _, s := range r.seen[argv] {
		for _, p := range r.periods[argv] {
			next := s.Add(p)
			if t.Before(next.Add(-rhythmLead)) || t.After(next.Add(rhythmSlack)) {
				continue
			}
			if !r.came(argv, next) {
				return true
			}
		}
	}
	return false
}

func (r *rhythm) came(argv string, due time.Time) bool {
	for _, s := range r.seen[argv] {
		if !s.Before(due.Add(-rhythmSlack)) {
			return true
		}
	}
	return false
}
