package docker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed"
	bed "github.com/sallyport/sallyport/testbed/docker"
)

func TestMain(m *testing.M) { os.Exit(bed.Main(m)) }

// recorder keeps what a witness reports.
type recorder struct {
	t    testing.TB
	mu   sync.Mutex
	all  []event.Observation
	more chan struct{} // closed and replaced at each observation
}

func (r *recorder) emit(o event.Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, o)
	close(r.more)
	r.more = make(chan struct{})
}

func (r *recorder) reported() []event.Observation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// until waits until what was reported satisfies ok.
func (r *recorder) until(what string, ok func([]event.Observation) bool) []event.Observation {
	r.t.Helper()
	limit := time.NewTimer(60 * time.Second)
	defer limit.Stop()
	for {
		r.mu.Lock()
		all, more := slices.Clone(r.all), r.more
		r.mu.Unlock()
		if ok(all) {
			return all
		}
		select {
		case <-more:
		case <-limit.C:
			for _, o := range all {
				b, _ := event.Marshal(o)
				r.t.Logf("%.300s", b)
			}
			r.t.Fatalf("not reported in time: %s", what)
		}
	}
}

// find waits for an observation of type O that satisfies ok.
func find[O event.Observation](r *recorder, what string, ok func(O) bool) O {
	r.t.Helper()
	var found O
	r.until(what, func(all []event.Observation) bool {
		for _, o := range all {
			if o, is := o.(O); is && ok(o) {
				found = o
				return true
			}
		}
		return false
	})
	return found
}

// pick returns the observations of type O that satisfy ok.
func pick[O event.Observation](all []event.Observation, ok func(O) bool) []O {
	var out []O
	for _, o := range all {
		if o, is := o.(O); is && ok(o) {
			out = append(out, o)
		}
	}
	return out
}

// follow runs a witness on address for the length of the test and waits until
// it is up.
func follow(t *testing.T, address string) (*recorder, *Witness) {
	t.Helper()
	w := New(Options{Address: address, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	w.times.ping, w.times.backoff, w.times.resume = 500*time.Millisecond, 20*time.Millisecond, 500*time.Millisecond
	r := &recorder{t: t, more: make(chan struct{})}
	// Checked last, after the witness ended.
	t.Cleanup(func() {
		goleak.VerifyNone(t, leakOptions...)
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, r.emit) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not end with its context")
		}
	})
	find(r, "up", func(s event.WitnessState) bool { return s.Up })
	return r, w
}

// leakOptions leave out what belongs to the test bed.
var leakOptions = []goleak.Option{
	goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"),
	goleak.IgnoreAnyFunction("github.com/sallyport/sallyport/testbed/docker.(*Engine).boot.func1"),
	goleak.IgnoreAnyFunction("testing.(*T).Run"),
	goleak.IgnoreAnyFunction("github.com/sallyport/sallyport/internal/docker.newWiretap.func1"),
}

func isEvent(a event.DockerAction, container string) func(event.DockerEvent) bool {
	return func(e event.DockerEvent) bool { return e.Action == a && string(e.Container) == container }
}

func TestWitnessExec(t *testing.T) {
	e := bed.Shared(t)
	r, _ := follow(t, e.Address)
	id := e.RunT(t, "--network", "none", "--name", "wit-exec", "--label", "a=b", "-t", "--restart", "always", bed.Image, "/bin/sleep", "1000")
	if _, err := bed.Output(e.CLI(t.Context(), "exec", "-u", "7", id, "/bin/sh", "-c", "echo 'a  b'\nsleep 0.3; exit 3")); err == nil {
		t.Error("exec: want exit 3")
	}
	die := find(r, "exec_die", isEvent(event.DockerExecDie, id))
	if die.ExitCode == nil || *die.ExitCode != 3 || len(die.Forged) != 0 || die.Name != "wit-exec" || die.Image != bed.Image {
		t.Errorf("exec_die: %+v", die)
	}
	create := find(r, "exec_create", isEvent(event.DockerExecCreate, id))
	if create.ExecID != die.ExecID || create.Command != "/bin/sh -c echo 'a  b'\nsleep 0.3; exit 3" {
		t.Errorf("exec_create: %+v", create)
	}
	x := find(r, "the running exec", func(x event.DockerExec) bool { return x.ID == die.ExecID && x.PID != 0 })
	if string(x.Container) != id || x.PID == 0 || x.User != "7" || !slices.Equal(x.Argv, []string{"/bin/sh", "-c", "echo 'a  b'\nsleep 0.3; exit 3"}) {
		t.Errorf("exec: %+v", x)
	}
	c := find(r, "the running container", func(c event.DockerContainer) bool { return string(c.ID) == id && c.InitPID != 0 })
	if int(c.InitPID) != e.HostPIDT(t, id) || c.Name != "wit-exec" || !c.TTY || !c.AutoRestart || c.Runtime != "runc" || c.Labels["a"] != "b" ||
		!slices.Equal(c.Argv, []string{"/bin/sleep", "1000"}) || !strings.HasPrefix(c.ImageID, "sha256:") || c.Created.IsZero() || c.StartedAt.IsZero() {
		t.Errorf("container: %+v", c)
	}
	if _, err := bed.Output(e.CLI(t.Context(), "rename", id, "wit-renamed")); err != nil {
		t.Fatal(err)
	}
	find(r, "the new name", func(c event.DockerContainer) bool { return c.Name == "wit-renamed" })
	state := find(r, "up", func(s event.WitnessState) bool { return s.Up })
	if int(state.DaemonPID) != e.PID() || len(state.OpenDoors) != 0 || state.Reason != "" {
		t.Errorf("state: %+v", state)
	}
}

// A start that fails has no exec_die; ctr leaves an exec_die alone (channels
// catalogue, §1 fact 8).
func TestWitnessHalves(t *testing.T) {
	e := bed.Shared(t)
	r, _ := follow(t, e.Address)
	id := e.RunT(t, bed.Image)
	if _, err := bed.Output(e.CLI(t.Context(), "exec", id, "/no/such/file")); err == nil {
		t.Error("exec of nothing: want an error")
	}
	if _, err := bed.Output(e.Ctr(t.Context(), "task", "exec", "--exec-id", "by-ctr", id, "/bin/busybox", "true")); err != nil {
		t.Fatal(err)
	}
	die := find(r, "exec_die", isEvent(event.DockerExecDie, id))
	if die.ExecID != "by-ctr" {
		t.Errorf("exec_die of %q", die.ExecID)
	}
	all := r.until("exec_start", func(all []event.Observation) bool {
		return len(pick(all, isEvent(event.DockerExecStart, id))) == 1
	})
	if n := len(pick(all, isEvent(event.DockerExecDie, id))); n != 1 {
		t.Errorf("%d times exec_die", n)
	}
}

func TestWitnessHealthcheck(t *testing.T) {
	e := bed.Shared(t)
	r, _ := follow(t, e.Address)
	id := e.RunT(t, bed.HealthImage)
	c := find(r, "container", func(c event.DockerContainer) bool { return string(c.ID) == id })
	if c.Health == nil || !slices.Equal(c.Health.Argv, []string{"/bin/busybox", "true"}) || time.Duration(c.Health.Interval) != time.Second {
		t.Errorf("health check: %+v", c.Health)
	}
	start := find(r, "exec_start", isEvent(event.DockerExecStart, id))
	if start.Command != "/bin/busybox true" {
		t.Errorf("command %q", start.Command)
	}
	find(r, "health_status", func(o event.DockerEvent) bool {
		return string(o.Container) == id && o.Action == event.DockerHealth && o.Health == "healthy"
	})

	shell := create(t, e, `{"Image":"`+bed.Image+`","Shell":["/bin/busybox","ash","-ec"],"Healthcheck":{"Test":["CMD-SHELL","echo \"x  y\" && true"]}}`)
	c = find(r, "container", func(c event.DockerContainer) bool { return string(c.ID) == shell })
	if c.Health == nil || !slices.Equal(c.Health.Argv, []string{"/bin/busybox", "ash", "-ec", `echo "x  y" && true`}) ||
		time.Duration(c.Health.Interval) != 30*time.Second {
		t.Errorf("health check: %+v", c.Health)
	}
	none := e.RunT(t, "--no-healthcheck", bed.HealthImage)
	c = find(r, "container", func(c event.DockerContainer) bool { return string(c.ID) == none })
	if c.Health != nil {
		t.Errorf("health check: %+v", c.Health)
	}
}

// What of the host a container is given is what the daemon itself did with the
// client's flags.
func TestWitnessHostAccess(t *testing.T) {
	e := bed.Shared(t)
	r, _ := follow(t, e.Address)
	access := func(what string, args ...string) event.DockerContainer {
		id := e.RunT(t, append(args, bed.Image, "/bin/sleep", "1000")...)
		return find(r, what, func(c event.DockerContainer) bool { return string(c.ID) == id && c.InitPID != 0 })
	}
	made := func(what string, args ...string) event.DockerContainer { // what a test host may not start, it may make
		out, err := bed.Output(e.CLI(t.Context(), append(append([]string{"create"}, args...), bed.Image, "/bin/sleep", "1000")...))
		if err != nil {
			t.Fatal(err)
		}
		id := strings.TrimSpace(out)
		t.Cleanup(func() { e.Remove(context.Background(), id) })
		return find(r, what, func(c event.DockerContainer) bool { return string(c.ID) == id })
	}
	plain := access("a plain container")
	if plain.HostAccess == nil || !plain.HostAccess.Plain() || plain.Stdin == nil || *plain.Stdin {
		t.Errorf("a plain container: %+v, standard input %v", plain.HostAccess, plain.Stdin)
	}
	all := made("all of it", "-i", "--privileged", "--pid", "host", "--network", "host", "--ipc", "host", "--uts", "host", "--cap-add", "SYS_ADMIN",
		"--device", "/dev/null", "-v", "/etc:/e:ro", "--mount", "type=bind,source=/usr,target=/u", "-e", "LD_PRELOAD=/x", "-e", "TOKEN=y")
	h := all.HostAccess
	if h == nil || !h.Privileged || !slices.Equal(h.Capabilities, []string{"SYS_ADMIN"}) || !slices.Equal(h.Paths, []string{"/etc", "/usr"}) || !slices.Equal(h.Devices, []string{"/dev/null"}) {
		t.Errorf("all of it: %+v", h)
	}
	for _, ns := range []string{"pid", "network", "ipc", "uts"} {
		if h != nil && !slices.Contains(h.Namespaces, ns) {
			t.Errorf("without the host's %s: %q", ns, h.Namespaces)
		}
	}
	if all.Stdin == nil || !*all.Stdin || !slices.Equal(all.Variables, []event.Variable{{Name: "LD_PRELOAD", Value: "/x"}}) {
		t.Errorf("standard input %v, variables %v", all.Stdin, all.Variables)
	}
	again := made("volumes of another", "--volumes-from", string(all.ID))
	if again.HostAccess == nil || !slices.Contains(again.HostAccess.Paths, "/etc") {
		t.Errorf("volumes of another: %+v", again.HostAccess)
	}
	if out, err := bed.Output(e.CLI(t.Context(), "volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/usr", "witness-usr")); err != nil {
		t.Fatal(out, err)
	}
	t.Cleanup(func() { _ = e.CLI(context.Background(), "volume", "rm", "witness-usr").Run() })
	volume := made("a volume that is a directory", "-v", "witness-usr:/u", "-v", "witness-own:/v", "-v", "/anonymous")
	if h := volume.HostAccess; h == nil || h.Partial || !slices.Equal(h.Paths, []string{"/usr"}) {
		t.Errorf("a volume that is a directory: %+v", h)
	}
	run := access("one that runs", "--pid", "host", "-v", "/etc:/e:ro")
	if run.HostAccess == nil || run.HostAccess.Privileged || !slices.Contains(run.HostAccess.Namespaces, "pid") || !slices.Equal(run.HostAccess.Paths, []string{"/etc"}) {
		t.Errorf("one that runs: %+v", run.HostAccess)
	}
	for _, stdin := range []bool{true, false} {
		args := []string{"exec", string(plain.ID), "/bin/sleep", "0.5"}
		if stdin {
			args = slices.Insert(args, 1, "-i")
		}
		before := len(r.reported())
		if _, err := bed.Output(e.CLI(t.Context(), args...)); err != nil {
			t.Fatal(err)
		}
		r.until("the exec", func(all []event.Observation) bool {
			for _, x := range pick(all[before:], func(x event.DockerExec) bool { return x.Container == plain.ID }) {
				if x.Stdin == nil || *x.Stdin != stdin {
					t.Fatalf("exec with standard input %v: %+v", stdin, x)
				}
				return true
			}
			return false
		})
	}
}

// create makes a container by the bare API and returns its id.
func create(t *testing.T, e *bed.Engine, body string) string {
	t.Helper()
	client := e.HTTPClient()
	defer client.CloseIdleConnections()
	res, err := client.Post("http://docker/v1.41/containers/create", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("create container: %s %q %v", res.Status, b, err)
	}
	id := createdID(b)
	t.Cleanup(func() { e.Remove(context.Background(), id) })
	return id
}

func TestWitnessForgedLabels(t *testing.T) {
	e := bed.Shared(t)
	labels := []string{"--label", "execID=feed", "--label", "exitCode=0", "--label", "name=other", "--label", "image=other"}
	before := e.RunT(t, append(labels, bed.Image)...)
	r, _ := follow(t, e.Address)
	after := e.RunT(t, append(labels, bed.Image)...)
	for _, id := range []string{before, after} {
		bed.Output(e.CLI(t.Context(), "exec", id, "/bin/sh", "-c", "sleep 0.5; exit 3"))
		die := find(r, "exec_die", isEvent(event.DockerExecDie, id))
		if die.ExecID != "feed" || die.ExitCode == nil || *die.ExitCode != 0 || !slices.Equal(die.Forged, []string{"execID", "exitCode"}) {
			t.Errorf("exec_die: %+v", die)
		}
		if die.Name == "other" || die.Image != bed.Image {
			t.Errorf("name %q, image %q: Docker lets labels set these too", die.Name, die.Image)
		}
		x := find(r, "the exec itself", func(x event.DockerExec) bool { return string(x.Container) == id && x.PID != 0 })
		if x.ID == "feed" || x.PID == 0 {
			t.Errorf("exec: %+v", x)
		}
	}
}

// What ran before the witness came is found.
func TestWitnessFound(t *testing.T) {
	e := bed.Shared(t)
	id := e.RunT(t, bed.Image)
	cmd := e.CLI(t.Context(), "exec", "-d", id, "/bin/sleep", "1000")
	if _, err := bed.Output(cmd); err != nil {
		t.Fatal(err)
	}
	r, _ := follow(t, e.Address)
	x := find(r, "the running exec", func(x event.DockerExec) bool { return string(x.Container) == id && x.Running && x.PID != 0 })
	if !slices.Equal(x.Argv, []string{"/bin/sleep", "1000"}) {
		t.Errorf("exec: %+v", x)
	}
	all := r.until("container", func(all []event.Observation) bool {
		return len(pick(all, func(c event.DockerContainer) bool { return string(c.ID) == id })) > 0
	})
	if n := len(pick(all, func(o event.DockerEvent) bool { return string(o.Container) == id })); n != 0 {
		t.Errorf("%d events from before the witness", n)
	}
}

func TestWitnessOddStrings(t *testing.T) {
	e := bed.Shared(t)
	r, _ := follow(t, e.Address)
	id := e.RunT(t, "--label", "odd=\x1b[31m\n\"x\"\t", bed.Image)
	long := strings.Repeat("ab", 50<<10)
	for _, args := range [][]string{
		{"/bin/busybox", "true", `"quoted" 'too'`, "a\nb", "\x1b[2J", "", "ünï", "a: b"},
		{"/bin/busybox", "true", long},
		{"/bin/busybox", "true", "not utf-8: \xff"},
	} {
		if out, err := bed.Output(e.CLI(t.Context(), append([]string{"exec", id}, args...)...)); err != nil {
			t.Fatal(out, err)
		}
		want := strings.ToValidUTF8(strings.Join(args, "\x00"), "\uFFFD") // by the client's JSON
		x := find(r, "exec", func(x event.DockerExec) bool { return strings.Join(x.Argv, "\x00") == want })
		if string(x.Container) != id {
			t.Errorf("exec: %+v", x)
		}
		command := strings.ReplaceAll(want, "\x00", " ")
		find(r, "exec_create", func(o event.DockerEvent) bool { return o.ExecID == x.ID && o.Command == command })
	}
	c := find(r, "container", func(c event.DockerContainer) bool { return string(c.ID) == id })
	if c.Labels["odd"] != "\x1b[31m\n\"x\"\t" {
		t.Errorf("label %q", c.Labels["odd"])
	}
}

func TestListeners(t *testing.T) {
	e := bed.New(t, bed.Options{Flags: []string{"-H", "tcp://" + testbed.FreeAddress(t)}})
	pid, tcp, err := Listeners(e.Socket)
	if err != nil || int(pid) != e.PID() || len(tcp) != 1 || !strings.HasPrefix(tcp[0], "127.0.0.1:") {
		t.Errorf("pid %d (want %d), tcp %q, %v", pid, e.PID(), tcp, err)
	}
	id := e.RunT(t, bed.Image)
	for _, address := range []string{e.Address, "tcp://" + tcp[0]} {
		t.Run(address[:4], func(t *testing.T) {
			r, _ := follow(t, address)
			s := find(r, "up", isUp)
			if want := []string{"tcp " + tcp[0]}; !slices.Equal(s.OpenDoors, want) {
				t.Errorf("open doors %q, want %q", s.OpenDoors, want)
			}
			e.ExecT(t, 0, id, "/bin/busybox", "true")
			find(r, "exec_die", isEvent(event.DockerExecDie, id))
		})
	}
	if _, _, err := Listeners(e.Dir + "/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nobody listens: %v", err)
	}
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}
