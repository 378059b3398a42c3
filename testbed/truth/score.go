package truth

import (
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
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
	Mode         Mode          `json:"mode"`
	Rows         []Row         `json:"rows"`
	Total        Row           `json:"total"`
	Extra        int           `json:"extra"` // sessions that nobody caused
	Requirements []Requirement `json:"requirements"`
	OK           bool          `json:"ok"`
	// Failures explains every deed that counts against a requirement.
	Failures []Failure `json:"failures,omitempty"`
}

// Failure is one deed that was missed or misjudged, or a session too many.
type Failure struct {
	What    string           `json:"what"`
	Deed    *Deed            `json:"deed,omitempty"`
	Session *session.Session `json:"session,omitempty"`
}

// String is one line; the JSON form has everything.
func (f Failure) String() string {
	line := f.What
	if d := f.Deed; d != nil {
		line += fmt.Sprintf(": %s, nonce %s, process %s", d.Door, d.Nonce, d.Process)
		for _, p := range d.By {
			line += ", truly by " + p.String()
		}
	}
	if s := f.Session; s != nil {
		line += fmt.Sprintf("; session %s: %s %s %s", s.ID, s.Kind, s.Channel, s.Attribution.Level)
		if s.Actor.UID != nil {
			line += ", " + Person{UID: *s.Actor.UID, Login: s.Actor.LoginUID, PIDs: []uint32{s.Actor.PID}}.String()
		}
		line += fmt.Sprintf(", %d candidates", len(s.Attribution.Candidates))
	}
	return line
}

// ticksPerSecond is the unit of start times in /proc (USER_HZ, 100 on every
// Linux architecture Go runs on): the harness knows start times this exactly.
const ticksPerSecond = 100

// TruncateStart brings a start time in nanoseconds to the precision of /proc.
func TruncateStart(ns uint64) uint64 {
	const tick = 1e9 / ticksPerSecond
	return ns / tick * tick
}

// index finds the sessions of deeds.
type index struct {
	process map[event.ProcessID][]*session.Session
	exec    map[event.ExecID][]*session.Session
	exit    map[exitKey][]*session.Session
}

type exitKey struct {
	container event.ContainerID
	code      int
}

func newIndex(sessions []session.Session) index {
	x := index{
		process: make(map[event.ProcessID][]*session.Session),
		exec:    make(map[event.ExecID][]*session.Session),
		exit:    make(map[exitKey][]*session.Session),
	}
	for i := range sessions {
		s := &sessions[i]
		for _, p := range s.Processes {
			id := event.ProcessID{PID: p.ID.PID, Start: TruncateStart(p.ID.Start)}
			x.process[id] = append(x.process[id], s)
		}
		if s.ExecID != "" {
			x.exec[s.ExecID] = append(x.exec[s.ExecID], s)
		}
		if s.ExitCode != nil {
			k := exitKey{s.Target.ContainerID, *s.ExitCode}
			x.exit[k] = append(x.exit[k], s)
		}
	}
	return x
}

func (x index) find(d *Deed) []*session.Session {
	switch {
	case !d.Process.IsZero():
		return x.process[d.Process]
	case d.ExecID != "":
		return x.exec[d.ExecID]
	default:
		return x.exit[exitKey{d.Container, d.ExitCode}]
	}
}

// Score compares deeds with sessions. Sessions in other containers than watched
// are ignored, and so are those that deeds do not describe: attaches, copies,
// the start of a watched container itself, and what began after until, when the
// harness stopped taking notes.
func Score(mode Mode, deeds []Deed, sessions []session.Session, watched []event.ContainerID, until time.Time) Result {
	sessions = slices.DeleteFunc(slices.Clone(sessions), func(s session.Session) bool { return s.SupersededBy != "" })
	x := newIndex(sessions)
	rows := make(map[Door]*Row)
	claimed := make(map[session.ID]bool)
	res := Result{Mode: mode}
	for i := range deeds {
		d := &deeds[i]
		if rows[d.Door] == nil {
			rows[d.Door] = &Row{Door: d.Door}
		}
		found := x.find(d)
		for _, s := range found {
			claimed[s.ID] = true
		}
		res.Failures = append(res.Failures, judge(mode, rows[d.Door], d, found)...)
	}
	for i := range sessions {
		s := &sessions[i]
		if !claimed[s.ID] && slices.Contains(watched, s.Target.ContainerID) && described(s.Kind) && s.Started.Before(until) {
			res.Extra++
			res.Failures = append(res.Failures, Failure{What: "nobody did this", Session: s})
		}
	}
	for _, door := range Doors {
		if r := rows[door]; r != nil {
			res.Rows = append(res.Rows, *r)
			res.Total.add(*r)
		}
	}
	res.require()
	return res
}

func described(k session.Kind) bool {
	return k != session.KindAttach && k != session.KindCopy && k != session.KindStart
}

// judge puts one deed into its row.
func judge(mode Mode, r *Row, d *Deed, found []*session.Session) []Failure {
	r.Deeds++
	if len(found) == 0 {
		return []Failure{{What: "not found", Deed: d}}
	}
	r.Found++
	s := found[0]
	var failures []Failure
	if len(found) > 1 {
		r.Misfiled++
		failures = append(failures, Failure{What: fmt.Sprintf("in %d sessions", len(found)), Deed: d, Session: found[1]})
	}
	if want := d.Door.expected(); !files(want, s) {
		r.Misfiled++
		what := fmt.Sprintf("filed as %s %s, is %s %v", s.Kind, s.Channel, want.kind, want.channels)
		failures = append(failures, Failure{What: what, Deed: d, Session: s})
	}
	if why := wrong(d, s); why != "" {
		r.Wrong++
		return append(failures, Failure{What: "wrong: " + why, Deed: d, Session: s})
	}
	enough := true
	switch s.Attribution.Level {
	case session.LevelExact:
		r.Exact++
	case session.LevelStrong:
		r.Strong++
	case session.LevelSet:
		r.Set++
		enough = mode == Off
	default:
		r.None++
		enough = false
	}
	if !enough && d.Door.expected().exec {
		failures = append(failures, Failure{What: "only " + string(s.Attribution.Level), Deed: d, Session: s})
	}
	return failures
}

// files says whether a session's kind and channel are right. A health check and
// an exec of the same argv cannot be told apart without knowing who asked:
// then a set that names the daemon and people is the right answer under either
// heading.
func files(want expected, s *session.Session) bool {
	if s.Kind == want.kind && slices.Contains(want.channels, s.Channel) {
		return true
	}
	docker := want.exec || want.kind == session.KindHealthcheck
	either := s.Kind == session.KindExec || s.Kind == session.KindHealthcheck
	known := s.Attribution.Level == session.LevelExact || s.Attribution.Level == session.LevelStrong
	return docker && either && !known
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
			if mistaken(d, c) == "" {
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

// mistaken says why a is not who did d, "" when it is.
func mistaken(d *Deed, a session.Actor) string {
	if len(d.By) == 0 {
		if a.Kind == session.ActorNone && a.Service != "" {
			return ""
		}
		return fmt.Sprintf("%s named, the daemon did it by itself", a.Kind)
	}
	if a.Kind != session.ActorUnix {
		return fmt.Sprintf("%s named, a person did it", a.Kind)
	}
	for _, p := range d.By {
		if p.is(a) {
			return ""
		}
	}
	return "another person or process named"
}

// is says whether a is p: by uid, login uid and, where it is known, process.
func (p Person) is(a session.Actor) bool {
	if a.UID == nil || *a.UID != p.UID {
		return false
	}
	if (a.LoginUID == nil) != (p.Login == nil) || a.LoginUID != nil && *a.LoginUID != *p.Login {
		return false
	}
	return a.PID == 0 || len(p.PIDs) == 0 || slices.Contains(p.PIDs, a.PID)
}

// require states what the mode must reach.
func (r *Result) require() {
	t := r.Total
	var exec Row
	for _, row := range r.Rows {
		if row.Door.expected().exec {
			exec.add(row)
		}
	}
	known := percent(exec.Exact+exec.Strong, exec.Deeds)
	besides := Row{}
	for _, row := range r.Rows {
		if row.Door == Ctr {
			besides = row
		}
	}
	tied := percent(besides.Exact, besides.Deeds)
	r.Requirements = []Requirement{
		{"sessions found", percent(t.Found, t.Deeds), "%", "100", t.Found == t.Deeds},
		{"wrong", float64(t.Wrong), "", "0", t.Wrong == 0},
		{"misfiled", float64(t.Misfiled), "", "0", t.Misfiled == 0},
		{"sessions that nobody caused", float64(r.Extra), "", "0", r.Extra == 0},
	}
	switch r.Mode {
	case Always:
		r.Requirements = append(r.Requirements,
			Requirement{"docker exec exact or strong", known, "%", ">= 99", known >= 99},
			Requirement{"ctr task exec exact", tied, "%", ">= 99", besides.Deeds == 0 || tied >= 99})
	case Auto:
		r.Requirements = append(r.Requirements,
			Requirement{"docker exec exact or strong", known, "%", ">= 95", known >= 95},
			Requirement{"ctr task exec exact", tied, "%", ">= 95", besides.Deeds == 0 || tied >= 95})
	case Off:
		inside := percent(exec.Exact+exec.Strong+exec.Set, exec.Deeds)
		r.Requirements = append(r.Requirements, Requirement{"docker exec, true actor named or in the set", inside, "%", "100", inside == 100})
	}
	r.OK = len(r.Rows) > 0
	for _, q := range r.Requirements {
		r.OK = r.OK && q.OK
	}
}

func percent(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return 100 * float64(n) / float64(of)
}
