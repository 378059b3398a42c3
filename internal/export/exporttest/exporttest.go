// Package exporttest has records for tests of formats, and compares what comes
// of them with golden files.
package exporttest

import (
	"bytes"
	"flag"
	"iter"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/export"
)

var write = flag.Bool("golden", false, "write the golden files instead of comparing with them")

// Origin is who exports in tests.
func Origin() export.Origin { return export.Origin{Host: "edge1", Version: "1.2.3"} }

// at is a moment some seconds into the story.
func at(seconds float64) time.Time {
	return time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

// Records returns one record of each kind that formats tell apart.
func Records() []export.Record {
	out := []export.Record{dockerExec(), kubeExec(), nsenter(), attach(), failed(), ruleFinding(), scanFinding()}
	for i := range out {
		out[i].Position = int64(i) + 100
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func web() session.Target {
	return session.Target{
		ContainerID: "c0ffee01c0ffee01c0ffee01c0ffee01c0ffee01c0ffee01c0ffee01c0ffee01", ContainerName: "web",
		Image: "shop/web:7", ImageID: "sha256:1234", Runtime: "runc", Labels: map[string]string{"team": "shop"},
	}
}

// dockerExec has ended, its actor is known, and what ran is hostile to
// terminals and is not UTF-8.
func dockerExec() export.Record {
	argv := []string{"sh", "-c", "echo \"]\\\x1b[2J\xff\n; id", "ünï"}
	end := at(2.5)
	return export.Record{Changed: []string{"state", "ended"}, Session: &session.Session{
		ID: "aaaaaaaaaaaaaaaa", Revision: 3, Kind: session.KindExec, Channel: event.ChannelDockerExec, State: session.StateEnded,
		Started: at(1), Ended: &end, ExitCode: ptr(0),
		Attribution: session.Attribution{Level: session.LevelExact, Via: []string{"docker-request", "exec-id"}},
		Actor: session.Actor{
			Kind: session.ActorUnix, User: "root", UID: ptr(uint32(0)), LoginUID: ptr(uint32(1001)), LoginUser: "alice",
			PID: 4100, Exe: "/usr/bin/docker", Argv: []string{"docker", "exec", "web", "sh"},
		},
		Target: web(), Argv: argv, ArgvSource: "request", TTY: true, ExecID: "e001",
		Processes: []session.Process{
			{
				PID: 4110, PPID: 1990, NSPID: 12, ID: event.ProcessID{PID: 4110, Start: 4110000000}, Start: at(1.03), End: &end,
				Argv: argv, Exe: "/bin/busybox", TTY: "/dev/pts/0", ExitCode: ptr(0),
			},
			{PID: 4111, PPID: 4110, ID: event.ProcessID{PID: 4111, Start: 4111000000}, Start: at(1.2), Argv: []string{"id"}, Exe: "/bin/busybox", Forked: true, UID: 33, GID: 33},
		},
		ProcessesTotal: 2,
		Evidence:       []session.Evidence{{Time: at(1), Witness: event.WitnessDocker, What: "docker_event exec_create"}},
	}}
}

// kubeExec runs, and one of two may have asked.
func kubeExec() export.Record {
	t := session.Target{
		ContainerID: "beef", ContainerName: "app", Image: "shop/app:1", Pod: "app-0", PodUID: "0a1b2c3d-0000-4000-8000-000000000001",
		Namespace: "shop", Workload: "StatefulSet/app", Node: "node-7",
	}
	return export.Record{Changed: []string{"new"}, Session: &session.Session{
		ID: "bbbbbbbbbbbbbbbb", Revision: 1, Kind: session.KindExec, Channel: event.ChannelKubeExecWS, State: session.StateRunning,
		Started: at(5),
		Attribution: session.Attribution{Level: session.LevelSet, Via: []string{"argv"}, Candidates: []session.Actor{
			{Kind: session.ActorKubernetes, User: "ann@example.com", Groups: []string{"dev"}, Address: "192.0.2.7"},
			{
				Kind: session.ActorKubernetes, User: "system:serviceaccount:ci:deploy", Deputy: true,
				Impersonator: &session.Identity{User: "ops@example.com"},
			},
		}},
		Actor:  session.Actor{Kind: session.ActorNone, Address: "192.0.2.7:50123", UserAgent: "kubectl/v1.37.2"},
		Target: t, Argv: []string{"cat", "/etc/hostname"}, ArgvSource: "request", AuditID: "11111111-2222-3333-4444-555555555555",
		Processes: []session.Process{{
			PID: 900, ID: event.ProcessID{PID: 900, Start: 9}, Start: at(5.1), Argv: []string{"cat", "/etc/hostname"}, Exe: "/bin/cat", UID: 1000, GID: 1000,
		}},
		ProcessesTotal: 1, LostRecords: 2, Gaps: []string{"2 kernel records were lost"},
	}}
}

// nsenter came in beside every service.
func nsenter() export.Record {
	return export.Record{Session: &session.Session{
		ID: "cccccccccccccccc", Revision: 2, Kind: session.KindEnter, Channel: event.ChannelHostNsenter, State: session.StateRunning,
		Started: at(6), Attribution: session.Attribution{Level: session.LevelStrong},
		Actor:  session.Actor{Kind: session.ActorUnix, User: "bob", UID: ptr(uint32(1002)), PID: 77, Exe: "/usr/bin/nsenter"},
		Target: web(), Unexplained: session.Unexplained{Is: true, Reason: "no service was asked for it"},
		Processes: []session.Process{{PID: 78, ID: event.ProcessID{PID: 78, Start: 78}, Start: at(6), Argv: []string{"/bin/sh"}, Exe: "/bin/sh"}},
	}}
}

// attach has no process of its own and nobody is known.
func attach() export.Record {
	return export.Record{Session: &session.Session{
		ID: "dddddddddddddddd", Revision: 1, Kind: session.KindAttach, Channel: event.ChannelDockerAttach, State: session.StateRunning,
		Started: at(7), Attribution: session.Attribution{Level: session.LevelNone}, Actor: session.Actor{Kind: session.ActorNone},
		Target: session.Target{ContainerID: "0123456789ab"},
	}}
}

// failed was asked for by a service account, as somebody else, and did not run.
func failed() export.Record {
	return export.Record{Session: &session.Session{
		ID: "eeeeeeeeeeeeeeee", Revision: 1, Kind: session.KindExec, Channel: event.ChannelKubeExecSPDY, State: session.StateFailed,
		Started: at(8), Attribution: session.Attribution{Level: session.LevelExact, Via: []string{"audit-id"}},
		Actor: session.Actor{
			Kind: session.ActorKubernetes, User: "system:serviceaccount:ci:deploy", KubeUID: "u-1", Groups: []string{"system:serviceaccounts"},
			Extra: map[string][]string{"k": {"v"}}, Impersonator: &session.Identity{User: "ops@example.com"}, Deputy: true,
			Address: "2001:db8::7", Doubts: []string{"its token was seen elsewhere"},
		},
		Target: session.Target{Pod: "db-0", Namespace: "shop", ContainerName: "db"}, Argv: []string{"nosuch"}, ArgvSource: "request",
	}}
}

func ruleFinding() export.Record {
	f := finding.Finding{
		Rule: "prod-shell", Severity: finding.High, Title: "A shell in production", Message: "alice ran a shell in web",
		Effect: effect.Alert, Attack: []attack.Technique{attack.T1609, "T1053.007"}, CIS: []string{"docker 5.4"},
		Related: []session.ID{"bbbbbbbbbbbbbbbb"}, Remedy: "Ask before.", Unknown: []string{"session.actor.groups"},
	}
	f.About(dockerExec().Session)
	return export.Record{Finding: &f}
}

func scanFinding() export.Record {
	return export.Record{Finding: &finding.Finding{
		ID: finding.NewID("docker-tcp", "tcp 0.0.0.0:2375"), Rule: "docker-tcp", Severity: finding.Critical,
		Title: "Docker listens on TCP without TLS", Time: at(9), Subject: "tcp 0.0.0.0:2375",
		Target: &finding.Target{Object: "tcp 0.0.0.0:2375"}, Remedy: "Remove the listener.",
		Evidence: []finding.Evidence{{Source: "docker info", What: "listener", Detail: "0.0.0.0:2375"}},
	}}
}

// Golden compares the messages of Records with testdata/golden.txt, after show
// has made them readable; nil leaves them.
func Golden(t *testing.T, f export.Format, show func([]byte) []byte) {
	t.Helper()
	var got bytes.Buffer
	for _, r := range Records() {
		messages, err := f.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if show != nil {
				m = show(m)
			}
			got.Write(m)
			got.WriteByte('\n')
		}
	}
	name := filepath.Join("testdata", "golden.txt")
	if *write {
		if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got; -args -golden writes it):\n%s", name, diff)
	}
}

// Corpus yields every revision of every session of the stories in corpus/, which
// lies at root.
func Corpus(t *testing.T, root string) iter.Seq2[string, export.Record] {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "corpus", "*.txtar"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d stories, %v", len(files), err)
	}
	return func(yield func(string, export.Record) bool) {
		position := int64(0)
		for _, file := range files {
			for _, rev := range revisions(t, file) {
				position++
				if !yield(filepath.Base(file), export.Record{Position: position, Session: &rev.Session, Changed: rev.Changed}) {
					return
				}
			}
		}
	}
}

func revisions(t *testing.T, file string) []session.Revision {
	t.Helper()
	story, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	engine := correlate.New(correlate.Options{})
	var out []session.Revision
	for line := range bytes.Lines(story.Files[0].Data) {
		o, err := event.Unmarshal(line)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, engine.Observe(o)...)
	}
	return append(out, engine.Flush()...)
}
