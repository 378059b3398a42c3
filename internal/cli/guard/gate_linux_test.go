package guard

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// TestGuardGate: with the gate on, a real daemon is reached through the guard
// alone, also from a container that has the raw socket under another name; until
// somebody breaks the glass.
func TestGuardGate(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	e, bin, pins := docker.New(t, docker.Options{}), program.New(t), bpfDir(t)
	dockerd, err := testbed.LookPath("dockerd")
	if err != nil {
		t.Fatal(err)
	}
	gate := func(args ...string) (string, error) {
		out, err := exec.Command(bin, append([]string{"guard", "gate", "--pins", pins}, args...)...).CombinedOutput()
		t.Logf("$ sallyport guard gate %s\n%s", strings.Join(args, " "), out)
		return string(out), err
	}
	on := func(args ...string) {
		t.Helper()
		if out, err := gate(append([]string{"on", "--socket", e.Socket, "--socket", e.ContainerdSocket, "--allow-exe", dockerd}, args...)...); err != nil {
			t.Fatal(out)
		}
	}
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("version: 1\ndefault: allow\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := startGuard(t, bin, e, rules, "--enforce")
	inside := e.RunT(t, "-v", e.Socket+":/other.sock", "-v", proxy.socket+":"+e.Socket, "--name", "inside", docker.Image)
	direct := func(what string, cmd *exec.Cmd, want bool) {
		t.Helper()
		out, err := cmd.CombinedOutput()
		if (err == nil) != want {
			t.Errorf("%s: %v, %s", what, err, out)
		}
	}
	tell := func(path string) *exec.Cmd {
		cmd := e.CLI(t.Context(), "exec", "-e", "TRUTH=this is no request", "inside", "/bin/actor", "tell", path) // of fewer than 14 bytes moby v2 waits for more
		cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+proxy.socket)
		return cmd
	}

	if out, err := gate("on", "--socket", proxy.socket); err == nil || !strings.Contains(out, "is the guard's own socket") {
		t.Errorf("%v, %s", err, out)
	}
	on()
	direct("docker, observed", e.CLI(t.Context(), "ps"), true)
	direct("a container, observed", tell("/other.sock"), true)
	w := watchGate(t, bin, pins)
	w.await(t, event.GateSeen, e.Socket, "")
	w.await(t, event.GateSeen, e.Socket, inside)

	on("--enforce")
	direct("docker", e.CLI(t.Context(), "ps"), false)
	direct("docker of a user", docker.As(e.CLI(t.Context(), "ps"), 4321), false)
	direct("a container, under another name", tell("/other.sock"), false)
	gateLines(t, bin, pins, "  refused  root  /", "]  host  "+e.Socket, "  refused  uid 4321  /", "  refused  root  /bin/actor[", "  container "+inside[:12]+"  "+e.Socket)
	w = watchGate(t, bin, pins)
	direct("ctr", e.Ctr(t.Context(), "containers", "list"), false)
	direct("a container, under another name", tell("/other.sock"), false)
	direct("a container, by the guard under the raw socket's name", tell(e.Socket), true)
	w.await(t, event.GateRefused, e.ContainerdSocket, "")
	if s := w.await(t, event.GateRefused, e.Socket, inside); s.Asked != "" && s.Asked != "/other.sock" {
		t.Errorf("asked for %q", s.Asked)
	}
	if out, err := proxy.docker(t, e, 4321, "run", "--rm", docker.Image, "echo", "fine"); err != nil || out != "fine\n" {
		t.Errorf("by the guard: %v, %s", err, out)
	}
	if out, err := gate("status"); err != nil || !strings.Contains(out, "ENFORCING") || strings.Contains(out, ": 0 let through") {
		t.Errorf("status: %v, %s", err, out)
	}
	if err := proxy.end(syscall.SIGKILL); err == nil {
		t.Error("it ended in order")
	}
	direct("docker, when the guard was killed", e.CLI(t.Context(), "ps"), false)
	if out, err := exec.Command("rm", "-r", pins).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	// The kernel lets go of a program some time after its last pin is gone.
	testbed.Eventually(t, 10*time.Second, "docker, when the glass is broken", func() bool { return e.CLI(t.Context(), "ps").Run() == nil })
	if out, err := gate("status"); err == nil || out != "No gate is on.\n" {
		t.Errorf("status: %v, %s", err, out)
	}
}

// bpfDir returns where to pin a gate, on a BPF file system of the test's own.
func bpfDir(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := unix.Mount("bpf", root, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "gate")
	t.Cleanup(func() {
		_ = kernel.NewGate(dir).Off()
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// gateWatcher is a running sallyport guard gate watch --json.
type gateWatcher chan event.GateSighting

func watchGate(t *testing.T, bin, pins string) gateWatcher {
	t.Helper()
	cmd := exec.Command(bin, "guard", "gate", "watch", "--json", "--pins", pins)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := make(gateWatcher, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var s event.GateSighting
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				t.Errorf("%v: %s", err, lines.Bytes())
			}
			w <- s
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
	})
	return w
}

// gateLines runs sallyport guard gate watch until its lines hold all of texts.
func gateLines(t *testing.T, bin, pins string, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "guard", "gate", "watch", "--pins", pins)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	missing := func(text string) bool { return !strings.Contains(said.String(), text) }
	for lines := bufio.NewScanner(out); slices.ContainsFunc(texts, missing) && lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
	}
	cancel()
	_ = cmd.Wait()
	if slices.ContainsFunc(texts, missing) {
		t.Errorf("not all of %q is in", texts)
	}
	t.Logf("watched:\n%s", said.String())
}

// await waits for a sighting at a socket of somebody in a container ("": on the host).
func (w gateWatcher) await(t *testing.T, v event.GateVerdict, socket, container string) event.GateSighting {
	t.Helper()
	var others []event.GateSighting
	for late := time.After(20 * time.Second); ; {
		select {
		case s := <-w:
			if s.Verdict == v && string(s.Socket) == socket && string(s.Peer.Container) == container {
				return s
			}
			others = append(others, s)
		case <-late:
			t.Fatalf("nobody in %q was %s at %s: %+v", container, v, socket, others)
		}
	}
}

// TestGateIsTold: who tries to go round the guard is a session of whoever watches,
// with the asker's name, however often he tries.
func TestGateIsTold(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	e, bin, pins, state := docker.New(t, docker.Options{}), program.New(t), bpfDir(t), filepath.Join(t.TempDir(), "state")
	dockerd, err := testbed.LookPath("dockerd")
	if err != nil {
		t.Fatal(err)
	}
	on := func(args ...string) {
		t.Helper()
		all := append([]string{"guard", "gate", "--pins", pins, "on", "--socket", e.Socket, "--allow-exe", dockerd}, args...)
		if out, err := exec.Command(bin, all...).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	// One that is connected before the gate is on may wait for an answer for ever.
	inside := e.RunT(t, "-v", e.Socket+":/other.sock", docker.Image, "sh", "-c", "while :; do /bin/actor tell /other.sock & sleep 1; done")
	p := up.Print(t, bin, state, e, "--gate", pins)
	up.Await(t, state, "kernel", "docker", "containerd")
	if _, body := up.Ask(state, "/status"); strings.Contains(body, `"gate"`) {
		t.Errorf("a gate that was never there: %s", body)
	}
	on()
	up.Await(t, state, "gate")
	on("--enforce")
	find := func(what string, ok func(*session.Session) bool) (found session.Session) {
		t.Helper()
		testbed.Eventually(t, 30*time.Second, what, func() bool {
			_ = docker.As(e.CLI(t.Context(), "ps"), 4321).Run()
			if c, err := net.Dial("unix", e.Socket); err == nil {
				_ = c.Close()
			}
			for _, s := range p.Sessions() {
				if s.Path == e.Socket && s.State == session.StateFailed && ok(&s) {
					found = s
					return true
				}
			}
			return false
		})
		if found.Decision == nil || !found.Decision.Stopped || found.Attribution.Level != session.LevelExact {
			t.Errorf("%s: %+v", what, found)
		}
		return found
	}
	find("a user", func(s *session.Session) bool { return s.Actor.UID != nil && *s.Actor.UID == 4321 })
	find("a container", func(s *session.Session) bool {
		return string(s.Actor.Container) == inside && s.Actor.Exe == "/bin/actor"
	})
	of := find("one process, again and again", func(s *session.Session) bool {
		return int(s.Actor.PID) == os.Getpid() && len(s.Evidence) == 2 && s.Ended.After(s.Started)
	})
	if shown := program.Run(t, bin, "show", view.ShortID(of.ID), "--state", state); !strings.Contains(shown, "the socket gate lets nobody connect to "+e.Socket) {
		t.Errorf("%s", shown)
	}
	if err := kernel.NewGate(pins).Off(); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, 20*time.Second, "the gate is off", func() bool {
		_, body := up.Ask(state, "/status")
		return strings.Contains(body, "the gate was switched off")
	})
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up ended with %v: %s", err, &p.Stderr)
	}
}
