package guard

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// TestPluginTells: what the daemon's plugin decided stands in the sessions of sallyport
// up. Who asked by TLS is known by his certificate, who asked at the socket by what the
// kernel saw: also of what was stopped, and that is one session each.
func TestPluginTells(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	a, state := newAuthzStage(t, "told"), filepath.Join(t.TempDir(), "state")
	rules := authzRules + `  - {id: started, when: 'session.kind == "attach"', effect: deny, severity: low}
`
	if err := os.WriteFile(a.rules, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	p := up.Print(t, a.bin, state, a.e, "--client-requests", "always")
	a.e.RunT(t, "--label", "env=prod", "--name", "web", docker.Image)
	a.plugin("--enforce", "--tell", state)
	a.configure(a.name)
	a.reload()
	up.Await(t, state, "kernel", "docker", "containerd", "guard")
	testbed.Eventually(t, 20*time.Second, "the plugin is asked", func() bool {
		_, err := a.docker("exec", "web", "sh", "-c", "true")
		return err != nil
	})

	by := func(tls bool, command ...string) {
		t.Helper()
		if tls {
			command = append(slices.Clone(a.tls), command...)
		}
		out, err := a.docker(command...)
		t.Logf("docker %v: %v %s", command, err, out)
	}
	find := func(what string, ok func(*session.Session) bool) session.Session {
		t.Helper()
		var found []session.Session
		testbed.Eventually(t, 30*time.Second, what, func() bool {
			found = nil
			for _, s := range latest(p.Sessions()) {
				if ok(&s) {
					found = append(found, s)
				}
			}
			return len(found) > 0
		})
		if len(found) != 1 {
			t.Errorf("%s: %d sessions: %+v", what, len(found), found)
		}
		return found[0]
	}
	runs := func(arg string) func(*session.Session) bool {
		return func(s *session.Session) bool { return slices.Contains(s.Argv, arg) && s.State != session.StateRunning }
	}
	named := func(s *session.Session, tls bool, levels ...session.Level) {
		t.Helper()
		byUID := s.Actor.UID != nil && *s.Actor.UID == 0 && strings.HasSuffix(s.Actor.Exe, "docker")
		byCertificate := s.Actor.Kind == session.ActorTLS && s.Actor.User == "test"
		if !slices.Contains(levels, s.Attribution.Level) || byCertificate != tls || byUID == tls {
			t.Errorf("TLS %v: %+v %+v", tls, s.Attribution, s.Actor)
		}
	}
	for _, tls := range []bool{false, true} {
		word := map[bool]string{false: "at the socket", true: "by TLS"}[tls]
		by(tls, "exec", "web", "/bin/busybox", "echo", word)
		got := find("allowed "+word, runs(word))
		named(&got, tls, session.LevelExact)
		if got.Decision == nil || got.Decision.Effect != "allow" || got.Decision.Stopped || len(got.Processes) == 0 {
			t.Errorf("%s: %+v, processes %+v", word, got.Decision, got.Processes)
		}

		by(tls, "exec", "web", "sh", "-c", word)
		got = find("denied "+word, func(s *session.Session) bool { return runs(word)(s) && runs("sh")(s) })
		named(&got, tls, session.LevelExact, session.LevelStrong)
		if got.Decision == nil || got.Decision.Rule != "prod-shell" || !got.Decision.Stopped || got.State != session.StateFailed || got.Target.ContainerName != "web" {
			t.Errorf("%s: %+v", word, got)
		}
		if shown := program.Run(t, a.bin, "show", view.ShortID(got.ID), "--state", state, "--evidence"); !strings.Contains(shown, "deny by rule prod-shell") {
			t.Errorf("%s", shown)
		} else {
			t.Logf("%s", shown)
		}
	}
	by(false, "attach", "--no-stdin", "web")
	got := find("an attach", func(s *session.Session) bool { return s.Kind == session.KindAttach })
	named(&got, false, session.LevelExact)
	if got.Decision == nil || got.Decision.Rule != "started" || got.State != session.StateFailed {
		t.Errorf("%+v", got)
	}
	by(true, "run", "-d", "--name", "more", docker.Image)
	got = find("a container", func(s *session.Session) bool { return s.Target.ContainerName == "more" })
	named(&got, true, session.LevelExact)
	if got.Decision == nil || got.Decision.Effect != "allow" {
		t.Errorf("%+v", got)
	}
	a.configure()
	a.reload()
	if err := a.p.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v %s", err, a.p.said())
	}
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up ended with %v: %s", err, &p.Stderr)
	}
}

// latest returns the last revision of each session that is one still.
func latest(all []session.Session) map[session.ID]session.Session {
	out := map[session.ID]session.Session{}
	for _, s := range all {
		if out[s.ID] = s; s.SupersededBy != "" {
			delete(out, s.ID)
		}
	}
	return out
}
