// Package sample has sessions for the tests of rules: some to begin with and to
// change, drawn ones, and those that the stories of corpus/ come to.
package sample

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/replay"
)

// At is when sessions start.
var At = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

// Kube is a user of Kubernetes.
func Kube(user string, groups ...string) session.Actor {
	return session.Actor{Kind: session.ActorKubernetes, User: user, Groups: groups}
}

// Exec is a command in a pod, asked for by somebody.
func Exec(user string, change ...func(*session.Session)) session.Session {
	s := session.Session{
		ID: "aaaaaaaaaaaaaaaa", Kind: session.KindExec, Channel: event.ChannelKubeExecWS, State: session.StateEnded, Started: At,
		Attribution: session.Attribution{Level: session.LevelExact}, Actor: Kube(user),
		Target: session.Target{Namespace: "prod", Pod: "web-0", ContainerName: "web", Image: "nginx", ContainerID: "c1"},
		Argv:   []string{"sh", "-c", "id"}, ArgvSource: "request",
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

// Nobody makes the actor of a session unknown.
func Nobody(s *session.Session) {
	s.Actor = session.Actor{Kind: session.ActorNone}
	s.Attribution = session.Attribution{Level: session.LevelNone}
}

// Docker makes a session one of Docker's.
func Docker(s *session.Session) {
	s.Channel, s.Target = event.ChannelDockerExec, session.Target{ContainerID: "c1", ContainerName: "web", Image: "nginx"}
}

// Either makes the actor one of several people.
func Either(users ...string) func(*session.Session) {
	return func(s *session.Session) {
		Nobody(s)
		s.Attribution.Level = session.LevelSet
		for _, u := range users {
			s.Attribution.Candidates = append(s.Attribution.Candidates, Kube(u))
		}
	}
}

// Unasked makes a session a container that nobody asked the API server for.
func Unasked(s *session.Session) {
	Nobody(s)
	s.Kind, s.Channel, s.Unexplained.Is = session.KindStart, event.ChannelKubePod, true
}

// Running makes a session one that runs.
func Running(s *session.Session) { s.State = session.StateRunning }

// Processes adds a process for each command line.
func Processes(argv ...string) func(*session.Session) {
	return func(s *session.Session) {
		for _, a := range argv {
			s.Processes = append(s.Processes, session.Process{PID: 1, Argv: strings.Fields(a), Exe: "/bin/" + strings.Fields(a)[0], Start: s.Started})
		}
		s.ProcessesTotal = len(s.Processes)
	}
}

// Ran is a process for Tree: where it hangs and what it runs.
func Ran(pid, ppid uint32, exe, line string, change func(*session.Process)) session.Process {
	p := session.Process{PID: pid, PPID: ppid, Exe: exe, Argv: strings.Fields(line), UID: 33}
	if change != nil {
		change(&p)
	}
	return p
}

// Tree adds processes that start with the session.
func Tree(all ...session.Process) func(*session.Session) {
	return func(s *session.Session) {
		for _, p := range all {
			p.Start = s.Started
			s.Processes = append(s.Processes, p)
		}
		s.ProcessesTotal = len(s.Processes)
	}
}

// Any draws a session of few values, so that rules often hold.
func Any(t *rapid.T) session.Session {
	pick := func(label string, all ...string) string { return rapid.SampledFrom(all).Draw(t, label) }
	s := Exec(pick("user", "ann", "bob", ""))
	s.ID = session.ID(rapid.StringMatching(`[a-d]{16}`).Draw(t, "id"))
	s.Kind = session.Kind(pick("kind", "exec", "attach", "start", "copy", "odd"))
	s.Channel = event.Channel(pick("channel", "DK-EXEC", "K8-EXEC-WS", "K8-POD", "K8-WORKLOAD", "KL-RUN", "HO-NSENTER", "UNKNOWN", "ZZ-NEW"))
	s.Target.Namespace = pick("namespace", "prod", "dev", "prod-2", "")
	s.Target.Image = pick("image", "nginx", "")
	s.TTY = rapid.Bool().Draw(t, "tty")
	s.ArgvSource = pick("source", "request", "event", "process", "")
	s.State = session.State(pick("state", "running", "ended", "failed"))
	if s.Actor.User == "" {
		pick := rapid.SampledFrom([]func(*session.Session){Nobody, Either("ann", "bob"), Either("bob", "eve")})
		pick.Draw(t, "nobody")(&s)
	}
	return s
}

// Conditions are conditions that Any often fulfils.
var Conditions = []string{
	`session.kind == "exec"`, `session.kind in ["attach", "copy"]`, `session.channel.startsWith("K8-")`, `session.channel != "DK-EXEC"`,
	`session.target.namespace == "prod"`, `session.target.namespace in ["prod", "dev"]`, `session.target.namespace.startsWith("prod")`,
	`session.target.namespace != "dev"`, `!(session.target.namespace in lists.spaces)`, `has(session.target.namespace)`,
	`session.actor.user == "ann"`, `session.tty`, `session.argv[0] == "sh"`, `session.state == "ended"`, `session.target.image == "nginx"`,
	`has(session.actor.user) && session.kind == "exec"`, `session.target.namespace == session.actor.user`,
	`session.verb == "get"`, `session.verb != "create"`, `session.api.resource == "pods"`, `!(session.api.subresource in ["exec"])`,
	`session.api.user == "ann"`, `session.api.group.ilike("a*")`, `session.programs.exists(p, p.commandLike("* -C *"))`,
}

// Corpus returns every session that the stories in a directory come to.
func Corpus(t testing.TB, dir string) []session.Session {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var out []session.Session
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input := func(yield func(event.Observation, error) bool) {
			for line := range bytes.Lines(bytes.TrimSpace(txtar.Parse(data).Files[0].Data)) {
				if o, err := event.Unmarshal(line); !yield(o, err) || err != nil {
					return
				}
			}
		}
		result, err := replay.Play(input, correlate.Options{}, nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, result.Sessions...)
	}
	return out
}
