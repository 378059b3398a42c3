package truth

import (
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/internal/core/session"
)

// Row is the score of one door in one mode. Every deed is in exactly one of
// Exact, Strong, Set, None, Wrong and (Deeds - Found).
type Row struct {
	Door   Door `json:"door"`
	Deeds  int  `json:"deeds"`
	Found  int  `json:"found"`
	Exact  int  `json:"exact"`
	Strong int  `json:"strong"`
	Set    int  `json:"set"`
	None   int  `json:"none"`
	// Wrong counts sessions that name somebody else, or a set without the true
	// actor.
	Wrong int `json:"wrong"`
	// Misfiled counts sessions whose kind or channel is not the deed's, or
	// that are in two sessions.
	Misfiled int `json:"misfiled"`
	// Unexplained counts sessions of None and Set that are shown as such.
	Unexplained int `json:"unexplained,omitempty"`
	// Disguised counts sessions that pass for what a daemon runs by itself.
	Disguised int `json:"disguised,omitempty"`
}

func (r *Row) add(o Row) {
	r.Deeds += o.Deeds
	r.Found += o.Found
	r.Exact += o.Exact
	r.Strong += o.Strong
	r.Set += o.Set
	r.None += o.None
	r.Wrong += o.Wrong
	r.Misfiled += o.Misfiled
	r.Unexplained += o.Unexplained
	r.Disguised += o.Disguised
}

// Requirement is one line of what must hold.
type Requirement struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target string  `json:"target"`
	OK     bool    `json:"ok"`
}

// Result is the score of one mode.
type Result struct {
	Mode  Mode  `json:"mode"`
	Rows  []Row `json:"rows"`
	Total Row   `json:"total"`
	Extra int   `json:"extra"` // sessions that nobody caused
	// WrongBefore counts sessions that named somebody else in any revision.
	WrongBefore  int           `json:"wrong_before"`
	Requirements []Requirement `json:"requirements"`
	OK           bool          `json:"ok"`
	// Failures explains every deed that counts against a requirement.
	Failures []Failure `json:"failures,omitempty"`
}

// Score compares what truly happened with sessions. Sessions in other containers
// than the stage's are ignored, and so are those that deeds do not describe:
// attaches, copies, the start of a watched container itself, and what began
// after the stage's end. A name that was wrong in any of the revisions counts,
// also when a later one took it back.
func Score(sheet Sheet, stage Stage, sessions, revisions []session.Session) Result {
	sessions = slices.DeleteFunc(slices.Clone(sessions), func(s session.Session) bool { return s.SupersededBy != "" })
	x := newIndex(sessions)
	rows := make(map[Door]*Row)
	claimed := make(map[session.ID]bool)
	res := Result{Mode: sheet.Mode}
	history := make(map[session.ID][]*session.Session)
	for i := range revisions {
		history[revisions[i].ID] = append(history[revisions[i].ID], &revisions[i])
	}
	for i := range stage.Deeds {
		d := &stage.Deeds[i]
		if rows[d.Door] == nil {
			rows[d.Door] = &Row{Door: d.Door}
		}
		found := x.find(d)
		for _, s := range found {
			claimed[s.ID] = true
			if f, ok := wrongBefore(d, history[s.ID]); ok {
				res.WrongBefore++
				res.Failures = append(res.Failures, f)
			}
		}
		res.Failures = append(res.Failures, judge(sheet.Expect(d.Door), rows[d.Door], d, found)...)
	}
	for i := range sessions {
		s := &sessions[i]
		if !claimed[s.ID] && slices.Contains(stage.Watched, s.Target.ContainerID) && described(s.Kind) && s.Started.Before(stage.Until) {
			res.Extra++
			res.Failures = append(res.Failures, Failure{What: "nobody did this", Session: s})
		}
	}
	for _, door := range sheet.Doors {
		if r := rows[door]; r != nil {
			res.Rows = append(res.Rows, *r)
			res.Total.add(*r)
		}
	}
	res.require(sheet)
	return res
}

// wrongBefore finds the first revision of a deed's session that named somebody
// else. A set that was still growing is not a name.
func wrongBefore(d *Deed, revisions []*session.Session) (Failure, bool) {
	for _, s := range revisions {
		if why := wrong(d, s); why != "" && s.Attribution.Level != session.LevelSet {
			return Failure{What: fmt.Sprintf("wrong in revision %d: %s", s.Revision, why), Deed: d, Session: s}, true
		}
	}
	return Failure{}, false
}

func described(k session.Kind) bool {
	return k != session.KindAttach && k != session.KindCopy && k != session.KindStart
}

// judge puts one deed into its row.
func judge(want Expected, r *Row, d *Deed, found []*session.Session) []Failure {
	r.Deeds++
	if len(found) == 0 {
		return []Failure{{What: "not found", Deed: d}}
	}
	r.Found++
	s := found[0]
	failures := file(want, r, d, found)
	if why := wrong(d, s); why != "" {
		r.Wrong++
		return append(failures, Failure{What: "wrong: " + why, Deed: d, Session: s})
	}
	level := levelOf(d, s)
	switch level {
	case session.LevelExact:
		r.Exact++
	case session.LevelStrong:
		r.Strong++
	case session.LevelSet:
		r.Set++
	default:
		r.None++
	}
	if s.Unexplained.Is && weaker(level, session.LevelStrong) {
		r.Unexplained++
	}
	if weaker(level, want.Least) {
		failures = append(failures, Failure{What: "only " + string(level), Deed: d, Session: s})
	}
	return failures
}

// file says what is wrong with where a deed's sessions are filed.
func file(want Expected, r *Row, d *Deed, found []*session.Session) (failures []Failure) {
	if len(found) > 1 && !want.Many {
		r.Misfiled++
		failures = append(failures, Failure{What: fmt.Sprintf("in %d sessions", len(found)), Deed: d, Session: found[1]})
	}
	for _, s := range found {
		if want.disguised(s) {
			r.Disguised++
			failures = append(failures, Failure{What: "passes for what a daemon runs by itself", Deed: d, Session: s})
		}
		if !want.files(s) {
			r.Misfiled++
			what := fmt.Sprintf("filed as %s %s, is %v %v", s.Kind, s.Channel, want.Kinds, want.Channels)
			failures = append(failures, Failure{What: what, Deed: d, Session: s})
		}
	}
	return failures
}

// levelOf is how well the session of a deed is attributed. A set that leaves
// room for somebody unknown, and is without the true actor, is no more than an
// honest none.
func levelOf(d *Deed, s *session.Session) session.Level {
	l := s.Attribution.Level
	if l == session.LevelSet && !slices.ContainsFunc(s.Attribution.Candidates, func(a session.Actor) bool { return mistaken(d, a) == "" }) {
		return session.LevelNone
	}
	return l
}

// wrong says what is false about a session's attribution, "" when nothing is.
func wrong(d *Deed, s *session.Session) string {
	switch s.Attribution.Level {
	case session.LevelExact, session.LevelStrong:
		return mistaken(d, s.Actor)
	case session.LevelSet:
		if named(s.Actor) {
			return "a set, and yet an actor"
		}
		for _, c := range s.Attribution.Candidates {
			if mistaken(d, c) == "" || anybody(c) {
				return ""
			}
		}
		return "the true actor is not in the set"
	case session.LevelNone:
		if named(s.Actor) {
			return "no attribution, and yet an actor"
		}
		return ""
	default:
		return fmt.Sprintf("unknown level %q", s.Attribution.Level)
	}
}

// named says whether a is anybody at all: the daemon counts.
func named(a session.Actor) bool {
	return a.Kind != session.ActorNone && a.Kind != "" || a.Service != ""
}

// anybody says whether a is a candidate of whom nothing is known.
func anybody(a session.Actor) bool { return !named(a) && a.Address == "" }

// mistaken says why a is not who did d, "" when it is.
func mistaken(d *Deed, a session.Actor) string {
	if len(d.By) == 0 {
		if a.Kind == session.ActorNone && a.Service != "" {
			return ""
		}
		return fmt.Sprintf("%s named, the daemon did it by itself", a.Kind)
	}
	if a.Kind != session.ActorUnix && a.Kind != session.ActorKubernetes {
		return fmt.Sprintf("%s named, a person did it", a.Kind)
	}
	for _, p := range d.By {
		if p.is(a) {
			return ""
		}
	}
	return "another person or process named"
}

// is says whether a is p: by uid, login uid and, where it is known, process; or
// by the name that Kubernetes knows.
func (p Person) is(a session.Actor) bool {
	if p.User != "" {
		by := ""
		if a.Impersonator != nil {
			by = a.Impersonator.User
		}
		return a.Kind == session.ActorKubernetes && a.User == p.User && by == p.Impersonator
	}
	if a.UID == nil || *a.UID != p.UID {
		return false
	}
	if (a.LoginUID == nil) != (p.Login == nil) || a.LoginUID != nil && *a.LoginUID != *p.Login {
		return false
	}
	return a.PID == 0 || len(p.PIDs) == 0 || slices.Contains(p.PIDs, a.PID)
}
