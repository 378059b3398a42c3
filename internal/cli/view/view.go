// Package view is how sessions and findings look to a person: in tables, in lines as they
// come, and one by one.
package view

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

// Renderer turns sessions into text for a person. Every string of a session
// passes through package printable on its way.
type Renderer struct {
	Palette terminal.Palette
	Width   int // 0: any
	Zone    *time.Location
	// State is the flag that a command needs to find the sessions again; "" for none.
	State string
}

// Of returns the renderer for the terminal of a command.
func Of(env *terminal.Env) Renderer {
	return Renderer{Palette: env.Palette(), Width: env.Width(), Zone: time.Local}
}

// The layouts of times for a person.
const (
	TimeInTable = "01-02 15:04:05"
	TimeOfDay   = "15:04:05"
	TimeExact   = "2006-01-02 15:04:05.000000000 -07:00"
)

var sessionColumns = []terminal.Column{
	{Title: "ID"},
	{Title: "STARTED", Drop: 2},
	{Title: "KIND", Drop: 1},
	{Title: "CHANNEL", Drop: 3},
	{Title: "ACTOR", Least: 10},
	{Title: "KNOWN", Drop: 4},
	{Title: "CONTAINER", Least: 8},
	{Title: "COMMAND", Least: 8},
	{Title: "STATE"},
	{Title: "UNEXPLAINED", Least: 6},
}

// ShortID is the beginning of an id that tables show: 50 bits, enough for any
// one store, and every command takes it.
func ShortID(id session.ID) string { return string(id[:min(10, len(id))]) }

// table prints sessions, one a line.
func (r Renderer) table(w io.Writer, sessions []Row) error {
	t := terminal.Table{Columns: sessionColumns}
	for i := range sessions {
		t.Rows = append(t.Rows, r.row(&sessions[i].Session, sessions[i].times))
	}
	return t.Write(w, r.Width, r.Palette)
}

func (r Renderer) row(s *session.Session, times int) []terminal.Cell {
	state := outcome(s)
	if times > 1 {
		state.Text += " ×" + strconv.Itoa(times)
	}
	return []terminal.Cell{
		{Text: ShortID(s.ID), Style: terminal.Bold},
		{Text: s.Started.In(r.Zone).Format(TimeInTable)},
		{Text: string(s.Kind)},
		{Text: string(s.Channel)},
		{Text: who(s)},
		{Text: string(s.Attribution.Level), Style: LevelStyle(s.Attribution.Level)},
		{Text: Container(s)},
		{Text: Command(s)},
		state,
		{Text: unexplained(s), Style: terminal.Bad},
	}
}

// LevelStyle is how well an actor is known.
func LevelStyle(l session.Level) terminal.Style {
	switch l {
	case session.LevelExact, session.LevelStrong:
		return terminal.Good
	case session.LevelSet:
		return terminal.Warn
	case session.LevelNone:
		return terminal.Dim
	}
	return terminal.Plain
}

// who names the actor in few words. It never names one of several candidates.
func who(s *session.Session) string {
	if n := len(s.Attribution.Candidates); s.Attribution.Level == session.LevelSet {
		return wording.Plural(n, "candidate")
	}
	return Actor(&s.Actor)
}

// Actor names an actor in few words.
func Actor(a *session.Actor) string {
	name := printable.Text(a.User)
	switch {
	case a.Service != "":
		return printable.Text(string(a.Service)) + " (by itself)"
	case name != "":
	case a.UID != nil:
		name = "uid " + strconv.FormatUint(uint64(*a.UID), 10)
	case a.Address != "":
		return printable.Text(a.Address)
	default:
		return "unknown"
	}
	if a.Impersonator != nil {
		name = printable.Text(a.Impersonator.User) + " as " + name
	}
	if len(a.Doubts) > 0 {
		name += " (?)"
	}
	if a.LoginUser != "" && a.LoginUser != a.User {
		name += " (login " + printable.Text(a.LoginUser) + ")"
	} else if a.LoginUID != nil && a.LoginUser == "" && (a.UID == nil || *a.LoginUID != *a.UID) {
		name += " (login uid " + strconv.FormatUint(uint64(*a.LoginUID), 10) + ")"
	}
	return name
}

// Container names a session's container: by its pod, where it has one.
func Container(s *session.Session) string {
	if t := &s.Target; t.Pod != "" || t.Workload != "" && t.ContainerID == "" {
		name := t.Workload
		if t.Pod != "" {
			name = t.Pod
		}
		if t.Pod != "" && t.ContainerName != "" {
			name += "/" + t.ContainerName
		}
		return printable.Text(t.Namespace + "/" + name)
	}
	if s.Target.ContainerName != "" {
		return printable.Text(s.Target.ContainerName)
	}
	return printable.Text(s.Target.ContainerID.Short())
}

// commandMax bounds the command in a line: argument lists can be megabytes.
const commandMax = 64 << 10

// Command returns what was asked for, or what ran when that is all there is.
func Command(s *session.Session) string {
	argv, joined := s.Argv, joinedArgv(s)
	if len(argv) == 0 && len(s.Processes) > 0 {
		argv, joined = s.Processes[0].Argv, s.Processes[0].ArgvJoined
	}
	if s.Kind == session.KindCopy {
		return "copy " + s.Direction + " " + printable.Text(s.Path)
	}
	if len(argv) > 0 {
		return processArgv(argv, joined)
	}
	switch s.Kind {
	case session.KindAttach, session.KindForward, session.KindIdentity, session.KindDoor:
		return "(" + string(s.Kind) + ")"
	case session.KindProxy, session.KindRequest:
		return "(" + string(s.Kind) + " " + printable.Text(s.Path) + ")"
	}
	return ""
}

// joinedArgv reports whether the command is one string, its quoting lost.
func joinedArgv(s *session.Session) bool { return s.ArgvSource == "event" || s.ArgvSource == "log" }

// Argv returns argv escaped and cut to commandMax bytes before that.
func Argv(argv []string) string {
	room := commandMax
	for i, arg := range argv {
		if room -= len(arg) + 1; room < 0 {
			short := append(append([]string(nil), argv[:i]...), arg[:len(arg)+room+1])
			return printable.Command(short) + "…"
		}
	}
	return printable.Command(argv)
}

func outcome(s *session.Session) terminal.Cell {
	switch {
	case s.State == session.StateEnded && s.ExitCode != nil && *s.ExitCode == 0:
		return terminal.Cell{Text: "exit 0"}
	case s.State == session.StateEnded && s.ExitCode != nil:
		return terminal.Cell{Text: "exit " + strconv.Itoa(*s.ExitCode), Style: terminal.Warn}
	case s.State == session.StateRunning:
		return terminal.Cell{Text: "running", Style: terminal.Good}
	case s.State == session.StateWaiting:
		return terminal.Cell{Text: "waiting", Style: terminal.Warn}
	case s.Decision != nil && s.Decision.Stopped:
		return terminal.Cell{Text: stoppedAs(s.Decision), Style: terminal.Bad}
	case s.State == session.StateFailed:
		return terminal.Cell{Text: "failed", Style: terminal.Warn}
	}
	return terminal.Cell{Text: string(s.State)}
}

// stoppedAs says in a word what a guard said to what it stopped.
func stoppedAs(d *session.Decision) string {
	if d.Effect == effect.Approve {
		return "not approved"
	}
	return "denied"
}

func unexplained(s *session.Session) string {
	if !s.Unexplained.Is {
		return ""
	}
	return "! " + printable.Text(s.Unexplained.Reason)
}

// Line returns a session as one line of live output.
func (r Renderer) Line(v session.Revision) string {
	s := &v.Session
	p := r.Palette
	at, state := s.Started, outcome(s)
	if s.Ended != nil {
		at = *s.Ended
		state.Text += " after " + wording.Duration(s.Ended.Sub(s.Started))
	}
	mark := ""
	if s.Unexplained.Is {
		mark = "  " + p.Paint(terminal.Bad, unexplained(s))
	}
	level := fmt.Sprintf("%-8s", "["+string(s.Attribution.Level)+"]")
	head := fmt.Sprintf("%s  %s  %-11s %-9s  %s %s -> %s  ",
		p.Paint(terminal.Dim, at.In(r.Zone).Format(TimeOfDay)), p.Paint(terminal.Bold, ShortID(s.ID)),
		s.Kind, s.Channel, pad(who(s), 14), p.Paint(LevelStyle(s.Attribution.Level), level), Container(s))
	if c := Command(s); c != "" {
		head += printable.Cut(c, r.room()) + "  "
	}
	return head + p.Paint(state.Style, state.Text) + mark
}

// pad fills text with blanks up to width columns.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-printable.Width(text)))
}

// room is how much of a command a live line shows.
func (r Renderer) room() int {
	if r.Width == 0 {
		return terminal.CellMax
	}
	return max(r.Width/2, 40)
}

// revision is the JSON form of a revision: the session, and what changed since
// the revision before.
type revision session.Revision

// MarshalJSON implements json.Marshaler.
func (r revision) MarshalJSON() ([]byte, error) {
	body, err := json.Marshal(r.Session)
	if err != nil {
		return nil, err
	}
	changed, err := json.Marshal(r.Changed)
	if err != nil {
		return nil, err
	}
	body = append(body[:len(body)-1], `,"changed":`...)
	return append(append(body, changed...), '}'), nil
}

// Sessions prints a table of sessions, or says on standard error that it is empty.
func Sessions(env *terminal.Env, r Renderer, rows []Row, empty string) error {
	if len(rows) == 0 {
		fmt.Fprintln(env.Stderr, empty)
		return nil
	}
	return r.table(env.Stdout, rows)
}
