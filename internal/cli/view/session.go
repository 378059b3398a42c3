package view

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

// Session prints all there is to say of a session.
func (r Renderer) Session(w *terminal.Writer, s *session.Session, revisions []session.Revision, evidence bool) {
	p := r.Palette
	w.Line("%s  %s through %s  %s", p.Paint(terminal.Bold, string(s.ID)), s.Kind, s.Channel, p.Paint(outcome(s).Style, outcome(s).Text))
	if s.Unexplained.Is {
		w.Line("%s", p.Paint(terminal.Bad, "unexplained: "+printable.Text(s.Unexplained.Reason)))
	}
	w.Line("")
	r.header(w, s)
	r.tree(w, s)
	r.timeline(w, s)
	r.gaps(w, s)
	if evidence {
		r.evidence(w, s)
		r.revisions(w, revisions)
		return
	}
	w.Line("")
	w.Line("%s", p.Paint(terminal.Dim, fmt.Sprintf("%d pieces of evidence, %s: sallyport show %s --evidence%s", len(s.Evidence), wording.Plural(len(revisions), "revision"), s.ID, r.State)))
}

func (r Renderer) field(w *terminal.Writer, name, format string, args ...any) {
	w.Line("  %s %s", r.Palette.Paint(terminal.Dim, fmt.Sprintf("%-11s", name)), fmt.Sprintf(format, args...))
}

func (r Renderer) header(w *terminal.Writer, s *session.Session) {
	r.who(w, s)
	r.field(w, "container", "%s", target(&s.Target))
	if text := hostAccess(s.Target.HostAccess); text != "" {
		r.field(w, "of the host", "%s", r.Palette.Paint(terminal.Warn, text))
	}
	if len(s.Argv) > 0 {
		r.field(w, "command", "%s", processArgv(s.Argv, joinedArgv(s)))
	}
	if joinedArgv(s) {
		r.field(w, "", "(from %s that joins arguments with blanks: the quoting is lost)", map[string]string{"event": "an event", "log": "a log"}[s.ArgvSource])
	}
	switch {
	case s.Direction != "":
		r.field(w, "path", "%s (copy %s)", printable.Text(s.Path), s.Direction)
	case s.Path != "":
		r.field(w, "path", "%s", printable.Text(s.Path))
	}
	for _, c := range s.Carried {
		r.field(w, "carries", "%s", carried(c))
	}
	asked := []string{}
	if s.User != "" {
		asked = append(asked, "user "+printable.Text(s.User))
	}
	if s.Privileged {
		asked = append(asked, "privileged")
	}
	if s.TTY {
		asked = append(asked, "terminal")
	}
	switch {
	case s.Stdin != nil && *s.Stdin:
		asked = append(asked, "standard input")
	case s.Stdin != nil && s.Kind == session.KindAttach:
		asked = append(asked, "no standard input: a reader only")
	}
	if len(asked) > 0 {
		r.field(w, "asked for", "%s", strings.Join(asked, ", "))
	}
	if s.Decision != nil {
		r.field(w, "guard", "%s", decision(s.Decision))
	}
	if c := s.Created; c != nil && s.Started.Sub(*c) > preparedAhead {
		r.field(w, "prepared", "%s, %s before", r.Exact(*c), wording.Duration(s.Started.Sub(*c)))
	}
	r.field(w, "started", "%s", r.Exact(s.Started))
	if s.Ended != nil {
		r.field(w, "ended", "%s, after %s", r.Exact(*s.Ended), wording.Duration(s.Ended.Sub(s.Started)))
	}
	if s.LostRecords > 0 {
		r.field(w, "lost", "%d kernel records meanwhile: some may have been of this session", s.LostRecords)
	}
}

// decision says in words what a guard decided.
func decision(d *session.Decision) string {
	said := string(d.Effect)
	if d.Rule != "" {
		said += " by rule " + d.Rule
	}
	switch {
	case d.Approver != "" && d.Stopped:
		said += ", refused by " + printable.Text(d.Approver)
	case d.Approver != "":
		said += ", approved by " + printable.Text(d.Approver)
	case d.Effect != effect.Allow && !d.Stopped:
		said += ", only observed: it went on"
	}
	if d.Stopped && d.Message != "" {
		said += ": " + printable.Text(d.Message)
	}
	return said
}

// preparedAhead is from when on it is worth saying that an exec was created
// before it was started: clients do the one right after the other.
const preparedAhead = 5 * time.Second

// Exact writes a time with all that is known of it.
func (r Renderer) Exact(t time.Time) string { return t.In(r.Zone).Format(TimeExact) }

func (r Renderer) who(w *terminal.Writer, s *session.Session) {
	a := &s.Attribution
	r.field(w, "who", "%s", r.Palette.Paint(terminal.Bold, who(s)))
	if a.Level != session.LevelSet {
		if text := actorDetail(&s.Actor); text != "" {
			r.field(w, "", "%s", text)
		}
		for _, d := range s.Actor.Doubts {
			r.field(w, "", "%s", r.Palette.Paint(terminal.Bad, "doubt: "+printable.Text(d)))
		}
	}
	via := ""
	if len(a.Via) > 0 {
		via = ", by " + printable.Text(strings.Join(a.Via, ", "))
	}
	r.field(w, "known", "%s%s", r.Palette.Paint(LevelStyle(a.Level), levelMeaning(a.Level)), via)
	for i := range a.Candidates {
		c := &a.Candidates[i]
		r.field(w, "candidate", "%s  %s", Actor(c), actorDetail(c))
	}
}

func levelMeaning(l session.Level) string {
	switch l {
	case session.LevelExact:
		return "exact (tied by an id)"
	case session.LevelStrong:
		return "strong (only one fits)"
	case session.LevelSet:
		return "set (all of these fit)"
	case session.LevelNone:
		return "none (nobody is known)"
	}
	return string(l)
}

// actorDetail says what else is known of an actor, on one line.
func actorDetail(a *session.Actor) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if a.UID != nil {
		add("uid %d", *a.UID)
	}
	if a.LoginUID != nil {
		add("login uid %d", *a.LoginUID)
	}
	if a.PID != 0 {
		add("pid %d", a.PID)
	}
	if a.Exe != "" {
		add("%s", printable.Text(a.Exe))
	}
	if len(a.Groups) > 0 {
		add("groups %s", printable.Text(strings.Join(a.Groups, " ")))
	}
	if a.Deputy {
		add("a service account: who told the program to, only the program knows")
	}
	if a.UserAgent != "" && a.Kind == session.ActorKubernetes {
		add("%s", printable.Text(a.UserAgent))
	}
	if a.Address != "" {
		add("from %s", printable.Text(a.Address))
	}
	if a.Container != "" {
		add("itself in container %s", printable.Text(a.Container.Short()))
	}
	if a.Session != "" {
		add("came in by session %s", a.Session)
	}
	if len(a.Argv) > 0 {
		add("%s", Argv(a.Argv))
	}
	return strings.Join(parts, ", ")
}

func target(t *session.Target) string {
	parts := []string{}
	add := func(label, v string) {
		if v != "" {
			parts = append(parts, label+printable.Text(v))
		}
	}
	add("", t.ContainerName)
	add("", t.ContainerID.Short())
	add("image ", t.Image)
	add("runtime ", t.Runtime)
	add("pod ", t.Pod)
	add("namespace ", t.Namespace)
	if t.Namespace != "" {
		add("of ", t.Workload)
		add("node ", t.Node)
	}
	if len(parts) == 0 {
		return "unknown"
	}
	return strings.Join(parts, ", ")
}

// carried says where in an object a command stands, and which it is.
func carried(c session.Carried) string {
	place := strings.ReplaceAll(string(c.Place), "_", " ")
	if c.Name != "" {
		place += " " + printable.Text(c.Name)
	}
	if c.Container != "" {
		place += " of " + printable.Text(c.Container)
	}
	return place + ": " + Argv(c.Argv)
}

// hostAccess says what of the host a container has, "" for a plain one.
func hostAccess(h *event.HostAccess) string {
	if h == nil || h.Plain() {
		return ""
	}
	var parts []string
	if h.Privileged {
		parts = append(parts, "privileged")
	}
	for _, list := range []struct {
		name  string
		items []string
	}{{"namespaces", h.Namespaces}, {"capabilities", h.Capabilities}, {"devices", h.Devices}, {"paths", h.Paths}} {
		if len(list.items) > 0 {
			parts = append(parts, list.name+" "+printable.Text(strings.Join(list.items, " ")))
		}
	}
	if h.Partial {
		parts = append(parts, "and perhaps more")
	}
	return strings.Join(parts, ", ")
}

func (r Renderer) gaps(w *terminal.Writer, s *session.Session) {
	if len(s.Gaps) == 0 {
		return
	}
	r.title(w, "Not seen")
	for _, g := range s.Gaps {
		w.Line("  %s", printable.Text(g))
	}
}

func (r Renderer) title(w *terminal.Writer, title string) {
	w.Line("")
	w.Line("%s", r.Palette.Paint(terminal.Bold, title))
}

func (r Renderer) evidence(w *terminal.Writer, s *session.Session) {
	r.title(w, "Evidence")
	for _, e := range s.Evidence {
		w.Line("  %s  %-10s %s  %s", e.Time.In(r.Zone).Format("15:04:05.000000"), e.Witness, printable.Text(e.What), printable.Text(e.Detail))
	}
}

func (r Renderer) revisions(w *terminal.Writer, revisions []session.Revision) {
	r.title(w, "Revisions")
	for _, v := range revisions {
		w.Line("  %s  %s: %s", strconv.FormatUint(uint64(v.Session.Revision), 10), v.Session.State, printable.Text(strings.Join(v.Changed, ", ")))
	}
}
