package starts

import (
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// entrance tells which of the commands that the runtime was asked to run in one
// container have begun. It has no clock: what comes of several witnesses is put
// in order of time, in whatever order they tell of it.
type entrance struct {
	marks []mark // by time
}

// mark is one thing that was seen of a command: that the runtime was asked for
// it, that it made some exec, or that a process ran a command.
type mark struct {
	at    time.Time
	what  markKind
	argv  string
	asked askedAs
	told  bool // it has begun, and that was said
	// process is who ran it. What it runs after that, as a script does that ends with
	// exec, nobody asked the runtime for.
	process event.ProcessID
}

// askedAs is how the runtime was asked for a command.
type askedAs uint8

const (
	asStream askedAs = iota // as the API server's clients do
	asRun                   // by nodes/proxy, or for a lifecycle hook
	asProbe
)

type markKind uint8

const (
	markAsked markKind = iota
	markMade
	markRan
)

const (
	// entranceKeep is how long after the latest mark an older one counts: what
	// has not begun by then has failed.
	entranceKeep = 10 * time.Second
	entranceMax  = 256
)

// begun is a command that was not asked for as a probe and has begun.
type begun struct {
	argv []string
	at   time.Time // when it was asked for, or when it ran and nobody was seen asking
	run  bool      // asked for as asRun
}

func joined(argv []string) string { return strings.Join(argv, "\x00") }

// add notes m and returns what has begun by now and was not told before.
func (e *entrance) add(m mark) []begun {
	if m.what == markRan && slices.ContainsFunc(e.marks, func(o mark) bool { return o.what == markRan && o.process == m.process }) {
		return nil
	}
	i, _ := slices.BinarySearchFunc(e.marks, m.at, func(m mark, t time.Time) int { return m.at.Compare(t) })
	e.marks = slices.Insert(e.marks, i, m)
	newest := e.marks[len(e.marks)-1].at
	old := 0
	for old < len(e.marks) && (newest.Sub(e.marks[old].at) > entranceKeep || len(e.marks)-old > entranceMax) {
		old++
	}
	e.marks = slices.Delete(e.marks, 0, old)
	return e.tell()
}

// tell goes over all marks. When as many execs were made as were asked for up to
// some moment, all of those have begun; so have all of one argv when as many
// processes ran it. A process that nobody was seen asking for speaks for itself.
func (e *entrance) tell() (out []begun) {
	var open []*mark
	asked, made := 0, 0
	ran := map[string]int{} // less those asked for
	begin := func(which func(*mark) bool) {
		open = slices.DeleteFunc(open, func(m *mark) bool {
			if which(m) && !m.told {
				m.told = true
				if m.asked != asProbe {
					out = append(out, begun{strings.Split(m.argv, "\x00"), m.at, m.asked == asRun})
				}
			}
			return which(m)
		})
	}
	for i := range e.marks {
		m := &e.marks[i]
		switch m.what {
		case markAsked:
			asked++
			ran[m.argv]--
			open = append(open, m)
		case markMade:
			if made < asked {
				made++
			}
			if made == asked {
				asked, made = 0, 0
				begin(func(*mark) bool { return true })
			}
		case markRan:
			if ran[m.argv]++; ran[m.argv] == 0 {
				begin(func(o *mark) bool { return o.argv == m.argv })
			} else if ran[m.argv] > 0 {
				ran[m.argv] = 0
				if !m.told {
					m.told = true
					out = append(out, begun{argv: strings.Split(m.argv, "\x00"), at: m.at})
				}
			}
		}
	}
	return out
}

// pending reports whether the kubelet has asked for argv by itself, and it has
// not begun.
func (e *entrance) pending(argv string) bool {
	return slices.ContainsFunc(e.marks, func(m mark) bool { return m.what == markAsked && m.asked != asStream && !m.told && m.argv == argv })
}
