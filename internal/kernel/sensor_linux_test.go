//go:build linux && (amd64 || arm64)

package kernel

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

func TestMain(m *testing.M) {
	if os.Getenv(envClient) != "" {
		os.Exit(clientMain())
	}
	if os.Getenv(envGate) != "" {
		os.Exit(gateMain())
	}
	os.Exit(docker.Main(m))
}

// watcher keeps what a running sensor reports.
type watcher struct {
	sensor *Sensor

	mu      sync.Mutex
	obs     []event.Observation
	changed chan struct{} // closed and replaced at each observation
}

// watch runs a sensor until the test ends and returns when it is up.
func watch(t testing.TB, opt Options) *watcher {
	t.Helper()
	testbed.Require(t, testbed.BPF)
	w := &watcher{sensor: New(opt), changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.sensor.Run(ctx, w.emit) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
	})
	find(t, w, "the sensor is up", func(o event.WitnessState) bool { return o.Up })
	return w
}

func (w *watcher) emit(o event.Observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.obs = append(w.obs, o)
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *watcher) all() ([]event.Observation, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.obs, w.changed
}

// list returns the observations of one type so far that fit.
func list[T event.Observation](w *watcher, fits func(T) bool) []T {
	all, _ := w.all()
	var out []T
	for _, o := range all {
		if v, ok := o.(T); ok && fits(v) {
			out = append(out, v)
		}
	}
	return out
}

// find waits for the first observation that fits.
func find[T event.Observation](t testing.TB, w *watcher, what string, fits func(T) bool) T {
	t.Helper()
	var found T
	eventually(t, w, what, func() bool {
		if l := list(w, fits); len(l) > 0 {
			found = l[0]
			return true
		}
		return false
	})
	return found
}

// eventually waits until a condition on what was reported holds.
func eventually(t testing.TB, w *watcher, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		_, changed := w.all()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond): // conditions on the world outside
		case <-deadline:
			t.Fatalf("did not come: %s", what)
		}
	}
}

// mark is an argument that nobody else uses.
func mark() string { return "mark-" + strconv.FormatUint(rand.Uint64(), 36) }

func ranWith(mark string) func(event.ProcessExec) bool {
	return func(o event.ProcessExec) bool { return !o.Entry.IsZero() && slices.Contains(o.Argv.Args, mark) }
}

func entryOf(root event.ProcessID) func(event.SessionEntry) bool {
	return func(o event.SessionEntry) bool { return o.Root == root }
}

func exitOf(id event.ProcessID) func(event.ProcessExit) bool {
	return func(o event.ProcessExit) bool { return o.ID == id }
}

// entered waits for the program with that mark and returns it and its entry.
func entered(t *testing.T, w *watcher, mark string) (event.ProcessExec, event.SessionEntry) {
	t.Helper()
	x := find(t, w, "the program in the container", ranWith(mark))
	return x, find(t, w, "its entry", entryOf(x.Entry))
}

// box is a container to go into.
type box struct {
	*docker.Engine
	id  string
	pid string // of its first process, on the host
}

func newBox(t *testing.T, args ...string) box {
	t.Helper()
	e := docker.Shared(t)
	id := e.RunT(t, append(args, docker.Image, "/bin/sleep", "1000")...)
	return box{e, id, strconv.Itoa(e.HostPIDT(t, id))}
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

func TestDockerExec(t *testing.T) {
	b, m := newBox(t), mark()
	w := watch(t, Options{})
	cmd := b.CLI(t.Context(), "exec", "-u", "33:44", b.id, "/bin/busybox", "sh", "-c", "exit 3", m)
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("docker exec: %v", err)
	}
	x, e := entered(t, w, m)
	if e.Cause != event.EntryInjected || !e.InCgroup || string(e.Container) != b.id || !e.Outer.IsZero() {
		t.Errorf("entry %+v", e)
	}
	if e.Root != x.ID || string(x.Container) != b.id || x.NSPID < 2 {
		t.Errorf("exec %+v", x)
	}
	if d := cmp.Diff([]string{"/bin/busybox", "sh", "-c", "exit 3", m}, x.Argv.Args); d != "" {
		t.Error(d)
	}
	if x.Filename != "/bin/busybox" || x.Exe.Path != "/bin/busybox" || x.Exe.Inode == 0 || x.Exe.UpperLayer || x.Exe.Memfd {
		t.Errorf("executable %q, %+v", x.Filename, x.Exe)
	}
	if x.Cred.UID != 33 || x.Cred.GID != 44 || x.TTY != "" {
		t.Errorf("cred %+v, tty %q", x.Cred, x.TTY)
	}
	runc := slices.IndexFunc(e.Lineage, func(a event.Ancestor) bool { return slices.Contains(a.Argv.Args, b.id) })
	if runc < 0 || !slices.Contains(e.Lineage[runc].Argv.Args, "--pid-file") {
		t.Errorf("no runc with its arguments in the lineage: %+v", e.Lineage)
	}
	if x := find(t, w, "the exit", exitOf(x.ID)); x.Code != 3 || x.Entry != e.Root {
		t.Errorf("exit %+v", x)
	}
}

func TestDockerExecTerminal(t *testing.T) {
	b, m := newBox(t), mark()
	w := watch(t, Options{})
	b.ExecT(t, 0, "-t", b.id, "/bin/busybox", "true", m)
	if x, _ := entered(t, w, m); !strings.HasPrefix(x.TTY, "pts/") {
		t.Errorf("tty %q", x.TTY)
	}
}

func TestKilled(t *testing.T) {
	b, m := newBox(t), mark()
	w := watch(t, Options{})
	_ = b.CLI(t.Context(), "exec", b.id, "/bin/busybox", "sh", "-c", "kill -9 $$", m).Run()
	x, _ := entered(t, w, m)
	if got := find(t, w, "the exit", exitOf(x.ID)); got.Code != 137 || got.Signal != 9 {
		t.Errorf("exit %+v", got)
	}
}

func TestContainerStart(t *testing.T) {
	for name, flags := range map[string][]string{"own pids": nil, "host's pids": {"--pid=host"}} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, Options{})
			b, m := newBox(t, flags...), mark()
			first := find(t, w, "the first program", func(o event.ProcessExec) bool {
				return string(o.Container) == b.id && o.Argv.String() == "/bin/sleep 1000"
			})
			e := find(t, w, "its entry", entryOf(first.Entry))
			if e.Cause != event.EntryStart || string(e.Container) != b.id || !e.InCgroup || e.Root != first.ID {
				t.Errorf("entry %+v", e)
			}
			if own := flags == nil; own != (first.NSPID == 1) {
				t.Errorf("pid in its namespace %d", first.NSPID)
			}
			b.ExecT(t, 0, b.id, "/bin/busybox", "true", m)
			if _, e := entered(t, w, m); e.Cause != event.EntryInjected || string(e.Container) != b.id || !e.InCgroup {
				t.Errorf("entry of the exec %+v", e)
			}
		})
	}
}

func TestEnteringBesideTheDaemon(t *testing.T) {
	b := newBox(t)
	w := watch(t, Options{})
	for _, tt := range []struct {
		name     string
		argv     []string
		cause    event.EntryCause
		inCgroup bool
	}{
		{"nsenter", []string{"nsenter", "-t", b.pid, "-a", "/bin/busybox", "true"}, event.EntryInjected, false},
		{"nsenter without fork", []string{"nsenter", "-t", b.pid, "-m", "/bin/busybox", "true"}, event.EntryInjected, false},
		{"nsenter, pids only", []string{"nsenter", "-t", b.pid, "-p", "/bin/busybox", "true"}, event.EntryInjected, false},
		{"nsenter after a change of cgroup", append(intoCgroup(t, b.pid), "nsenter", "-t", b.pid, "-a", "/bin/busybox", "true"), event.EntryInjected, true},
		{"chroot", []string{"chroot", "/proc/" + b.pid + "/root", "/bin/busybox", "true"}, event.EntryForeignExe, false},
		{"the container's program", []string{"/proc/" + b.pid + "/root/bin/busybox", "true"}, event.EntryForeignExe, false},
		{"runc", append(b.Runc(t.Context(), "exec", b.id).Args, "/bin/busybox", "true"), event.EntryInjected, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mark()
			run(t, tt.argv[0], append(tt.argv[1:], m)...)
			x, e := entered(t, w, m)
			if e.Cause != tt.cause || string(e.Container) != b.id || e.InCgroup != tt.inCgroup || string(x.Container) != b.id {
				t.Errorf("entry %+v", e)
			}
			if !slices.ContainsFunc(e.Lineage, func(a event.Ancestor) bool { return a.ID.PID == uint32(os.Getpid()) && len(a.Argv.Args) > 0 }) {
				t.Errorf("we are not in the lineage: %+v", e.Lineage)
			}
		})
	}
}

// intoCgroup is a command that moves itself into a process's cgroup and execs
// what follows.
func intoCgroup(t *testing.T, pid string) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	dir := ""
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case f[1] == "pids":
			dir = "/sys/fs/cgroup/pids" + f[2]
		case f[0] == "0" && dir == "":
			root, err := unifiedCgroup()
			if err != nil {
				t.Fatal(err)
			}
			dir = root + f[2]
		}
	}
	return []string{"/bin/sh", "-c", "echo $$ >" + dir + `/cgroup.procs; exec "$@"`, "sh"}
}

func TestFromContainerToContainer(t *testing.T) {
	outer := newBox(t, "--pid=host", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE", "--security-opt=seccomp=unconfined")
	inner, m := newBox(t), mark()
	w := watch(t, Options{})
	outer.ExecT(t, 0, outer.id, "/bin/busybox", "nsenter", "-t", inner.pid, "-m", "-p", "/bin/busybox", "true", m)
	var x event.ProcessExec
	eventually(t, w, "the program in the inner container", func() bool {
		l := list(w, func(o event.ProcessExec) bool { return ranWith(m)(o) && string(o.Container) == inner.id })
		if len(l) > 0 {
			x = l[0]
		}
		return len(l) > 0
	})
	e := find(t, w, "its entry", entryOf(x.Entry))
	if string(e.Container) != inner.id || e.Outer.IsZero() || e.InCgroup {
		t.Errorf("entry %+v", e)
	}
	if from := find(t, w, "the outer entry", entryOf(e.Outer)); string(from.Container) != outer.id {
		t.Errorf("outer entry %+v", from)
	}
}

// A sandbox of the host is no container: new mounts with the old root.
func TestSandboxIsNoEntry(t *testing.T) {
	b, m := newBox(t), mark()
	w := watch(t, Options{})
	run(t, "unshare", "-m", "/bin/true", m)
	after := mark()
	b.ExecT(t, 0, b.id, "/bin/busybox", "true", after)
	entered(t, w, after)
	if l := list(w, ranWith(m)); len(l) > 0 {
		t.Errorf("an entry: %+v", l[0])
	}
}

// A process that is orphaned gets the container's first process for a parent;
// the label stays.
func TestDoubleForkKeepsItsEntry(t *testing.T) {
	b, m := newBox(t), mark()
	w := watch(t, Options{})
	b.ExecT(t, 0, "-d", b.id, "/bin/busybox", "sh", "-c",
		"(/bin/busybox sh -c '/bin/busybox sleep 0.3; exec /bin/busybox true "+m+"' &) ; exit 0")
	x := find(t, w, "the orphan", ranWith(m))
	e := find(t, w, "its entry", entryOf(x.Entry))
	if e.Root == x.ID || e.Cause != event.EntryInjected || string(e.Container) != b.id {
		t.Errorf("entry %+v", e)
	}
	if strconv.Itoa(int(x.Parent.PID)) != b.pid {
		t.Errorf("parent %v, want the container's first process", x.Parent)
	}
	find(t, w, "the root's exit", exitOf(e.Root))
	fork := find(t, w, "its fork", func(o event.ProcessFork) bool { return o.ID == x.ID })
	if fork.Entry != e.Root {
		t.Errorf("fork %+v", fork)
	}
}

func TestArguments(t *testing.T) {
	b := newBox(t)
	w := watch(t, Options{})
	long := strings.Repeat("x", 100<<10)
	for name, args := range map[string][]string{
		"empty and invalid": {"", "\xff\xfe", "a\nb\x1b[31m", ""},
		"at the bound":      {strings.Repeat("y", 8000)},
		"a megabyte":        {long, long, long, long, long, long, long, long, long, long},
	} {
		t.Run(name, func(t *testing.T) {
			m := mark()
			want := append([]string{"/bin/busybox", "true", m}, args...)
			run(t, "nsenter", append([]string{"-t", b.pid, "-a"}, want...)...)
			x, _ := entered(t, w, m)
			whole := strings.Join(want, "\x00") + "\x00"
			if int(x.Argv.Bytes) != len(whole) {
				t.Errorf("%d bytes, want %d", x.Argv.Bytes, len(whole))
			}
			if len(whole) <= int(sensorBoundMAX_ARGV) {
				if d := cmp.Diff(want, x.Argv.Args); d != "" || x.Argv.Truncated {
					t.Errorf("truncated %v: %s", x.Argv.Truncated, d)
				}
				return
			}
			h := fnv.New64a()
			h.Write([]byte(whole))
			if !x.Argv.Truncated || x.Argv.Hash != h.Sum64() {
				t.Errorf("truncated %v, hash %x, want %x", x.Argv.Truncated, x.Argv.Hash, h.Sum64())
			}
			if got := strings.Join(x.Argv.Args, "\x00"); got != whole[:sensorBoundMAX_ARGV] {
				t.Errorf("the beginning is not exact: %d bytes", len(got))
			}
		})
	}
}

func TestExecutable(t *testing.T) {
	b := newBox(t)
	w := watch(t, Options{})
	t.Run("deep, in the upper layer", func(t *testing.T) {
		m := mark()
		b.ExecT(t, 0, b.id, "/bin/busybox", "sh", "-c",
			"/bin/busybox mkdir -p /a/b/c/d && /bin/busybox cp /bin/busybox /a/b/c/d/busybox && exec /a/b/../b/c/d/busybox true "+m)
		x := find(t, w, "the copy", func(o event.ProcessExec) bool { return ranWith(m)(o) && o.Argv.Args[1] == "true" })
		if x.Exe.Path != "/a/b/c/d/busybox" || !x.Exe.UpperLayer || x.Exe.Memfd || x.Filename != "/a/b/../b/c/d/busybox" {
			t.Errorf("%q: %+v", x.Filename, x.Exe)
		}
	})
	t.Run("removed while it runs", func(t *testing.T) {
		m := mark()
		b.ExecT(t, 0, b.id, "/bin/busybox", "sh", "-c",
			"/bin/busybox cp /bin/busybox /gone && exec 9</gone && /bin/busybox rm /gone && /bin/busybox ln -s /proc/self/fd/9 /true && exec /true "+m)
		x := find(t, w, "the removed file", func(o event.ProcessExec) bool { return ranWith(m)(o) && o.Argv.Args[0] == "/true" })
		if !x.Exe.Memfd {
			t.Errorf("%+v", x.Exe)
		}
	})
}

// Processes that live less than a millisecond, as fast as a shell starts them.
func TestShortProcesses(t *testing.T) {
	const n = 6000
	b, m := newBox(t), mark()
	w := watch(t, Options{})
	began := time.Now()
	b.ExecT(t, 0, b.id, "/bin/busybox", "sh", "-c",
		"i=0; while [ $i -lt "+strconv.Itoa(n)+" ]; do /bin/busybox true "+m+"; i=$((i+1)); done", m)
	took := time.Since(began)
	root := find(t, w, "the shell", ranWith(m)).Entry
	find(t, w, "its exit", exitOf(root))
	forks := list(w, func(o event.ProcessFork) bool { return o.Entry == root && o.ID != root })
	execs := list(w, func(o event.ProcessExec) bool { return o.Entry == root && o.ID != root })
	exits := list(w, func(o event.ProcessExit) bool { return o.Entry == root && o.ID != root })
	if len(forks) != n || len(execs) != n || len(exits) != n {
		t.Errorf("%d forks, %d execs, %d exits, want %d each", len(forks), len(execs), len(exits), n)
	}
	if lost := list(w, func(event.Loss) bool { return true }); len(lost) > 0 {
		t.Errorf("lost records: %+v", lost)
	}
	t.Logf("%.0f processes/s", n/took.Seconds())
}

// When nobody takes what is seen, the ring fills up; every record is then
// either delivered or counted.
func TestLossIsCounted(t *testing.T) {
	const n = 2500
	b, m := newBox(t), mark()
	w := watch(t, Options{})
	m0 := mark()
	b.ExecT(t, 0, b.id, "/bin/busybox", "true", m0)
	entered(t, w, m0)
	stuck := time.Now()
	w.mu.Lock() // emit waits
	b.ExecT(t, 0, b.id, "/bin/busybox", "sh", "-c",
		"i=0; while [ $i -lt "+strconv.Itoa(n)+" ]; do /bin/busybox true $0; i=$((i+1)); done", m+strings.Repeat("x", 8000))
	w.mu.Unlock()
	var lost, came uint64
	count := func() uint64 {
		lost, came = 0, 0
		for _, l := range list(w, func(l event.Loss) bool { return l.What == "process" && l.CPU != nil }) {
			lost += l.Count
			if l.From.After(l.Time) || l.Time.Before(stuck) {
				t.Errorf("loss from %v to %v, stuck at %v", l.From, l.Time, stuck)
			}
		}
		came += uint64(len(list(w, func(o event.ProcessFork) bool { return o.Time.After(stuck) && o.ID != o.Entry })))
		came += uint64(len(list(w, func(o event.ProcessExec) bool { return o.Time.After(stuck) && o.ID != o.Entry && !o.Entry.IsZero() })))
		came += uint64(len(list(w, func(o event.ProcessExit) bool { return o.Time.After(stuck) && o.ID != o.Entry })))
		return lost + came
	}
	eventually(t, w, "all records or their loss", func() bool { return count() >= 3*n })
	if lost == 0 {
		t.Fatalf("nothing was lost of %d: emit did not wait", came)
	}
	t.Logf("%d came, %d lost", came, lost)
	if s := w.sensor.Status(); len(s.Lost) == 0 {
		t.Errorf("status %+v", s)
	}
}

// What runs before the sensor is found, and what cannot be known is absent.
func TestFound(t *testing.T) {
	b, m := newBox(t), mark()
	b.ExecT(t, 0, "-d", b.id, "/bin/busybox", "sh", "-c", "/bin/busybox sleep 100; :", m)
	m2 := mark()
	child := exec.CommandContext(t.Context(), "nsenter", "-t", b.pid, "-a", "/bin/busybox", "sh", "-c", "/bin/busybox sleep 100; :", m2)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	for deadline := time.Now().Add(20 * time.Second); !running(t, "/bin/busybox", m) || !running(t, "/bin/busybox", m2); {
		if time.Now().After(deadline) {
			t.Fatal("the commands do not start")
		}
	}
	w := watch(t, Options{})
	first := find(t, w, "the first process", func(o event.ProcessExec) bool {
		return strconv.Itoa(int(o.ID.PID)) == b.pid
	})
	if e := find(t, w, "its entry", entryOf(first.ID)); e.Cause != event.EntryFound || string(e.Container) != b.id || !e.InCgroup || e.Lineage != nil {
		t.Errorf("entry of the first process %+v", e)
	}
	shell := find(t, w, "the exec's shell", ranWith(m))
	if e := find(t, w, "its entry", entryOf(shell.Entry)); e.Cause != event.EntryFound || e.Root != shell.ID || !e.InCgroup {
		t.Errorf("entry of the exec %+v", e)
	}
	sleep := find(t, w, "the shell's child", func(o event.ProcessExec) bool { return o.Entry == shell.ID && o.ID != shell.ID })
	if sleep.Parent != shell.ID || string(sleep.Container) != b.id {
		t.Errorf("child %+v", sleep)
	}
	ns := find(t, w, "nsenter's", ranWith(m2))
	if e := find(t, w, "its entry", entryOf(ns.Entry)); e.InCgroup || string(e.Container) != b.id {
		t.Errorf("entry of nsenter %+v", e)
	}
	// Found trees keep their labels: what they start belongs to them.
	m3 := mark()
	b.ExecT(t, 0, b.id, "/bin/busybox", "true", m3)
	if _, e := entered(t, w, m3); e.Cause != event.EntryInjected || string(e.Container) != b.id {
		t.Errorf("entry of a later exec %+v", e)
	}
}

// running reports whether a process with this program and argument runs.
func running(t *testing.T, program, arg string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(f string) bool {
		b, _ := os.ReadFile(f)
		argv := names(b)
		return len(argv) > 0 && argv[0] == program && slices.Contains(argv, arg)
	})
}

func TestContainerOfAnyName(t *testing.T) {
	e := docker.Shared(t)
	w := watch(t, Options{})
	rootfs, name, m := rootfs(t), "box-"+mark(), mark()
	cmd := e.Ctr(t.Context(), "run", "--rm", "--rootfs", rootfs, name, "/bin/busybox", "true", m)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ctr run: %v: %s", err, out)
	}
	x, en := entered(t, w, m)
	if string(en.Container) != name || string(x.Container) != name || en.Cause != event.EntryStart || !en.InCgroup {
		t.Errorf("entry %+v", en)
	}
}

func rootfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := testbed.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestNothingIsLeftBehind(t *testing.T) {
	testbed.Require(t, testbed.BPF)
	open := func() map[string]int {
		out := map[string]int{}
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			to, _ := os.Readlink("/proc/self/fd/" + fd.Name())
			if strings.Contains(to, "bpf") || strings.Contains(to, "eventpoll") {
				out[to]++
			}
		}
		return out
	}
	cycle := func() {
		ctx, cancel := context.WithCancel(t.Context())
		s := New(Options{Requests: ModeAlways, OnSegment: func(event.Segment) []event.Observation { return nil },
			Sockets: []Socket{{event.ServiceDocker, filepath.Join(t.TempDir(), "d.sock")}}})
		up := false
		if err := s.Run(ctx, func(event.Observation) {
			if !up {
				up = true
				s.Status()
				cancel()
			}
		}); err != nil || !up {
			t.Fatalf("up %v: %v", up, err)
		}
	}
	cycle() // what stays open from the first time on is the runtime's
	before := open()
	cycle()
	cycle()
	if d := cmp.Diff(before, open()); d != "" {
		t.Errorf("file descriptors: %s", d)
	}
}

func TestStatus(t *testing.T) {
	w := watch(t, Options{})
	w.sensor.Status() // statistics are kept from here on
	run(t, "/bin/true")
	eventually(t, w, "programs were run", func() bool {
		s := w.sensor.Status()
		return s.Level != "" && slices.ContainsFunc(s.Programs, func(p Program) bool { return p.Name == "exec" && p.Runs > 0 && p.Time > 0 })
	})
	if s := w.sensor.Status(); s.Requests || s.Mode != ModeOff {
		t.Errorf("requests without a parser: %+v", s)
	}
}

func TestProbe(t *testing.T) {
	testbed.Require(t, testbed.BPF)
	fs := Probe()
	if l := fs.Level(); l != LevelTracepoints && l != LevelTrampolines {
		t.Errorf("level %s: %v", l, (&UnavailableError{fs.missing()}).Error())
	}
	for _, f := range fs {
		if f.Available() == (f.Hint != "") {
			t.Errorf("%s: error %v, hint %q", f.Name, f.Err, f.Hint)
		}
	}
	fs[0].Err = fmt.Errorf("gone")
	if fs.Level() != LevelServices {
		t.Errorf("level %s without %s", fs.Level(), fs[0].Name)
	}
}
