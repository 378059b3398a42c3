package export

import (
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

// summaryMax bounds a summary, in columns of a terminal.
const summaryMax = 1024

// Summary says in one line, for a person, what a record says. It is valid UTF-8
// without anything that a terminal acts upon.
func (r Record) Summary() string {
	if r.Finding != nil {
		text := r.Finding.Title
		if r.Finding.Message != "" {
			text += ": " + r.Finding.Message
		}
		return printable.Cut(printable.Text(text), summaryMax)
	}
	s := r.Session
	var b strings.Builder
	b.WriteString(string(s.Kind) + " ")
	if s.State == session.StateFailed || s.State == session.StateWaiting {
		b.WriteString(string(s.State) + " ")
	}
	b.WriteString("in " + printable.Text(place(s.Target)) + " by " + printable.Text(asker(s)) + " (" + string(s.Channel) + ")")
	if s.Unexplained.Is {
		b.WriteString(", unexplained")
	}
	if argv := Command(s); len(argv) > 0 {
		b.WriteString(": " + printable.Command(argv))
	}
	return printable.Cut(b.String(), summaryMax)
}

// Command returns what was asked for or, without a request, what ran.
func Command(s *session.Session) []string {
	if len(s.Argv) == 0 && len(s.Processes) > 0 {
		return s.Processes[0].Argv
	}
	return s.Argv
}

// place names the target in short.
func place(t session.Target) string {
	name := t.ContainerName
	if name == "" {
		name = string(t.ContainerID)
	}
	if t.Pod != "" {
		pod := t.Namespace + "/" + t.Pod
		if name == "" {
			return pod
		}
		return pod + " " + name
	}
	if name == "" {
		return "an unknown target"
	}
	return name
}

// asker names who asked, as surely as it is known.
func asker(s *session.Session) string {
	if name := finding.Name(s.Actor); name != "" {
		return name
	}
	if names := Candidates(s); len(names) > 0 {
		return "one of " + strings.Join(names, ", ")
	}
	if s.Actor.Service != "" {
		return string(s.Actor.Service)
	}
	return "nobody known"
}

// Candidates names everybody who may have asked, each once, when nobody is
// picked.
func Candidates(s *session.Session) []string {
	var out []string
	seen := map[string]bool{}
	for _, c := range s.Attribution.Candidates {
		if n := finding.Name(c); n != "" && !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

// Key names a process of a session for ever: pids are used again.
func Key(s *session.Session, p session.Process) string {
	return string(s.ID) + "-" + strconv.FormatUint(uint64(p.PID), 10) + "-" + strconv.FormatUint(p.ID.Start, 10)
}

// Severity is how much a record matters: a finding's own; of a session Low when
// it is unexplained, Info otherwise.
func (r Record) Severity() finding.Severity {
	switch {
	case r.Finding != nil:
		return r.Finding.Severity
	case r.Session.Unexplained.Is:
		return finding.Low
	}
	return finding.Info
}

// UTF8 returns text with bytes that are not UTF-8 replaced.
func UTF8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Line returns arguments as one line that a shell would read back.
func Line(argv []string) string { return printable.Command(argv) }
