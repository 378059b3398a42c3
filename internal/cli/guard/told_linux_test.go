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

// TestGuardIsTold: what passes a guard has the name of who asked, exactly, down to
// the processes; what it stops is a session, too.
func TestGuardIsTold(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	e, bin, state := docker.New(t, docker.Options{}), program.New(t), filepath.Join(t.TempDir(), "state")
	rules := filepath.Join(t.TempDir(), "prod.yaml")
	if err := os.WriteFile(rules, []byte(guardRules+`  - id: four-eyes
    when: session.kind == "exec" && "held" in session.argv
    effect: approve
    severity: low
`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := up.Print(t, bin, state, e, "--client-requests", "always")
	e.RunT(t, "--label", "env=prod", "--name", "web", docker.Image)
	up.Await(t, state, "kernel", "docker", "containerd")
	if _, body := up.Ask(state, "/status"); strings.Contains(body, `"guard"`) {
		t.Errorf("a guard that was never there: %s", body)
	}
	g := startGuard(t, bin, e, rules, "--enforce", "--tell", state, "--approvers", "user:root")
	up.Await(t, state, "guard")

	find := func(what string, ok func(*session.Session) bool) (found session.Session) {
		t.Helper()
		testbed.Eventually(t, 30*time.Second, what, func() bool {
			all := p.Sessions()
			for i := range slices.Backward(all) {
				if ok(&all[i]) {
					found = all[i]
					return true
				}
			}
			return false
		})
		return found
	}
	runs := func(arg string) func(*session.Session) bool {
		return func(s *session.Session) bool {
			return slices.Contains(s.Argv, arg) && s.State != session.StateRunning
		}
	}

	if out, err := g.docker(t, e, 4321, "exec", "web", "/bin/busybox", "echo", "by the guard"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	got := find("what passed", runs("by the guard"))
	if got.Attribution.Level != session.LevelExact || got.Actor.UID == nil || *got.Actor.UID != 4321 || !strings.HasSuffix(got.Actor.Exe, "docker") {
		t.Errorf("%+v %+v", got.Attribution, got.Actor)
	}
	if len(got.Processes) == 0 || got.ExitCode == nil || *got.ExitCode != 0 || got.Decision == nil || got.Decision.Effect != "allow" {
		t.Errorf("processes %+v, exit %v, decision %+v", got.Processes, got.ExitCode, got.Decision)
	}

	if out, err := g.docker(t, e, 4321, "exec", "web", "sh", "-c", "echo never"); err == nil {
		t.Errorf("not denied: %s", out)
	}
	got = find("what was stopped", runs("echo never"))
	if got.State != session.StateFailed || got.Decision == nil || got.Decision.Rule != "prod-shell" || !got.Decision.Stopped || got.Actor.UID == nil || *got.Actor.UID != 4321 ||
		got.Target.ContainerName != "web" || len(got.Processes) != 0 {
		t.Errorf("%+v", got)
	}
	list := program.Run(t, bin, "sessions", "--state", state)
	t.Logf("%s", list)
	if !strings.Contains(list, "denied") {
		t.Errorf("%s", list)
	}
	if shown := program.Run(t, bin, "show", view.ShortID(got.ID), "--state", state); !strings.Contains(shown, "deny by rule prod-shell: sallyport: denied by rule prod-shell") {
		t.Errorf("%s", shown)
	}

	// What waits for a second person is a session of whoever waits, until it is another.
	stage := &approveStage{guardProcess: g, t: t, e: e, bin: bin}
	asked := stage.start(4321, "exec", "web", "/bin/busybox", "echo", "held")
	held := find("what waits", func(s *session.Session) bool { return s.State == session.StateWaiting })
	if !slices.Contains(held.Argv, "held") || held.Actor.UID == nil || *held.Actor.UID != 4321 || held.Decision == nil || held.Decision.Rule != "four-eyes" || held.Ended != nil {
		t.Errorf("%+v", held)
	}
	if list := program.Run(t, bin, "sessions", "--state", state); !strings.Contains(list, "waiting") {
		t.Errorf("%s", list)
	}
	if out, err := stage.as(0, "approve", stage.waiting(1)[0]); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := asked.wait(t); err != nil || out != "held\n" {
		t.Errorf("%v %q", err, out)
	}
	got = find("what was approved", func(s *session.Session) bool { return slices.Contains(s.Argv, "held") && s.State == session.StateEnded })
	if got.Decision == nil || got.Decision.Approver != "root" || len(got.Processes) == 0 {
		t.Errorf("%+v", got)
	}
	find("what waited is that", func(s *session.Session) bool { return s.ID == held.ID && s.SupersededBy == got.ID })

	// Beside it, whoever asks is known as ever.
	e.ExecT(t, 4321, "web", "/bin/busybox", "echo", "beside")
	if got := find("what went beside", runs("beside")); got.Attribution.Level != session.LevelExact || got.Decision != nil {
		t.Errorf("%+v %+v", got.Attribution, got.Decision)
	}
	if err := g.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v %s", err, g.said())
	}
	testbed.Eventually(t, 20*time.Second, "the guard is gone", func() bool {
		_, body := up.Ask(state, "/status")
		return strings.Contains(body, "is gone")
	})
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up ended with %v: %s", err, &p.Stderr)
	}
}
