package policy

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// messageMax bounds a message, in bytes.
const messageMax = 4 << 10

// Subject is what a rule's message can speak of. The text is not escaped:
// whoever shows it to a person does that.
type Subject struct {
	Rule    string
	Session *session.Session
	Request *session.Session // the same
	Actor   string           // who asked, in few words
	Target  string           // where: namespace/pod/container, or the container's name
	Command string           // arguments, with blanks between

	// Of a rule about witnesses, which has none of the above but Rule: which one,
	// of which node, since when it does not see, and why.
	Witness, Node, Since, Reason string
}

func subject(r *rule, s *session.Session) Subject {
	s = listed(s)
	return Subject{
		Rule: r.ID, Session: s, Request: s, Actor: actorText(s), Target: targetText(s.Target),
		Command: strings.Join(commandOf(s), " "),
	}
}

// listed returns a session of which a message may ask by what several came: of each
// candidate's, joined, as none is picked.
func listed(s *session.Session) *session.Session {
	if s.Attribution.Level != session.LevelSet {
		return s
	}
	of := func(get func(*session.Actor) string) string {
		var all []string
		for i := range s.Attribution.Candidates {
			if text := cmp.Or(get(&s.Attribution.Candidates[i]), "unknown"); !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
		return strings.Join(all, " or ")
	}
	out := *s
	out.Actor.Exe = of(func(a *session.Actor) string { return a.Exe })
	out.Actor.Address = of(func(a *session.Actor) string { return a.Address })
	out.Actor.UserAgent = of(func(a *session.Actor) string { return a.UserAgent })
	out.Actor.Container = event.ContainerID(of(func(a *session.Actor) string { return string(a.Container) }))
	return &out
}

// commandOf returns what was asked for, or what ran.
func commandOf(s *session.Session) []string {
	if len(s.Argv) == 0 && len(s.Processes) > 0 {
		p := &s.Processes[0]
		if len(p.Execs) > 0 { // what it ran later is not what entered
			return p.Execs[0].Argv
		}
		return p.Argv
	}
	return s.Argv
}

func actorText(s *session.Session) string {
	if s.Attribution.Level == session.LevelSet {
		return "one of several"
	}
	if s.Actor.Service != "" {
		return string(s.Actor.Service)
	}
	name := finding.Name(s.Actor)
	if name == "" {
		return "somebody unknown"
	}
	if s.Actor.Impersonator != nil {
		name = s.Actor.Impersonator.User + " as " + name
	}
	return name
}

func targetText(t session.Target) string {
	if t.Pod == "" {
		if t.ContainerName != "" {
			return t.ContainerName
		}
		return t.ContainerID.Short()
	}
	name := t.Namespace + "/" + t.Pod
	if t.ContainerName != "" {
		name += "/" + t.ContainerName
	}
	return name
}

// newMessage parses a template and tries it on a subject that has everything.
func newMessage(text string, about Subject) (*template.Template, error) {
	t, err := template.New("message").Option("missingkey=zero").Parse(text)
	if err != nil {
		return nil, err
	}
	_, err = render(t, about)
	return t, err
}

// render executes a template; what is beyond messageMax is cut.
func render(t *template.Template, about Subject) (string, error) {
	var w bounded
	err := t.Execute(&w, about)
	if errors.Is(err, errLong) {
		err = nil
	}
	return strings.ToValidUTF8(w.String(), "\uFFFD"), err
}

var errLong = errors.New("long enough")

type bounded struct{ strings.Builder }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	room := messageMax - b.Len()
	if len(p) > room {
		b.Builder.Write(p[:room])
		b.WriteString("…")
		return room, errLong
	}
	return b.Builder.Write(p)
}

// example is a session in which every field that may be missing is there, so that
// a template that is wrong fails at load.
func example() *session.Session {
	number, code, at := uint32(1000), 0, time.Unix(0, 0).UTC()
	actor := session.Actor{
		Kind: session.ActorKubernetes, User: "alice", UID: &number, LoginUID: &number, Groups: []string{"g"}, Argv: []string{"sh"},
		Extra: map[string][]string{}, Impersonator: &session.Identity{User: "admin", Groups: []string{"g"}},
	}
	return &session.Session{
		ID: "aaaaaaaaaaaaaaaa", Kind: session.KindExec, Channel: event.ChannelKubeExecWS, State: session.StateEnded,
		Started: at, Ended: &at, ExitCode: &code, Actor: actor,
		Attribution: session.Attribution{Level: session.LevelExact, Via: []string{"x"}, Candidates: []session.Actor{actor}},
		Target:      session.Target{ContainerID: "c", Labels: map[string]string{}, Namespace: "ns", Pod: "pod"},
		Argv:        []string{"sh"},
		Processes: []session.Process{{
			PID: 1, Start: at, End: &at, Argv: []string{"sh"}, ExitCode: &code, Execs: []session.Program{{Argv: []string{"sh"}}},
		}},
		Evidence: []session.Evidence{{Witness: event.WitnessAudit}}, Gaps: []string{"x"},
	}
}
