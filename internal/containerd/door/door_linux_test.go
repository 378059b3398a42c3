package door_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/containerd/door"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	dockerdoor "github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// doors are both doors of one guard: that of the Docker socket, and that of the
// runtime.
type doors struct {
	engine  *docker.Engine
	program string // sallyport-runtime
	dir     string
	socket  string // in front of Docker

	mu      sync.Mutex
	records []guard.Record   // guarded by mu
	told    []event.Decision // guarded by mu
	stop    func()           // ends the runtime's door
}

const names = `
version: 1
default: allow
rules:
  - {id: never, when: '"never" in session.argv', effect: deny, severity: high, message: "{{.Actor}} may not run {{.Command}}"}
  - {id: by-ctr, when: 'session.channel == "RT-CTR" && "allowed" in session.argv', effect: allow}
`

// open starts an engine whose runtime is ours, and the doors.
func open(t *testing.T, rules string) *doors {
	t.Helper()
	testbed.Require(t, testbed.Docker)
	d := &doors{dir: t.TempDir()}
	d.build(t)
	runtime := func(args ...string) map[string]any {
		return map[string]any{"path": d.program, "runtimeArgs": append(d.flags(t), args...)}
	}
	config, err := json.Marshal(map[string]any{
		"default-runtime": "door", "runtimes": map[string]any{"door": runtime(), "open": runtime("--sallyport-unguarded")},
	})
	if err != nil {
		t.Fatal(err)
	}
	d.engine = docker.New(t, docker.Options{Config: string(config)})
	judge := d.guard(t, rules)
	proxy := dockerdoor.New(dockerdoor.Options{Network: "unix", Address: d.engine.Socket, Judge: judge, Peer: kernel.SocketPeer})
	d.socket = filepath.Join(d.dir, "docker.sock")
	serve(t, d.socket, proxy.Serve)
	known := proxy.Known()
	d.stop = serve(t, d.at(), door.New(door.Options{
		Judge: judge, Peer: kernel.SocketPeer, Observe: func(o event.Observation) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if o, ok := o.(event.Decision); ok {
				d.told = append(d.told, o)
			}
		},
		Docker: func(ctx context.Context, id event.ContainerID) (*door.Docker, error) {
			target, health, err := known.Container(ctx, id)
			if target == nil {
				return nil, err
			}
			return &door.Docker{Target: *target, Health: health}, err
		},
	}).Serve)
	return d
}

// build builds sallyport-runtime.
func (d *doors) build(t *testing.T) {
	t.Helper()
	d.program = filepath.Join(d.dir, "sallyport-runtime")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", d.program, "github.com/sallyport/sallyport/cmd/sallyport-runtime").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// guard returns what decides, and keeps its records.
func (d *doors) guard(t *testing.T, rules string) *guard.Guard {
	t.Helper()
	set, err := policy.Load([]policy.File{{Name: "rules.yaml", Data: []byte(rules)}})
	if err != nil {
		t.Fatal(err)
	}
	return guard.New(guard.Options{Rules: set, Enforce: true, Tell: func(r guard.Record) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.records = append(d.records, r)
	}})
}

func (d *doors) at() string { return filepath.Join(d.dir, "runtime.sock") }

// serve serves at a socket until the test ends, or what it returns is called.
func serve(t *testing.T, path string, run func(context.Context, net.Listener) error) func() {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// guarded returns the docker command line, by way of the door.
func (d *doors) guarded(t *testing.T, args ...string) *exec.Cmd {
	cmd := d.engine.CLI(t.Context(), args...)
	cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+d.socket)
	return cmd
}

// flags are those of the program: which runtime it becomes, and whom it asks.
func (d *doors) flags(t *testing.T) []string {
	t.Helper()
	runc, err := testbed.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	return []string{"--sallyport-runtime=" + runc, "--sallyport-socket=" + d.at()}
}

// script returns a program that is the runtime, for who can give it no arguments.
func (d *doors) script(t *testing.T) string {
	path := filepath.Join(d.dir, "runtime")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec "+d.program+" "+strings.Join(d.flags(t), " ")+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// ctr returns ctr, for the engine's own containerd.
func (d *doors) ctr(t *testing.T, args ...string) *exec.Cmd {
	return d.engine.Ctr(t.Context(), args...)
}

// since returns what was decided after so many records.
func (d *doors) since(n int) []guard.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.records[n:])
}

func (d *doors) count() int { return len(d.since(0)) }

func runs(t *testing.T, cmd *exec.Cmd, want string) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%q: %v, and not %q but %q", cmd.Args, err, want, out)
	}
	return strings.TrimSpace(string(out))
}

// refused runs what must not begin.
func refused(t *testing.T, cmd *exec.Cmd, why ...string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("%q goes on: %s", cmd.Args, out)
	}
	for _, w := range why {
		if !strings.Contains(string(out), w) {
			t.Errorf("%q: %v says not %q but %q", cmd.Args, err, w, out)
		}
	}
}

// box starts a container by way of the door; it is removed at the end.
func (d *doors) box(t *testing.T, args ...string) string {
	t.Helper()
	id, err := docker.Output(d.guarded(t, append([]string{"run", "-d", "--network", "none"}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.engine.Remove(context.Background(), id) })
	return id
}

// TestBesideDocker: what the door in front of Docker let through begins, once. What
// comes to the runtime by another way is judged there, and refused unless a rule names
// the way.
func TestBesideDocker(t *testing.T) {
	t.Parallel()
	d := open(t, names)
	id := d.box(t, docker.Image)
	before := d.count()
	runs(t, d.guarded(t, "exec", id, "/bin/echo", "by the door"), "by the door")
	runs(t, d.guarded(t, "exec", "-t", id, "/bin/echo", "on a terminal"), "on a terminal")
	runs(t, d.guarded(t, "restart", "-t", "0", id), "")
	for _, r := range d.since(before) {
		if strings.HasPrefix(string(r.Request.Channel), "RT-") || r.Stopped {
			t.Errorf("judged twice: %+v", r)
		}
	}

	marker := "/tmp/ran"
	for name, cmd := range map[string]*exec.Cmd{
		"ctr":                  d.ctr(t, "tasks", "exec", "--exec-id", "e1", id, "/bin/touch", marker),
		"Docker's own socket":  d.engine.CLI(t.Context(), "exec", id, "/bin/touch", marker),
		"detached, by its own": d.engine.CLI(t.Context(), "exec", "-d", id, "/bin/touch", marker),
	} {
		before = d.count()
		refused(t, cmd)
		got := d.since(before)
		if len(got) != 1 || got[0].Request.Channel != event.ChannelRuntimeCtr || !got[0].Stopped ||
			!slices.Equal(got[0].Request.Argv, []string{"/bin/touch", marker}) || got[0].Request.Target.ContainerID != event.ContainerID(id) ||
			got[0].Request.Target.Image != docker.Image {
			t.Errorf("%s: %+v", name, got)
		}
	}
	refused(t, d.engine.CLI(t.Context(), "exec", id, "/bin/touch", marker), "OCI runtime exec failed", "sallyport: denied here", "beside the guard")
	refused(t, d.ctr(t, "tasks", "exec", "--exec-id", "e2", id, "/bin/touch", "never"), "sallyport: denied by rule never: somebody unknown may not run /bin/touch never")
	for namespace, want := range map[string]event.Channel{"other": event.ChannelRuntimeRun, "moby": event.ChannelRuntimeRun, "k8s.io": event.ChannelRuntimeCRI} {
		before = d.count()
		refused(t, d.engine.Ctr(t.Context(), "-n", namespace, "run", "--runc-binary", d.script(t),
			"--runc-root", filepath.Join(d.dir, namespace), "--rootfs", d.dir, "c1", "/bin/sh"), "sallyport: denied here")
		if got := d.since(before); len(got) != 1 || got[0].Request.Channel != want || got[0].Request.Target.HostAccess == nil {
			t.Errorf("%s: %+v", namespace, got)
		}
	}
	runs(t, d.ctr(t, "tasks", "exec", "--exec-id", "e3", id, "/bin/echo", "allowed"), "allowed")
	refused(t, d.guarded(t, "exec", id, "/bin/ls", marker))

	d.mu.Lock()
	defer d.mu.Unlock()
	told, stopped := map[event.ExecID]event.Decision{}, 0
	execs := slices.DeleteFunc(slices.Clone(d.told), func(o event.Decision) bool { return o.ExecID == "" })
	for _, o := range execs {
		told[o.ExecID] = o
	}
	for _, o := range d.told {
		if o.ExecID == "" && o.Container == "c1" && o.Stopped && slices.Equal(o.Argv, []string{"/bin/sh"}) {
			stopped++
		}
	}
	if stopped != 3 {
		t.Errorf("%d containers that were stopped are told: %+v", stopped, d.told)
	}
	if e2, e3 := told["e2"], told["e3"]; len(execs) != 6 || !e2.Stopped || e2.Rule != "never" || string(e2.Container) != id || e3.Stopped || e3.Rule != "by-ctr" {
		t.Errorf("told %+v", d.told) // of what was let through in front, from there
	}
}

// TestDaemonsOwn: what the daemon does by itself is known as that.
func TestDaemonsOwn(t *testing.T) {
	t.Parallel()
	d := open(t, names+`  - {id: others, when: 'session.kind == "exec"', effect: deny, severity: low}
`)
	id := d.box(t, docker.HealthImage)
	await(t, "a check that passes", func() bool {
		out, _ := d.engine.CLI(t.Context(), "inspect", "-f", "{{.State.Health.Status}}", id).Output()
		return strings.TrimSpace(string(out)) == "healthy"
	})
	channels := func(want event.Channel) func() bool {
		return func() bool {
			return slices.ContainsFunc(d.since(0), func(r guard.Record) bool { return r.Request.Channel == want && !r.Stopped })
		}
	}
	await(t, "a record of it", channels(event.ChannelDockerHealth))
	// The same command with other surroundings is none.
	before := d.count()
	refused(t, d.engine.CLI(t.Context(), "exec", "-e", "LD_PRELOAD=/tmp/x.so", id, "/bin/busybox", "true"), "beside the guard")
	for _, r := range d.since(before) {
		if len(r.Request.Carried) > 0 && r.Request.Channel != event.ChannelRuntimeCtr {
			t.Errorf("%+v", r.Request)
		}
	}

	before = d.count()
	build := d.engine.CLI(t.Context(), "build", "-")
	build.Env = append(build.Env, "DOCKER_BUILDKIT=0")
	build.Stdin = strings.NewReader("FROM " + docker.Image + "\nRUN [\"/bin/busybox\", \"true\"]\n")
	runs(t, build, "Successfully built")
	if got := d.since(before); !slices.ContainsFunc(got, func(r guard.Record) bool {
		return r.Request.Channel == event.ChannelDockerStart && slices.Equal(r.Request.Argv, []string{"/bin/busybox", "true"}) && !r.Stopped
	}) {
		t.Errorf("a step of a build: %+v", got)
	}

	dies := d.box(t, "--restart", "always", docker.Image, "/bin/sleep", "1")
	before = d.count()
	await(t, "a restart by the daemon", func() bool {
		return slices.ContainsFunc(d.since(before), func(r guard.Record) bool {
			return r.Request.Channel == event.ChannelDockerStart && string(r.Request.Target.ContainerID) == dies && !r.Stopped &&
				r.Request.Target.ContainerName != "" && r.Request.Target.Image == docker.Image
		})
	})
}

// TestByHand: whoever calls the runtime himself is known.
func TestByHand(t *testing.T) {
	t.Parallel()
	d := open(t, names)
	id := d.box(t, docker.Image)
	before := d.count()
	root := filepath.Join(d.engine.ExecRoot, "runtime-runc", "moby")
	refused(t, exec.CommandContext(t.Context(), d.program, "--sallyport-socket="+d.at(), "--root", root, "exec", id, "/bin/echo", "by hand"), "sallyport: denied here", "by the runtime itself")
	got := d.since(before)
	if len(got) != 1 || got[0].Request.Channel != event.ChannelRuntimeRunc || got[0].Request.Actor.UID == nil || *got[0].Request.Actor.UID != 0 {
		t.Errorf("%+v", got)
	}
	refused(t, exec.CommandContext(t.Context(), d.program, "--sallyport-socket="+d.at(), "--root", root, "exec", "-p", "/no/such/file", id), "cannot be found out")
	refused(t, exec.CommandContext(t.Context(), d.program, "--sallyport-socket="+d.at(), "--root", root, "exec", "--no-such-flag", id, "sh"), "cannot be found out what begins: the command line of exec")
	runs(t, exec.CommandContext(t.Context(), d.program, "--sallyport-socket="+d.at(), "--root", root, "state", id), id)
}

// TestNobodyAnswers: without a guard nothing begins, unless that was asked for.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	d := open(t, names)
	id := d.box(t, docker.Image)
	unguarded := d.box(t, "--runtime", "open", docker.Image)
	d.stop()
	refused(t, d.guarded(t, "exec", id, "/bin/echo", "hello"), "sallyport guard does not answer", "--sallyport-unguarded")
	refused(t, d.guarded(t, "run", "--rm", "--network", "none", docker.Image, "/bin/echo", "hello"), "sallyport guard does not answer")
	runs(t, d.guarded(t, "exec", unguarded, "/bin/echo", "hello"), "hello")
	runs(t, d.guarded(t, "stop", "-t", "0", id), "")
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}
