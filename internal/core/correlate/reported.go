package correlate

import (
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// What a log tells of a process is less than what the kernel sensor sees: it is
// a selection, and the way in is known only as far as the parents are. Nothing
// follows from what it does not tell.

// reported reports whether a log told of n, and not the kernel sensor.
func (n *entry) reported() bool { return n.fact != nil && n.fact.Witness.Log() }

// teller returns what is known of the witness that told of n.
func (c *coverage) teller(n *entry) event.WitnessState {
	if s := c.at(n.fact.Witness, n.born()); s != nil {
		return *s
	}
	return event.WitnessState{Header: event.Header{Witness: n.fact.Witness}}
}

// unsure says of a session that seems to run that nobody knows, when only logs
// tell of it that need not tell of ends.
func (c *coverage) unsure(s *session.Session, n *entry, docker []event.DockerEvent) {
	if s.State != session.StateRunning {
		return
	}
	silent := func(w event.Witness, t time.Time) bool {
		at := c.at(w, t)
		return w.Log() && at != nil && at.NoExits
	}
	switch {
	case n != nil && n.fact != nil && silent(n.fact.Witness, n.born()):
		s.State = session.StateUnknown
	case n == nil && len(docker) > 0:
		for _, ev := range docker {
			if !silent(ev.Witness, ev.Time) {
				return
			}
		}
		s.State = session.StateUnknown
	}
}

// lacks says in words what rests on a log only.
func (c *coverage) lacks(n *entry) string {
	w := c.teller(n)
	out := "the processes are those that the log of " + string(w.Witness) + " has, and perhaps not all"
	if len(w.Lacks) > 0 {
		out += "; it does not tell " + strings.Join(w.Lacks, ", ")
	}
	return out
}

// classifyReported says by which way an entry came that a log told of. Only
// somebody who calls a runtime by hand shows in the parents that a log has.
func (n *entry) classifyReported(e *Engine, s *session.Session, runtime int, byShim bool) {
	s.Kind, s.Channel = session.KindExec, event.ChannelUnknown
	if n.fact.Cause == event.EntryStart {
		s.Kind = session.KindStart
	}
	none(s)
	switch {
	case runtime >= 0 && !byShim && runtime+1 < len(n.fact.Lineage) && isNamed(n.fact.Lineage[runtime+1]):
		s.Kind, s.Channel = session.KindRuntime, event.ChannelRuntimeRunc
		s.Unexplained = session.Unexplained{Is: true, Reason: byHand}
		e.attributeLineage(n, runtime, s)
	case runtime < 0 && !startedByShim(n):
		s.Gaps = append(s.Gaps, "how it came in is not known: the log does not show what started it from outside")
	case !e.coverage.doorWatched(n.born()):
		s.Gaps = append(s.Gaps, "a runtime started it; no service was watched, so who asked is not known")
	case !e.settled(n.born()):
	default:
		s.Unexplained = session.Unexplained{Is: true, Reason: byRuntime}
	}
}

// isNamed reports whether anything but the pid of a is known.
func isNamed(a event.Ancestor) bool { return a.Exe != "" || a.Comm != "" }

// startedByShim reports whether the nearest parent is a shim: the runtime
// between them was gone when the log looked, or has no record.
func startedByShim(n *entry) bool { return len(n.fact.Lineage) > 0 && isShim(n.fact.Lineage[0]) }

// joinedFits reports whether a command of which only a joined form is known can
// be argv. Blanks and quotes are not compared, nor what stands for argv[0]: some
// logs put the program's path there. What does not speak against it fits.
func joinedFits(argv []string, joined string) bool {
	if len(argv) == 0 {
		return false
	}
	if squeeze(strings.Join(argv, "")) == squeeze(joined) {
		return true
	}
	_, rest, _ := strings.Cut(joined, " ")
	return squeeze(strings.Join(argv[1:], "")) == squeeze(rest)
}

// squeeze leaves out what joining may have added or lost.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\n', '\r', '"', '\'', '\\':
			return -1
		}
		return r
	}, s)
}
