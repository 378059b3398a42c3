package correlate

import "time"

// How long before its process an exec can have been asked for. The runtime
// begins an exec_sync at once. With an exec_stream it would wait half a minute
// for the client to open the streams; one that waits for long is not matched
// with its request.
const (
	syncLag   = 2 * time.Second
	streamLag = 5 * time.Second
)

// lags are those for commands of some moment. On a node that has too much to do
// everything takes longer, and a request that is left out would have another's
// process put down to the one beside it. How slow a node is shows in how long execs
// take from being made to running, which nobody can be wrong about.
type lags struct{ sync, stream time.Duration }

const (
	// paceFactor is how much longer than that a request may have taken to be made
	// an exec. In storms on overloaded nodes it was up to three times as long.
	paceFactor = 6
	// paceReach is how far around a moment an exec tells of it.
	paceReach = 15
)

// pace is, by the second, how long the slowest exec took that was made in it. Those
// that are quick enough to change nothing are left out.
type pace map[int64]time.Duration

// note takes down how long x took.
func (p pace) note(x *exec) {
	if x.added == nil || x.started == nil {
		return
	}
	took := x.started.Time.Sub(x.added.Time)
	if s := x.added.Time.Unix(); took*paceFactor > syncLag && took > p[s] {
		p[s] = took
	}
}

func (p pace) forget(before time.Time) {
	for s := range p {
		if s < before.Unix() {
			delete(p, s)
		}
	}
}

// lags returns those of commands at t.
func (p pace) lags(t time.Time) lags {
	l := lags{syncLag, streamLag}
	if len(p) == 0 {
		return l
	}
	var slowest time.Duration
	for s := t.Unix() - paceReach; s <= t.Unix()+paceReach; s++ {
		slowest = max(slowest, p[s])
	}
	l.sync = min(max(l.sync, slowest*paceFactor), streamWait)
	l.stream = min(max(l.stream, l.sync+streamLag-syncLag), streamWait)
	return l
}
