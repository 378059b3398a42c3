package truth

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Sheet says how the deeds of a storm are scored.
type Sheet struct {
	Mode    Mode
	Doors   []Door              // in the order of the table
	Expect  func(Door) Expected // what sessions of a door look like
	Require func(Result) []Requirement
}

// Expected says what the sessions of a door look like.
type Expected struct {
	Kinds    []session.Kind
	Channels []event.Channel
	// Counts says that the required shares count it: somebody asked a service
	// for it. Least is the level below which it is listed as a failure.
	Counts bool
	Least  session.Level
	// Unsure are the kinds under which it may be filed while nobody is known.
	Unsure []session.Kind
	// Beside says that it went in beside the service that knows people: it must
	// be attributed, or shown as unexplained.
	Beside bool
	// Many says that several sessions tell of it, each in its own right.
	Many bool
}

// files says whether a session's kind and channel are right. What a daemon runs
// by itself, and the same command asked for, cannot be told apart without
// knowing who asked: then a set is the right answer under either heading.
func (want Expected) files(s *session.Session) bool {
	if slices.Contains(want.Kinds, s.Kind) && slices.Contains(want.Channels, s.Channel) {
		return true
	}
	return slices.Contains(want.Unsure, s.Kind) && weaker(s.Attribution.Level, session.LevelStrong)
}

// itself are the kinds of what daemons run by themselves.
var itself = []session.Kind{session.KindHealthcheck, session.KindProbe, session.KindHook}

// disguised says whether what somebody did passes for what a daemon did.
func (want Expected) disguised(s *session.Session) bool {
	mine := slices.ContainsFunc(want.Kinds, func(k session.Kind) bool { return slices.Contains(itself, k) })
	return !mine && slices.Contains(itself, s.Kind) && !weaker(s.Attribution.Level, session.LevelStrong)
}

var levels = []session.Level{session.LevelNone, session.LevelSet, session.LevelStrong, session.LevelExact}

// weaker compares levels; nothing is weaker than "".
func weaker(a, b session.Level) bool { return slices.Index(levels, a) < slices.Index(levels, b) }

// require states what must be reached, and whether it is.
func (r *Result) require(sheet Sheet) {
	t := r.Total
	r.Requirements = append([]Requirement{
		{"sessions found", Percent(t.Found, t.Deeds), "%", "100", t.Found == t.Deeds},
		{"wrong", float64(t.Wrong), "", "0", t.Wrong == 0},
		{"wrong in any revision", float64(r.WrongBefore), "", "0", r.WrongBefore == 0},
		{"misfiled", float64(t.Misfiled), "", "0", t.Misfiled == 0},
		{"sessions that nobody caused", float64(r.Extra), "", "0", r.Extra == 0},
	}, sheet.Require(*r)...)
	r.OK = len(r.Rows) > 0
	for _, q := range r.Requirements {
		r.OK = r.OK && q.OK
	}
}

// Sum adds up the rows of the doors that choose chooses.
func (r Result) Sum(choose func(Door) bool) Row {
	var sum Row
	for _, row := range r.Rows {
		if choose(row.Door) {
			sum.add(row)
		}
	}
	return sum
}

// Percent is n of so many, in percent; 0 of nothing.
func Percent(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return 100 * float64(n) / float64(of)
}
