package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

// renderer turns sessions into text for a person. Every string of a session
// passes through package printable on its way.
type renderer struct {
	palette palette
	width   int // 0: any
	zone    *time.Location
}

func newRenderer(env *environment) renderer {
	return renderer{palette: env.palette(), width: env.width(), zone: time.Local}
}

// The layouts of times for a person.
const (
	layoutTable = "01-02 15:04:05"
	layoutLive  = "15:04:05"
	layoutExact = "2006-01-02 15:04:05.000000000 -07:00"
)

var sessionColumns = []column{
	{title: "ID"},
	{title: "STARTED", drop: 2},
	{title: "KIND", drop: 1},
	{title: "CHANNEL", drop: 3},
	{title: "ACTOR", least: 10},
	{title: "KNOWN", drop: 4},
	{title: "CONTAINER", least: 8},
	{title: "COMMAND", least: 8},
	{title: "STATE"},
	{title: "UNEXPLAINED", least: 6},
}

// shortID is the beginning of an id that tables show: 50 bits, enough for any
// one store, and every command takes it.
func shortID(id session.ID) string { return string(id[:min(10, len(id))]) }

// table prints sessions, one a line.
func (r renderer) table(w io.Writer, sessions []repeated) error {
	t := table{columns: sessionColumns}
	for i := range sessions {
		t.rows = append(t.rows, r.row(&sessions[i].Session, sessions[i].times))
	}
	return t.write(w, r.width, r.palette)
}

func (r renderer) row(s *session.Session, times int) []cell {
	state := outcome(s)
	if times > 1 {
		state.text += " ×" + strconv.Itoa(times)
	}
	return []cell{
		{shortID(s.ID), styleBold},
		{s.Started.In(r.zone).Format(layoutTable), stylePlain},
		{string(s.Kind), stylePlain},
		{string(s.Channel), stylePlain},
		{who(s), stylePlain},
		{string(s.Attribution.Level), levelStyle(s.Attribution.Level)},
		{container(s), stylePlain},
		{command(s), stylePlain},
		state,
		{unexplained(s), styleBad},
	}
}

func levelStyle(l session.Level) style {
	switch l {
	case session.LevelExact, session.LevelStrong:
		return styleGood
	case session.LevelSet:
		return styleWarn
	case session.LevelNone:
		return styleDim
	}
	return stylePlain
}

// who names the actor in few words. It never names one of several candidates.
func who(s *session.Session) string {
	if n := len(s.Attribution.Candidates); s.Attribution.Level == session.LevelSet {
		return plural(n, "candidate")
	}
	return actorName(&s.Actor)
}

func actorName(a *session.Actor) string {
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

func container(s *session.Session) string {
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

// command returns what was asked for, or what ran when that is all there is.
func command(s *session.Session) string {
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

// shortCommand returns argv escaped and cut to commandMax bytes before that.
func shortCommand(argv []string) string {
	room := commandMax
	for i, arg := range argv {
		if room -= len(arg) + 1; room < 0 {
			short := append(append([]string(nil), argv[:i]...), arg[:len(arg)+room+1])
			return printable.Command(short) + "…"
		}
	}
	return printable.Command(argv)
}

func outcome(s *session.Session) cell {
	switch {
	case s.State == session.StateEnded && s.ExitCode != nil && *s.ExitCode == 0:
		return cell{"exit 0", stylePlain}
	case s.State == session.StateEnded && s.ExitCode != nil:
		return cell{"exit " + strconv.Itoa(*s.ExitCode), styleWarn}
	case s.State == session.StateRunning:
		return cell{"running", styleGood}
	case s.State == session.StateWaiting:
		return cell{"waiting", styleWarn}
	case s.Decision != nil && s.Decision.Stopped:
		return cell{stoppedAs(s.Decision), styleBad}
	case s.State == session.StateFailed:
		return cell{"failed", styleWarn}
	}
	return cell{string(s.State), stylePlain}
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

// line returns a session as one line of live output.
func (r renderer) line(v session.Revision) string {
	s := &v.Session
	p := r.palette
	at, state := s.Started, outcome(s)
	if s.Ended != nil {
		at = *s.Ended
		state.text += " after " + duration(s.Ended.Sub(s.Started))
	}
	mark := ""
	if s.Unexplained.Is {
		mark = "  " + p.paint(styleBad, unexplained(s))
	}
	level := fmt.Sprintf("%-8s", "["+string(s.Attribution.Level)+"]")
	head := fmt.Sprintf("%s  %s  %-11s %-9s  %s %s -> %s  ",
		p.paint(styleDim, at.In(r.zone).Format(layoutLive)), p.paint(styleBold, shortID(s.ID)),
		s.Kind, s.Channel, pad(who(s), 14), p.paint(levelStyle(s.Attribution.Level), level), container(s))
	if c := command(s); c != "" {
		head += printable.Cut(c, r.room()) + "  "
	}
	return head + p.paint(state.style, state.text) + mark
}

// pad fills text with blanks up to width columns.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-printable.Width(text)))
}

// room is how much of a command a live line shows.
func (r renderer) room() int {
	if r.width == 0 {
		return cellMax
	}
	return max(r.width/2, 40)
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
