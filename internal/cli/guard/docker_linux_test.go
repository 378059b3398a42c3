package guard

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

const guardRules = `version: 1
default: allow
rules:
  - id: prod-shell
    when: >-
      session.kind == "exec" && session.target.labels["env"] == "prod" &&
      basename(session.argv[0]) in ["sh", "bash"]
    effect: deny
    severity: high
    message: "{{.Actor}} may not run {{.Command}} in {{.Target}}: ask the one on call"
  - id: no-host
    when: session.target.host_access.privileged || session.target.host_access.paths.exists(p, p == "/")
    effect: deny
    severity: critical
  - id: copies
    when: session.channel == "DK-ARCHIVE" && session.actor.user == "root"
    effect: allow
`

// guardProcess is a running sallyport guard docker.
type guardProcess struct {
	cmd     *exec.Cmd
	socket  string
	control string
	mu      sync.Mutex
	out     bytes.Buffer // guarded by mu
	done    chan error
}

func startGuard(t *testing.T, bin string, e *docker.Engine, rules string, args ...string) *guardProcess {
	t.Helper()
	socket, control := filepath.Join(filepath.Dir(bin), "docker.sock"), filepath.Join(filepath.Dir(bin), "guard.sock")
	args = append([]string{"guard", "docker", "--control", "unix://" + control, "--to", e.Address, "--rules", rules, "--group", strconv.Itoa(docker.ClientGID)}, args...)
	p := startGuardAt(t, "unix://"+socket, exec.Command(bin, args...))
	p.socket, p.control = socket, control
	return p
}

// startGuardAt starts a guard that listens somewhere, and waits until it does.
func startGuardAt(t *testing.T, listen string, cmd *exec.Cmd) *guardProcess {
	t.Helper()
	cmd.Args = append(cmd.Args, "--listen", listen)
	return runGuard(t, cmd)
}

// runGuard runs the program until it says that it does its work.
func runGuard(t *testing.T, cmd *exec.Cmd) *guardProcess {
	t.Helper()
	p := &guardProcess{cmd: cmd, done: make(chan error, 1)}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	go func() {
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			p.mu.Lock()
			fmt.Fprintln(&p.out, lines.Text())
			p.mu.Unlock()
		}
		p.done <- p.cmd.Wait()
	}()
	t.Cleanup(func() { _ = p.end(syscall.SIGKILL) })
	p.await(t, "Stop with Ctrl-C.")
	return p
}

func (p *guardProcess) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *guardProcess) await(t *testing.T, text string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the guard said: %s", p.said())
		}
	}()
	testbed.Eventually(t, 20*time.Second, text, func() bool { return strings.Contains(p.said(), text) })
}

func (p *guardProcess) end(s os.Signal) error {
	if p.cmd.Process.Signal(s) != nil {
		return nil
	}
	return <-p.done
}

// docker runs the command line as a user, by way of the guard.
func (p *guardProcess) docker(t *testing.T, e *docker.Engine, uid uint32, args ...string) (string, error) {
	t.Helper()
	cmd := docker.As(e.CLI(t.Context(), args...), uid)
	cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+p.socket)
	out, err := cmd.CombinedOutput()
	return docker.Said(out), err
}

// TestGuardDocker: the program as a person runs it. It says loudly that it only
// observes, enforces when told so, keeps its rules when new ones are broken, and
// leaves nothing behind.
func TestGuardDocker(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	e, bin := docker.New(t, docker.Options{}), program.New(t)
	rules := filepath.Join(t.TempDir(), "prod.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(guardRules)
	e.RunT(t, "--label", "env=prod", "--name", "web", docker.Image)

	p := startGuard(t, bin, e, rules)
	if !strings.Contains(p.said(), "OBSERVING ONLY: nothing is stopped") {
		t.Errorf("%s", p.said())
	}
	if out, err := p.docker(t, e, 0, "exec", "web", "sh", "-c", "echo hello"); err != nil || out != "hello\n" {
		t.Errorf("%v %s", err, out)
	}
	p.await(t, "would deny  root  DK-EXEC  web  sh -c 'echo hello'  rule prod-shell")
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v %s", err, p.said())
	}
	if _, err := os.Stat(p.socket); err == nil {
		t.Error("the socket is left")
	}
	t.Logf("observing:\n%s", p.said())

	p = startGuard(t, bin, e, rules, "--enforce")
	refused := func(uid uint32, text string, args ...string) {
		t.Helper()
		if out, err := p.docker(t, e, uid, args...); err == nil || !strings.Contains(out, text) {
			t.Errorf("%v: %v %s", args, err, out)
		} else {
			t.Logf("$ docker %s\n%s", strings.Join(args, " "), out)
		}
	}
	refused(0, "denied by rule prod-shell: root may not run sh -c id in web", "exec", "-i", "web", "sh", "-c", "id")
	refused(0, "denied by rule no-host", "run", "--rm", "-v", "/:/host", docker.Image, "id")
	refused(4321, "copying files into or out of a container is allowed only by a rule that asks for session.channel", "cp", "web:/bin/busybox", "-")
	if out, err := p.docker(t, e, 0, "cp", "web:/etc", "-"); err != nil {
		t.Errorf("%v %s", err, out)
	}
	write("version: 1\nrules: [")
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	p.await(t, "the ones before stay at work")
	refused(4321, "denied by rule prod-shell: uid 4321 may not", "exec", "web", "sh")
	write("version: 1\ndefault: deny\n")
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	p.await(t, "rules loaded again")
	refused(0, "denied by default", "exec", "web", "true")
	if out, err := p.docker(t, e, 4321, "ps"); err != nil || !strings.Contains(out, "web") {
		t.Errorf("%v %s", err, out)
	}
	if out, err := exec.Command(bin, "guard", "docker", "--listen", "unix://"+p.socket, "--to", e.Address, "--rules", rules).CombinedOutput(); err == nil || !strings.Contains(string(out), "somebody listens") {
		t.Errorf("%v %s", err, out)
	}
	t.Logf("enforcing:\n%s", p.said())
	if err := p.end(syscall.SIGKILL); err == nil {
		t.Error("it ended in order")
	}

	p = startGuard(t, bin, e, rules, "--enforce", "--json") // over the socket that the killed one left
	refused(4321, "denied by default", "exec", "web", "true")
	p.await(t, `"effect":"deny"`)
	for line := range strings.Lines(p.said()) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var r struct {
			Request struct {
				Channel string
				Argv    []string
				Actor   struct{ UID int }
			}
			Stopped bool
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil || !r.Stopped || r.Request.Actor.UID != 4321 || len(r.Request.Argv) != 1 {
			t.Errorf("%v %s", err, line)
		}
	}
}
