package guard

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// TestGuardRuntime: the door at the runtime, beside that of Docker and by itself.
func TestGuardRuntime(t *testing.T) {
	testbed.Require(t, testbed.Root, testbed.Docker)
	bin, dir := program.New(t), t.TempDir()
	runtime, asks := filepath.Join(dir, "sallyport-runtime"), filepath.Join(dir, "runtime.sock")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", runtime, "github.com/sallyport/sallyport/cmd/sallyport-runtime").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	runc, err := testbed.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	config := func(plugins ...string) []byte {
		text, err := json.Marshal(map[string]any{"default-runtime": "guarded", "authorization-plugins": append([]string{}, plugins...), "runtimes": map[string]any{
			"guarded": map[string]any{"path": runtime, "runtimeArgs": []string{"--sallyport-runtime=" + runc, "--sallyport-socket=" + asks}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	rules := filepath.Join(dir, "r.yaml")
	if err := os.WriteFile(rules, []byte(`version: 1
default: allow
rules:
  - {id: by-ctr, when: 'session.channel == "RT-CTR" && "ok" in session.argv', effect: allow}
  - {id: by-run, when: 'session.channel == "RT-RUN" && "1000" in session.argv', effect: allow}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	e := docker.New(t, docker.Options{Config: string(config())})
	says := func(cmd *exec.Cmd, want string, goesOn bool) {
		t.Helper()
		if out, err := cmd.CombinedOutput(); (err == nil) != goesOn || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v and not %q but %s", cmd.Args, err, want, out)
		}
	}
	begin := func(args ...string) *guardProcess {
		return runGuard(t, exec.Command(bin, append(args, "--rules", rules, "--enforce", "--control", "off")...))
	}
	socket := filepath.Join(dir, "docker.sock")
	p := begin("guard", "docker", "--listen", "unix://"+socket, "--to", e.Address, "--runtime", "unix://"+asks, "--tell", "off")
	p.await(t, "Answering sallyport-runtime at unix://"+asks)
	guarded := func(args ...string) *exec.Cmd {
		cmd := e.CLI(t.Context(), args...)
		cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+socket)
		return cmd
	}
	says(guarded("run", "-d", "--name", "web", "--network", "none", docker.Image), "", true)
	says(guarded("exec", "web", "/bin/echo", "by the guard"), "by the guard", true)
	id, err := docker.Output(guarded("inspect", "-f", "{{.Id}}", "web"))
	if err != nil {
		t.Fatal(err)
	}
	ctr := func(exec string, argv ...string) *exec.Cmd {
		return e.Ctr(t.Context(), append([]string{"tasks", "exec", "--exec-id", exec, id}, argv...)...)
	}
	says(ctr("e1", "/bin/echo", "beside"), "OCI runtime exec failed: sallyport: denied here: a command that came beside the guard, by containerd", false)
	says(ctr("e2", "/bin/echo", "ok"), "", true) // dockerd may delete the exec before ctr has what it said
	p.await(t, "deny  unknown  RT-CTR  web  /bin/echo beside")
	p.await(t, "allow  unknown  RT-CTR  web  /bin/echo ok")
	if err := p.end(syscall.SIGTERM); err != nil || !strings.Contains(p.said(), "calls of the runtime, 1 denied, 0 misread") {
		t.Errorf("%v %s", err, p.said())
	}

	says(ctr("e3", "/bin/echo", "ok"), "sallyport guard does not answer", false)
	state := filepath.Join(dir, "state")
	watch := up.Print(t, bin, state, e)
	up.Await(t, state, "kernel", "docker", "containerd")
	p = begin("guard", "runtime", "--listen", "unix://"+asks, "--tell", state)
	up.Await(t, state, "guard")
	says(ctr("e4", "/bin/echo", "ok"), "", true)
	p.await(t, "allow  unknown  RT-CTR  "+id[:12]+"  /bin/echo ok")
	says(ctr("e5", "/bin/echo", "beside"), "sallyport: denied here", false)
	wrapper := filepath.Join(dir, "wrapper")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nexec "+runtime+" --sallyport-runtime="+runc+" --sallyport-socket="+asks+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	says(e.Ctr(t.Context(), "run", "--runc-binary", wrapper, "--runc-root", filepath.Join(dir, "roots"), "--rootfs", dir, "c1", "/bin/never"), "sallyport: denied here", false)
	says(e.CLI(t.Context(), "run", "-d", "--name", "more", "--network", "none", docker.Image, "/bin/sleep", "1000"), "", true)
	toldAtRuntime(t, watch)
	for _, err := range []error{p.end(syscall.SIGTERM), watch.End(syscall.SIGTERM)} {
		if err != nil {
			t.Errorf("%v %s %s", err, p.said(), &watch.Stderr)
		}
	}

	// Beside the authorization plugin, which the daemon asks about our own questions, too,
	// while it waits for the runtime.
	a := &authzStage{t: t, e: e, bin: bin, name: fmt.Sprintf("sallyport-runtime-%d", os.Getpid()), rules: rules}
	t.Cleanup(func() { _ = os.Remove(a.socket()) })
	a.plugin("--enforce", "--runtime", "unix://"+asks)
	asksPlugin := func(plugins ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(e.Dir, "daemon.json"), config(plugins...), 0o644); err != nil {
			t.Fatal(err)
		}
		a.reload()
		testbed.Eventually(t, 20*time.Second, "the daemon has read its configuration", func() bool {
			out, _ := a.docker("plugin", "disable", "none-of-this-name") // which no rule names
			return strings.Contains(out, "denied by plugin "+a.name) == (len(plugins) > 0)
		})
	}
	asksPlugin(a.name)
	says(e.CLI(t.Context(), "exec", "web", "/bin/echo", "by the plugin"), "by the plugin", true)
	says(e.CLI(t.Context(), "run", "--rm", "--network", "none", docker.Image, "/bin/echo", "hello"), "hello", true)
	says(ctr("e6", "/bin/echo", "beside"), "sallyport: denied here", false)
	a.p.await(t, "deny  unknown  RT-CTR  web  /bin/echo beside")
	asksPlugin()
	if err := a.p.end(syscall.SIGTERM); err != nil || !strings.Contains(a.p.said(), "; 3 calls of the runtime, 1 denied, 0 misread") {
		t.Errorf("%v %s", err, a.p.said())
	}
}

// toldAtRuntime: what was decided at the runtime stands in the sessions, of execs and of
// containers; what was stopped is a session.
func toldAtRuntime(t *testing.T, p *up.Printing) {
	t.Helper()
	for arg, want := range map[string]struct {
		effect  effect.Effect
		rule    string
		stopped bool
	}{
		"ok":         {effect.Allow, "by-ctr", false},
		"beside":     {effect.Deny, "", true},
		"/bin/never": {effect.Deny, "", true},
		"1000":       {effect.Allow, "by-run", false},
	} {
		testbed.Eventually(t, 30*time.Second, arg, func() bool {
			for _, s := range latest(p.Sessions()) {
				if d := s.Decision; slices.Contains(s.Argv, arg) && d != nil {
					if d.Effect != want.effect || d.Rule != want.rule || d.Stopped != want.stopped || (s.State == session.StateFailed) != want.stopped {
						t.Errorf("%s: %+v", arg, s)
					}
					return true
				}
			}
			return false
		})
	}
}
