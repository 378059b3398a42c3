//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"

	"github.com/sallyport/sallyport/testbed"
)

// envGate makes of the test binary a program that connects to a path (dial), or
// that switches a gate on and waits to be killed (on).
const envGate = "SALLYPORT_GATE_ROLE"

const exitRefused = 13

func gateMain() int {
	var err error
	switch args := os.Args[1:]; os.Getenv(envGate) {
	case "dial":
		err = dialOnce(args[0])
	case "dialfd": // by a directory that is open
		var fd int
		if fd, err = unix.Open(filepath.Dir(args[0]), unix.O_PATH, 0); err == nil {
			err = dialOnce(fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(args[0])))
		}
	case "dialrelative":
		if err = os.Chdir(filepath.Dir(args[0])); err == nil {
			err = dialOnce(filepath.Base(args[0]))
		}
	case "share": // a socket that another process connects
		err = share(args[0])
	case "shared":
		err = unix.Connect(3, &unix.SockaddrUnix{Name: args[0]})
	case "on":
		if _, err = NewGate(args[0]).On(GateConfig{Sockets: args[1:], Enforce: true}); err == nil {
			fmt.Println("on")
			_, _ = io.Copy(io.Discard, os.Stdin)
		}
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, unix.EPERM):
		return exitRefused
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// share has a child connect a socket by an open directory, and writes to it.
func share(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	child := exec.Command("/proc/self/exe", "/proc/self/fd/4/"+filepath.Base(path))
	child.Env = append(os.Environ(), envGate+"=shared")
	child.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "socket"), dir}
	_ = child.Run()
	switch _, err = unix.Write(fd, []byte("x")); {
	case errors.Is(err, unix.ENOTCONN):
		return unix.EPERM
	case errors.Is(err, unix.EPIPE): // connected, and closed by the service
		return nil
	}
	return err
}

// gateBed is a service, a place to pin gates, and programs that connect.
type gateBed struct {
	dir, socket, pins string
	client            string // a copy of this program
	gate              *Gate
	listener          net.Listener
}

func newGateBed(t *testing.T) *gateBed {
	t.Helper()
	testbed.Require(t, testbed.Root, testbed.BPF)
	b := &gateBed{dir: t.TempDir(), pins: filepath.Join(t.TempDir(), "bpf")}
	for d := b.dir; d != os.TempDir(); d = filepath.Dir(d) { // for other users
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(b.pins, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", b.pins, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(b.pins, 0); err != nil {
			t.Error(err)
		}
	})
	b.gate = NewGate(filepath.Join(b.pins, "sallyport", "gate"))
	b.socket, b.client = filepath.Join(b.dir, "raw", "docker.sock"), filepath.Join(b.dir, "client")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Dir(b.socket), 0o755), os.WriteFile(b.client, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	b.serve(t, b.socket)
	return b
}

// serve accepts connections at a path until the test ends, or serves anew.
func (b *gateBed) serve(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	b.listener = l
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close() })
}

func (b *gateBed) on(t *testing.T, c GateConfig) GateStatus {
	t.Helper()
	c.Sockets = []string{b.socket}
	s, err := b.gate.On(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.gate.Off(); err != nil && !errors.Is(err, ErrGateOff) {
			t.Error(err)
		}
	})
	return s
}

// attempt is how somebody connects.
type attempt struct {
	role, path string
	uid        uint32
	shell      string // runs "$@", which connects, in some surroundings
	program    string
}

// ending is how an attempt ends.
type ending string

const (
	through ending = "through"
	refused ending = "refused"
	killed  ending = "killed"
)

func (b *gateBed) try(t *testing.T, a attempt) (ending, int) {
	t.Helper()
	if a.role == "" {
		a.role = "dial"
	}
	if a.path == "" {
		a.path = b.socket
	}
	if a.program == "" {
		a.program = b.client
	}
	args := []string{a.program, a.path}
	if a.shell != "" {
		args = append([]string{"/bin/sh", "-c", a.shell, "sh"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), envGate+"="+a.role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.uid}}
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	state := cmd.ProcessState
	if state == nil {
		t.Fatal(err)
	}
	status := state.Sys().(syscall.WaitStatus)
	switch {
	case err == nil:
		return through, state.Pid()
	case status.ExitStatus() == exitRefused:
		return refused, state.Pid()
	case status.Signaled() && status.Signal() == syscall.SIGKILL, status.ExitStatus() == 128+9:
		return killed, state.Pid()
	}
	t.Fatalf("%+v: %v\n%s", a, err, said.Bytes())
	return "", 0
}

// TestGateMatchesTheSocket: whoever is not let through does not get through, by
// whatever name he comes; who comes to another socket of the same name does.
func TestGateMatchesTheSocket(t *testing.T) {
	b := newGateBed(t)
	raw, name := filepath.Dir(b.socket), filepath.Base(b.socket)
	other := filepath.Join(b.dir, "other", name)
	if err := os.Mkdir(filepath.Dir(other), 0o755); err != nil {
		t.Fatal(err)
	}
	bound := b.listener
	b.serve(t, other)
	status := b.on(t, GateConfig{Enforce: true})
	t.Logf("hook %s", status.Stands)
	if len(status.Absent) > 0 {
		t.Errorf("absent %q, want none", status.Absent)
	}
	must := func(what string, a attempt, want ...ending) {
		t.Helper()
		if status.Stands != GateAtAddress && want[0] == killed {
			want[0] = refused
		}
		if got, _ := b.try(t, a); !slices.Contains(want, got) {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	must("its own path", attempt{}, refused)
	must("its own path as a user", attempt{uid: 4321}, refused)
	must("twice the slash, and a dot", attempt{path: raw + "//./" + name}, refused)
	must("a relative path", attempt{role: "dialrelative"}, refused)
	must("the parent of a directory", attempt{path: raw + "/../raw/" + name}, killed)
	must("an open directory", attempt{role: "dialfd"}, killed)
	must("another socket of that name", attempt{path: other}, through)
	must("a bound file", attempt{
		path:  filepath.Join(b.dir, "elsewhere"),
		shell: "touch $2 && exec unshare -m sh -c 'mount --bind " + b.socket + " $2 && exec $1 $2' sh $1 $2",
	}, refused)
	must("a bound directory", attempt{
		path:  filepath.Join(b.dir, "other", name),
		shell: "exec unshare -m sh -c 'mount --bind " + raw + " " + filepath.Dir(other) + " && exec $1 $2' sh $1 $2",
	}, refused)
	must("the name, with another socket mounted there", attempt{
		shell: "exec unshare -m sh -c 'mount --bind " + other + " " + b.socket + " && exec $1 $2' sh $1 $2",
	}, through)
	link := filepath.Join(b.dir, "link")
	if err := os.Symlink(b.socket, link); err != nil {
		t.Fatal(err)
	}
	must("a symbolic link", attempt{path: link}, refused, killed)
	hard := filepath.Join(raw, "hard")
	if err := os.Link(b.socket, hard); err != nil {
		t.Fatal(err)
	}
	must("a hard link", attempt{path: hard}, refused)
	if err := errors.Join(os.Remove(b.socket), os.Rename(hard, filepath.Join(raw, "renamed"))); err != nil {
		t.Fatal(err)
	}
	must("another name", attempt{path: filepath.Join(raw, "renamed")}, refused)
	bound.Close()
	b.serve(t, b.socket)
	must("made anew", attempt{}, killed) // and seen for the first time
	must("made anew, again", attempt{}, refused)
}

// TestGateAtTheAddressMayBeShared holds what the guide says that it does not
// stop: only whoever connects is killed.
func TestGateAtTheAddressMayBeShared(t *testing.T) {
	b := newGateBed(t)
	want := refused
	if b.on(t, GateConfig{Enforce: true}).Stands == GateAtAddress {
		want = through
	}
	if got, _ := b.try(t, attempt{role: "share"}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if s := b.follow(t, 1)[0]; s.Verdict == event.GateSeen {
		t.Errorf("sighting %+v", s)
	}
}

// TestGateLetsThrough: executables and users on the host, cgroups anywhere.
func TestGateLetsThrough(t *testing.T) {
	b := newGateBed(t)
	twin := filepath.Join(b.dir, "twin")
	self, err := os.ReadFile(b.client)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(twin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	group := filepath.Join(cgroupMount(string(mounts)), "sallyport-gate-test-"+strconv.Itoa(os.Getpid()))
	if err := os.MkdirAll(filepath.Join(group, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(os.Remove(filepath.Join(group, "below")), os.Remove(group)); err != nil {
			t.Error(err)
		}
	})
	b.on(t, GateConfig{Enforce: true, Exes: []GateExe{{Path: b.client}}, UIDs: []uint32{4321}, Cgroups: []string{group}})
	inGroup := "echo $$ >" + group + "/below/cgroup.procs && exec $1 $2"
	for _, c := range []struct {
		what string
		attempt
		want ending
	}{
		{"the executable", attempt{}, through},
		{"the executable of another user", attempt{uid: 4322}, refused},
		{"its twin", attempt{program: twin}, refused},
		{"the executable in a container", attempt{shell: "exec unshare -pf $1 $2"}, refused},
		{"the user", attempt{program: twin, uid: 4321}, through},
		{"the user in a container", attempt{program: twin, shell: "exec unshare -pf setpriv --reuid 4321 --clear-groups $1 $2"}, refused},
		{"the cgroup", attempt{program: twin, shell: inGroup}, through},
		{"the cgroup in a container", attempt{program: twin, shell: "echo $$ >" + group + "/below/cgroup.procs && exec unshare -pf $1 $2"}, through},
	} {
		if got, _ := b.try(t, c.attempt); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

// TestGateTells: every sighting names who asked, in both modes, and the counts
// agree.
func TestGateTells(t *testing.T) {
	b := newGateBed(t)
	for _, enforce := range []bool{false, true} {
		t.Run(fmt.Sprintf("enforce %v", enforce), func(t *testing.T) {
			status := b.on(t, GateConfig{Enforce: enforce, UIDs: []uint32{7}})
			want := event.GateSeen
			if enforce {
				want = event.GateRefused
			}
			end, pid := b.try(t, attempt{uid: 4321})
			if (end == through) == enforce {
				t.Errorf("%s with enforce %v", end, enforce)
			}
			if end, _ := b.try(t, attempt{uid: 7}); end != through {
				t.Errorf("somebody who is let through: %s", end)
			}
			end2, pid2 := b.try(t, attempt{role: "dialfd"}) // nobody follows yet: it is kept
			list := b.follow(t, 2)
			s := list[0]
			if s.Verdict != want || string(s.Socket) != b.socket || s.Peer.ID.PID != uint32(pid) || s.Peer.ID.Start == 0 || s.Peer.Cred.UID != 4321 ||
				string(s.Peer.Exe) != b.client || string(s.Peer.Comm) != "client" || time.Since(s.Time).Abs() > time.Minute {
				t.Errorf("sighting %+v", s)
			}
			if status.Stands == GateAtAddress && enforce && (string(s.Asked) != b.socket || end2 != killed || list[1].Verdict != event.GateKilled) {
				t.Errorf("asked for %q, then %s: %+v", s.Asked, end2, list[1])
			}
			if list[1].Peer.ID.PID != uint32(pid2) || list[1].Peer.Cred.UID != 0 {
				t.Errorf("sighting %+v, want one of process %d", list[1], pid2)
			}
			now, err := b.gate.Status()
			if err != nil {
				t.Fatal(err)
			}
			c := now.Counts
			if c.Allowed != 1 || c.Lost != 0 || c.Seen+c.Refused+c.Killed != 2 || (c.Seen == 0) != enforce || now.Enforce != enforce || !slices.Equal(now.Sockets, []string{b.socket}) {
				t.Errorf("status %+v", now)
			}
		})
	}
}

// follow returns the next sightings.
func (b *gateBed) follow(t *testing.T, n int) []event.GateSighting {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var list []event.GateSighting
	if err := b.gate.Follow(ctx, func(s event.GateSighting) error {
		if list = append(list, s); len(list) == n {
			cancel()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(list) < n {
		t.Fatalf("%d sightings, want %d", len(list), n)
	}
	return list
}

// TestGateStays: it outlives whoever switched it on, and goes with its files.
func TestGateStays(t *testing.T) {
	b := newGateBed(t)
	cmd := exec.Command(b.client, b.gate.dir, b.socket)
	cmd.Env = append(os.Environ(), envGate+"=on")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(b.gate.dir) })
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err, cmd.Wait())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if end, _ := b.try(t, attempt{}); end != refused {
		t.Errorf("after kill -9: %s", end)
	}
	if s, err := b.gate.Status(); err != nil || !s.Enforce || s.Counts.Refused != 1 {
		t.Errorf("status %+v, %v", s, err)
	}
	if out, err := exec.Command("rm", "-r", b.gate.dir).CombinedOutput(); err != nil { // the break-glass
		t.Fatal(string(out))
	}
	testbed.Eventually(t, 5*time.Second, "the gate goes with its files", func() bool { // the kernel has a worker do it
		end, _ := b.try(t, attempt{})
		return end == through
	})
	if _, err := b.gate.Status(); !errors.Is(err, ErrGateOff) {
		t.Errorf("status: %v, want %v", err, ErrGateOff)
	}
	if err := b.gate.Off(); !errors.Is(err, ErrGateOff) {
		t.Errorf("off: %v, want %v", err, ErrGateOff)
	}
}

// TestGateIsReplaced: a second one takes the place of the first without a moment
// of none.
func TestGateIsReplaced(t *testing.T) {
	b := newGateBed(t)
	b.on(t, GateConfig{Enforce: true})
	stop := make(chan struct{})
	var seen sync.Map
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				seen.Store(errors.Is(dialOnce(b.socket), unix.EPERM), true)
			}
		}
	})
	for range 3 {
		b.on(t, GateConfig{Enforce: true})
	}
	close(stop)
	group.Wait()
	if _, leak := seen.Load(false); leak {
		t.Error("somebody came through in between")
	}
	b.on(t, GateConfig{})
	if end, _ := b.try(t, attempt{}); end != through {
		t.Errorf("observing: %s", end)
	}
}

// TestGateForLater: a socket that is not there yet is guarded once it is.
func TestGateForLater(t *testing.T) {
	b := newGateBed(t)
	b.listener.Close()
	s := b.on(t, GateConfig{Enforce: true})
	if !slices.Equal(s.Absent, []string{b.socket}) {
		t.Errorf("absent %q", s.Absent)
	}
	b.serve(t, b.socket)
	if end, _ := b.try(t, attempt{}); end == through {
		t.Error("through")
	}
}

func TestGateRefusesWhatItCannotDo(t *testing.T) {
	b := newGateBed(t)
	for _, c := range []struct {
		GateConfig
		want string
	}{
		{GateConfig{Sockets: []string{"docker.sock"}}, "the path is not absolute"},
		{GateConfig{Sockets: []string{b.dir + "/nowhere/docker.sock"}}, "its directory is not there"},
		{GateConfig{Exes: []GateExe{{Path: b.dir + "/nothing"}}}, "allow executable"},
		{GateConfig{Cgroups: []string{"/no/such/cgroup"}}, "allow cgroup"},
	} {
		if _, err := b.gate.On(c.GateConfig); err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
			t.Errorf("%+v: %v, want %q", c.GateConfig, err, c.want)
		}
	}
	if _, err := NewGate(filepath.Join(b.dir, "gate")).On(GateConfig{Sockets: []string{b.socket}}); err == nil || !bytes.Contains([]byte(err.Error()), []byte("BPF file system")) {
		t.Errorf("pinned on a disk: %v", err)
	}
}

func TestGateReadsMounts(t *testing.T) {
	const unified = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
	const hybrid = "29 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n31 23 0:28 / /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup rw,pids\n"
	const inside = "29 23 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	for text, want := range map[string]string{unified: "/sys/fs/cgroup", hybrid: "/sys/fs/cgroup/pids", inside: "", "": "", "x - y\n": ""} {
		if got := cgroupMount(text); got != want {
			t.Errorf("cgroupMount(%q) = %q, want %q", text, got, want)
		}
	}
	if d, ok := mountDevice(hybrid, 31); !ok || d != unix.Mkdev(0, 28) {
		t.Errorf("device %d, %v", d, ok)
	}
	for _, text := range []string{"", hybrid, "30 1 a:b / /x rw - y z w\n", "30\n"} {
		if d, ok := mountDevice(text, 30); ok {
			t.Errorf("mountDevice(%q) = %d", text, d)
		}
	}
}

func FuzzDecodeSighting(f *testing.F) {
	f.Add([]byte("\x01"))
	for _, v := range []gateSighting{{Verdict: 3, Socket: 1, ExeLen: 7, CgroupLen: 5}, {Verdict: 9, Socket: 3}} {
		b, err := binary.Append(nil, binary.NativeEndian, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := decodeSighting(b, []string{"/a", "/b"})
		if err == nil && (s.Verdict == "" || s.Socket == "") {
			t.Errorf("%+v", s)
		}
	})
}
