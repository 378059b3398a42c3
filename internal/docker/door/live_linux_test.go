package door_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/podman"
)

// envClient has the test program be a client of the socket that it names.
const envClient = "SALLYPORT_TEST_DOOR"

func TestMain(m *testing.M) {
	if socket := os.Getenv(envClient); socket != "" {
		os.Exit(client(socket))
	}
	os.Exit(podman.Main(withDocker{m}))
}

// withDocker are tests with a Docker engine.
type withDocker struct{ m *testing.M }

// Run runs them.
func (w withDocker) Run() int { return docker.Main(w.m) }

// client sends its input and prints what comes back.
func client(socket string) int {
	c, err := net.Dial("unix", socket)
	if err == nil {
		_, err = io.Copy(c, os.Stdin)
	}
	if err == nil {
		_, err = io.Copy(os.Stdout, c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// as sends bytes as another user and returns what comes back.
func (d *doorway) as(t testing.TB, uid uint32, raw string) string {
	t.Helper()
	cmd := docker.As(exec.CommandContext(t.Context(), d.program(t)), uid)
	cmd.Env = append(os.Environ(), envClient+"="+d.socket)
	cmd.Stdin = strings.NewReader(raw)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// program returns a copy of the test program that anybody may run.
func (d *doorway) program(t testing.TB) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(d.socket), "client")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	b, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// everything allows all that there is.
const everything = `
version: 1
default: allow
rules:
  - {id: all, when: 'session.channel.startsWith("DK-")', effect: allow}
  - {id: rest, when: 'session.channel == "UNKNOWN"', effect: allow}
`

// doorway is a proxy in front of the engine's socket.
type doorway struct {
	engine *docker.Engine
	socket string
	env    []string // of its docker command line, besides
	judge  *guard.Guard
	proxy  *door.Proxy
	stop   func()

	mu      sync.Mutex
	records []guard.Record      // guarded by mu
	facts   []event.Observation // guarded by mu
}

func load(t testing.TB, text string) *policy.Set {
	t.Helper()
	set, err := policy.Load([]policy.File{{Name: "rules.yaml", Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func names(uid uint32) string {
	if uid == 0 {
		return "root"
	}
	return ""
}

// open starts a proxy that enforces.
func open(t testing.TB, e *docker.Engine, rules string, change ...func(*door.Options, *guard.Options)) *doorway {
	t.Helper()
	d := &doorway{engine: e, socket: filepath.Join(t.TempDir(), "door.sock")}
	g := guard.Options{Rules: load(t, rules), Enforce: true, Tell: func(r guard.Record) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.records = append(d.records, r)
	}}
	o := door.Options{Network: "unix", Address: e.Socket, Peer: kernel.SocketPeer, User: names, Stop: 3 * time.Second, Observe: func(f event.Observation) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.facts = append(d.facts, f)
	}}
	for _, f := range change {
		f(&o, &g)
	}
	d.judge = guard.New(g)
	o.Judge = d.judge
	d.proxy = door.New(o)
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(d.socket); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.proxy.Serve(ctx, l) }()
	var once sync.Once
	d.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(d.stop)
	return d
}

// decided returns what was decided so far.
func (d *doorway) decided() []guard.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]guard.Record(nil), d.records...)
}

// cli returns the docker command line, by way of the door.
func (d *doorway) cli(t testing.TB, args ...string) *exec.Cmd {
	cmd := d.engine.CLI(t.Context(), args...)
	cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+d.socket, "DOCKER_BUILDKIT=0")
	cmd.Env = append(cmd.Env, d.env...)
	return cmd
}

// run runs the docker command line by way of the door.
func (d *doorway) run(t testing.TB, args ...string) (string, error) {
	t.Helper()
	out, err := d.cli(t, args...).CombinedOutput()
	return docker.Said(out), err
}

func (d *doorway) must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := d.run(t, args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// everyday has nothing stopped that everything allows.
func everyday(t *testing.T, e *docker.Engine, d *doorway) {
	id := strings.TrimSpace(d.must(t, "run", "-d", "--name", "door-flow", "--network", "none", docker.Image))
	t.Cleanup(func() { _ = e.Remove(context.Background(), id) })

	t.Run("run", func(t *testing.T) {
		if out := d.must(t, "run", "--rm", docker.Image, "/bin/echo", "hello"); out != "hello\n" {
			t.Errorf("%q", out)
		}
		out, err := d.run(t, "run", "--rm", docker.Image, "/bin/sh", "-c", "exit 7")
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 7 {
			t.Errorf("%v %s", err, out)
		}
		cmd := d.cli(t, "run", "-i", "--rm", docker.Image, "/bin/cat")
		cmd.Stdin = strings.NewReader("through and through\n")
		if out, err := cmd.CombinedOutput(); err != nil || docker.Said(out) != "through and through\n" {
			t.Errorf("%v %q", err, out)
		}
	})
	t.Run("exec", func(t *testing.T) {
		if out := d.must(t, "exec", "door-flow", "/bin/echo", "a b", "c"); out != "a b c\n" {
			t.Errorf("%q", out)
		}
		if out, err := d.run(t, "exec", id[:12], "/bin/sh", "-c", "echo out; echo err >&2; exit 3"); err == nil || !strings.Contains(out, "out\n") || !strings.Contains(out, "err\n") {
			t.Errorf("%v %q", err, out)
		}
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
		cmd := d.cli(t, "exec", "-i", "door-flow", "/bin/cat")
		cmd.Stdin = bytes.NewReader(big)
		var stdout bytes.Buffer
		cmd.Stdout = &stdout
		if err := cmd.Run(); err != nil || !bytes.Equal(stdout.Bytes(), big) {
			t.Errorf("%v, %d bytes of %d", err, stdout.Len(), len(big))
		}
		d.must(t, "exec", "-d", "door-flow", "/bin/touch", "/tmp/detached")
		if out, err := d.run(t, "exec", "door-flow", "/bin/nowhere"); err == nil || !strings.Contains(out, "no such file") {
			t.Errorf("%v %s", err, out)
		}
	})
	t.Run("cp", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("copied\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		d.must(t, "cp", filepath.Join(dir, "f"), "door-flow:/tmp/f")
		d.must(t, "cp", "door-flow:/tmp/f", filepath.Join(dir, "g"))
		if b, err := os.ReadFile(filepath.Join(dir, "g")); err != nil || string(b) != "copied\n" {
			t.Errorf("%q %v", b, err)
		}
	})
	t.Run("build", func(t *testing.T) {
		dir := t.TempDir()
		file := "FROM " + docker.Image + "\nRUN [\"/bin/touch\",\"/made\"]\nCMD [\"/bin/ls\",\"/made\"]\n"
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
		d.must(t, "build", "-t", "sallyport.test/door:1", dir)
		if out := d.must(t, "run", "--rm", "sallyport.test/door:1"); out != "/made\n" {
			t.Errorf("%q", out)
		}
		d.must(t, "tag", "sallyport.test/door:1", "sallyport.test/door:2")
		d.must(t, "rmi", "sallyport.test/door:2", "sallyport.test/door:1")
	})
	t.Run("logs and events", func(t *testing.T) {
		loud := strings.TrimSpace(d.must(t, "run", "-d", docker.Image, "/bin/sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.3; done"))
		t.Cleanup(func() { _ = e.Remove(context.Background(), loud) })
		if out := d.must(t, "logs", "-f", loud); out != "line 1\nline 2\nline 3\n" {
			t.Errorf("%q", out)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cmd := d.engine.CLI(ctx, "events", "--format", "{{.Action}}", "--filter", "container=door-flow")
		cmd.Env = append(append(cmd.Env, "DOCKER_HOST=unix://"+d.socket), d.env...)
		seen := &lines{}
		cmd.Stdout = seen
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { cancel(); _ = cmd.Wait() }()
		eventually(t, func() bool {
			d.must(t, "exec", "door-flow", "/bin/true")
			return strings.Contains(seen.String(), "exec_create: /bin/true") && strings.Contains(seen.String(), "exec_die")
		})
	})
	t.Run("others", func(t *testing.T) {
		d.must(t, "stats", "--no-stream", "door-flow")
		d.must(t, "top", "door-flow", "-eo", "pid,comm")
		d.must(t, "rename", "door-flow", "door-flow2")
		d.must(t, "pause", "door-flow2")
		d.must(t, "unpause", "door-flow2")
		d.must(t, "update", "--memory", "64m", "--memory-swap", "64m", "door-flow2")
		d.must(t, "commit", "-c", "CMD [\"/bin/ls\"]", "door-flow2", "sallyport.test/committed:1")
		d.must(t, "rmi", "sallyport.test/committed:1")
		d.must(t, "volume", "create", "door-volume")
		d.must(t, "volume", "rm", "door-volume")
		d.must(t, "stop", "-t", "0", "door-flow2")
		d.must(t, "start", "door-flow2")
		d.must(t, "restart", "-t", "0", "door-flow2")
		d.must(t, "kill", "door-flow2")
		d.must(t, "diff", "door-flow2")
		d.must(t, "inspect", "door-flow2")
		d.must(t, "images")
		d.must(t, "system", "df")
		d.must(t, "info")
		d.must(t, "rm", "-f", "door-flow2")
		if out, err := d.run(t, "exec", "nobody-knows", "id"); err == nil || !strings.Contains(out, "No such container: nobody-knows") {
			t.Errorf("%v %s", err, out)
		}
		if out, err := d.run(t, "run", "--pull", "never", "no.such/image:1"); err == nil || !strings.Contains(strings.ToLower(out), "no such image") {
			t.Errorf("%v %s", err, out)
		}
	})
	for _, r := range d.decided() {
		if r.Stopped || r.Misread != "" {
			t.Errorf("%s %s %s: %s %s", r.Request.Kind, r.Request.Channel, r.Request.Path, r.Decision.Message, r.Misread)
		}
	}
}

// lines is a buffer that is read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns what was written so far.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come about")
		}
	}
}
