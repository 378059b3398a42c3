//go:build linux

package containerd_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/event"
	bed "github.com/sallyport/sallyport/testbed/containerd"
	"github.com/sallyport/sallyport/testbed/docker"
)

func TestDockerExec(t *testing.T) {
	e := docker.Shared(t)
	id := e.RunT(t, docker.Image)
	r := watch(t, containerd.Options{Address: e.ContainerdSocket})
	state := await(t, r, 0, "state", up)
	if int(state.DaemonPID) != e.ContainerdPID() {
		t.Errorf("daemon pid %d, want %d", state.DaemonPID, e.ContainerdPID())
	}
	if state.From.IsZero() || state.From.After(time.Now()) {
		t.Errorf("seen from %v", state.From)
	}

	cmd := e.CLI(t.Context(), "exec", "-i", id, "/bin/actor", "read", "/proc/self/fd/0", "exit", "7")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := await(t, r, 0, "exec started", func(e event.RuntimeEvent) bool {
		return e.Action == event.RuntimeExecStarted && string(e.Container) == id
	})
	// runc says started before its process runs the command; in between its
	// arguments are runc's, then for a moment none.
	command := []byte("/bin/actor\x00read\x00")
	var argv []byte
	for range 500 {
		if argv, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", started.PID)); err != nil || bytes.HasPrefix(argv, command) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil || !bytes.HasPrefix(argv, command) {
		t.Errorf("process %d has argv %q (%v)", started.PID, argv, err)
	}
	if started.Namespace != "moby" || started.ExecID == "" || started.Time.IsZero() {
		t.Errorf("exec started: %+v", started)
	}
	stdin.Close()
	exit := await(t, r, 0, "exit", func(e event.RuntimeEvent) bool {
		return e.Action == event.RuntimeExit && e.ExecID == started.ExecID
	})
	if exit.ExitCode == nil || *exit.ExitCode != 7 || exit.PID != started.PID || exit.ExitedAt.IsZero() {
		t.Errorf("exit: %+v", exit)
	}
	cmd.Wait()
	if got := actions(r.events(id, string(started.ExecID)))[:3]; !slices.Equal(got, []event.RuntimeAction{
		event.RuntimeExecAdded, event.RuntimeExecStarted, event.RuntimeExit,
	}) {
		t.Errorf("events of the exec: %v", got)
	}
}

func TestFailedExecIsOnlyAdded(t *testing.T) {
	e := docker.Shared(t)
	id := e.RunT(t, docker.Image)
	r := watch(t, containerd.Options{Address: e.ContainerdSocket})
	await(t, r, 0, "state", up)
	if out, err := e.CLI(t.Context(), "exec", id, "/no/such").CombinedOutput(); err == nil {
		t.Fatalf("exec of nothing succeeded: %s", out)
	}
	added := await(t, r, 0, "exec added", func(e event.RuntimeEvent) bool {
		return e.Action == event.RuntimeExecAdded && string(e.Container) == id
	})
	// A second exec, whose events come after all of the first one's.
	e.ExecT(t, 0, id, "/bin/true")
	await(t, r, 0, "exit of the second", func(e event.RuntimeEvent) bool {
		return e.Action == event.RuntimeExit && string(e.Container) == id
	})
	if got := actions(r.events(id, string(added.ExecID))); !slices.Equal(got, []event.RuntimeAction{event.RuntimeExecAdded}) {
		t.Errorf("events of the failed exec: %v", got)
	}
}

func TestContainerLife(t *testing.T) {
	e := docker.Shared(t)
	r := watch(t, containerd.Options{Address: e.ContainerdSocket})
	await(t, r, 0, "state", up)
	id := e.RunT(t, docker.Image, "/bin/actor", "exit", "3")
	exit := await(t, r, 0, "exit", func(e event.RuntimeEvent) bool {
		return e.Action == event.RuntimeExit && string(e.Container) == id
	})
	if exit.ExecID != "" || *exit.ExitCode != 3 {
		t.Errorf("exit of the first process: %+v", exit)
	}
	await(t, r, 0, "delete", func(e event.RuntimeEvent) bool {
		return e.Action == event.RuntimeDelete && string(e.Container) == id
	})
	if got := actions(r.events(id, "")); !slices.Equal(got, []event.RuntimeAction{
		event.RuntimeExit, event.RuntimeCreate, event.RuntimeDelete, event.RuntimeStart,
	}) {
		t.Errorf("events of the container: %v", got)
	}
}

func TestCtrExec(t *testing.T) {
	e := docker.Shared(t)
	id := e.RunT(t, docker.Image)
	r := watch(t, containerd.Options{Address: e.ContainerdSocket})
	await(t, r, 0, "state", up)
	if _, err := docker.Output(e.Ctr(t.Context(), "task", "exec", "--exec-id", "by-hand", id, "/bin/true")); err != nil {
		t.Fatal(err)
	}
	exit := await(t, r, 0, "exit", func(e event.RuntimeEvent) bool {
		return e.Action == event.RuntimeExit && e.ExecID == "by-hand"
	})
	if string(exit.Container) != id || *exit.ExitCode != 0 {
		t.Errorf("exit: %+v", exit)
	}
}

// TestRestart restarts dockerd, which restarts its containerd, while an exec
// runs: the gap is stated and what still runs is found again.
func TestRestart(t *testing.T) {
	t.Parallel()
	e := docker.New(t, docker.Options{})
	id := e.RunT(t, docker.Image)
	r := watch(t, containerd.Options{Address: e.ContainerdSocket})
	before := await(t, r, 0, "state", up)
	if _, err := docker.Output(e.Ctr(t.Context(), "task", "exec", "-d", "--exec-id", "long", id, "/bin/sleep", "1000")); err != nil {
		t.Fatal(err)
	}
	started := await(t, r, 0, "exec started", func(e event.RuntimeEvent) bool {
		return e.Action == event.RuntimeExecStarted && e.ExecID == "long"
	})
	mark := r.mark()
	pid := e.ContainerdPID()
	e.RestartT(t)
	if e.ContainerdPID() == pid {
		t.Fatal("containerd was not restarted")
	}
	lost := await(t, r, mark, "down", down)
	again := await(t, r, mark, "up", up)
	if lost.Reason == "" || lost.Time.Before(before.Time) || !again.From.After(lost.Time) {
		t.Errorf("gap from %+v to %+v", lost, again)
	}
	if int(again.DaemonPID) != e.ContainerdPID() {
		t.Errorf("daemon pid %d, want %d", again.DaemonPID, e.ContainerdPID())
	}
	init := await(t, r, mark, "task of the container", func(o event.RuntimeTask) bool {
		return string(o.Container) == id && o.ExecID == ""
	})
	if int(init.PID) != e.HostPIDT(t, id) || !init.Running || init.Namespace != "moby" {
		t.Errorf("task: %+v", init)
	}
	exec := await(t, r, mark, "task of the exec", func(o event.RuntimeTask) bool { return o.ExecID == "long" })
	if exec.PID != started.PID || !exec.Running {
		t.Errorf("task of the exec: %+v, started %+v", exec, started)
	}
}

// TestKilled kills the daemon's containerd, which dockerd then starts again.
func TestKilled(t *testing.T) {
	t.Parallel()
	e := docker.New(t, docker.Options{})
	id := e.RunT(t, docker.Image)
	r := watch(t, containerd.Options{Address: e.ContainerdSocket})
	await(t, r, 0, "up", up)
	mark := r.mark()
	if err := syscall.Kill(e.ContainerdPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	lost := await(t, r, mark, "down", down)
	again := await(t, r, mark, "up", up)
	if !again.From.After(lost.Time) {
		t.Errorf("gap from %v to %v", lost.Time, again.From)
	}
	await(t, r, mark, "task", func(o event.RuntimeTask) bool { return string(o.Container) == id && o.Running })
}

// TestStorm runs many execs at once: each has all its events, and its exit
// status by its exec id.
func TestStorm(t *testing.T) {
	const clients, each = 8, 10
	e := docker.Shared(t)
	id := e.RunT(t, docker.Image)
	r := watch(t, containerd.Options{Address: e.ContainerdSocket})
	await(t, r, 0, "up", up)
	var g errgroup.Group
	for range clients {
		g.Go(func() error {
			for range each {
				if out, err := e.CLI(t.Context(), "exec", id, "/bin/true").CombinedOutput(); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	e.ExecT(t, 0, id, "/bin/actor")
	execs := map[event.ExecID]map[event.RuntimeAction]uint32{} // the pid that each event names
	await(t, r, 0, "last event", func(e event.RuntimeEvent) bool {
		if string(e.Container) != id || e.ExecID == "" {
			return false
		}
		if execs[e.ExecID] == nil {
			execs[e.ExecID] = map[event.RuntimeAction]uint32{}
		}
		execs[e.ExecID][e.Action] = e.PID
		return len(execs) == clients*each+1 && complete(execs)
	})
}

// complete reports whether every exec was added, started and has exited, as
// one process.
func complete(execs map[event.ExecID]map[event.RuntimeAction]uint32) bool {
	for _, pids := range execs {
		_, added := pids[event.RuntimeExecAdded]
		started := pids[event.RuntimeExecStarted]
		if !added || started == 0 || pids[event.RuntimeExit] != started {
			return false
		}
	}
	return true
}

// TestFrozen stops containerd without ending it.
func TestFrozen(t *testing.T) {
	t.Parallel()
	e := docker.New(t, docker.Options{})
	r := watch(t, containerd.Options{Address: e.ContainerdSocket})
	await(t, r, 0, "state", up)
	if err := e.FreezeContainerd(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	lost := await(t, r, 0, "down", down)
	if lost.Time.After(begin.Add(time.Second)) {
		t.Errorf("last heard %v, frozen at %v", lost.Time, begin)
	}
	mark := r.mark()
	e.Thaw()
	await(t, r, mark, "up", up)
}

func TestAbsent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "containerd.sock")
	r := watch(t, containerd.Options{Address: path})
	s := await(t, r, 0, "state", down)
	if !strings.Contains(s.Reason, path) {
		t.Errorf("reason %q does not name %s", s.Reason, path)
	}
}

// TestSilent connects to a listener that never answers.
func TestSilent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "containerd.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := watch(t, containerd.Options{Address: path})
	await(t, r, 0, "state", down)
}

func TestFind(t *testing.T) {
	e := docker.Shared(t)
	for _, socket := range []string{e.Socket, e.Address} {
		if got, err := containerd.Find(socket); err != nil || got != e.ContainerdSocket {
			t.Errorf("Find(%s) = %q, %v; want %q", socket, got, err, e.ContainerdSocket)
		}
	}
}

// TestFindForeign has a dockerd use a containerd that it did not start, as on
// Debian, where both are services of their own.
func TestFindForeign(t *testing.T) {
	t.Parallel()
	b := bed.New(t)
	e := docker.New(t, docker.Options{Flags: []string{"--containerd", b.Socket}})
	if got, err := containerd.Find(e.Socket); err != nil || got != b.Socket {
		t.Errorf("Find(%s) = %q, %v; want %q", e.Socket, got, err, b.Socket)
	}
}

func TestFindNothing(t *testing.T) {
	for _, a := range containerd.Usual() {
		if _, err := os.Stat(a); err == nil {
			t.Skipf("a containerd serves %s here, so there is something to find", a)
		}
	}
	if a, err := containerd.Find(filepath.Join(t.TempDir(), "no.sock")); err == nil {
		t.Errorf("found %s", a)
	}
}
