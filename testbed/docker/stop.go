//go:build linux

package docker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every engine's directory.
const prefix = "sp-docker-"

// base is where engines' directories are: the system's temporary directory
// unless its name is long. A unix socket's path may not exceed 107 bytes, and
// containerd's is the longest here.
func base() string {
	if dir := os.TempDir(); len(dir) <= 40 {
		return dir
	}
	return "/tmp"
}

// newDir makes an engine's directory and notes whose it is. Other users must be
// able to pass through it to the socket.
func newDir() (string, error) {
	dir, err := os.MkdirTemp(base(), prefix)
	if err != nil {
		return "", err
	}
	owner := fmt.Sprintf("%d %s %s\n", os.Getpid(), startTime(os.Getpid()), pidNamespace())
	return dir, errors.Join(
		os.Chmod(dir, 0o711),
		os.WriteFile(filepath.Join(dir, "owner"), []byte(owner), 0o644),
		os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}\n"), 0o644),
		os.Mkdir(filepath.Join(dir, "cli"), 0o755),
	)
}

// sweep removes engines whose owners are gone: a test program that panicked or
// was killed could not stop them. Owners that it cannot judge, because they
// live in another pid namespace, it leaves alone.
func sweep(log *slog.Logger) {
	dirs, _ := filepath.Glob(filepath.Join(base(), prefix+"*"))
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "owner"))
		if err != nil {
			continue // being made or being removed
		}
		var pid int
		var start, ns string
		n, _ := fmt.Sscan(string(b), &pid, &start, &ns)
		if n != 3 || ns != pidNamespace() || startTime(pid) == start {
			continue
		}
		if err := clean(dir); err != nil {
			log.Warn("clean up after a dead owner", "dir", dir, "error", err)
		}
	}
}

func pidNamespace() string {
	ns, _ := os.Readlink("/proc/self/ns/pid")
	return ns
}

// startTime is the start time of a process in clock ticks since boot, "" when
// there is none.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ") // after the name, which may hold blanks
	if f := strings.Fields(rest); len(f) > 19 {
		return f[19]
	}
	return ""
}

// Stop ends the engine and removes all of it: containers, shims, mounts,
// cgroups, files. It works whatever state the engine is in.
func (e *Engine) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	e.Thaw()
	e.removeContainers(ctx) // best effort: clean finds what is left
	e.halt(ctx)
	if err := clean(e.Dir); err != nil {
		return fmt.Errorf("stop docker engine: %w", err)
	}
	return nil
}

func (e *Engine) removeContainers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ids, err := Output(e.CLI(ctx, "ps", "-aq", "--no-trunc"))
	if err != nil || ids == "" {
		return
	}
	Output(e.CLI(ctx, append([]string{"rm", "-f", "-v"}, strings.Fields(ids)...)...))
}

// clean ends every process that belongs to the engine in dir and removes what
// it left in the system.
func clean(dir string) error {
	containers := bundles(dir)
	sockets := shimSockets(dir)
	deadline := time.Now().Add(10 * time.Second)
	for {
		pids := members(dir, containers)
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("clean up %s: processes %v do not die", dir, pids)
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, s := range sockets {
		os.Remove(s)
	}
	removeCgroups(containers)
	if err := unmountAll(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// bundles lists the ids of the containers that the engine in dir has or had.
func bundles(dir string) []string {
	var ids []string
	for _, pattern := range []string{"x/containerd/daemon/io.containerd.runtime.v2.task/moby/*", "data/containers/*"} {
		paths, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, p := range paths {
			if id := filepath.Base(p); len(id) == 64 {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// shimSockets lists the sockets of the engine's shims, which lie outside its
// directory.
func shimSockets(dir string) []string {
	var out []string
	paths, _ := filepath.Glob(filepath.Join(dir, "x/containerd/daemon/io.containerd.runtime.v2.task/moby/*/address"))
	for _, p := range paths {
		b, _ := os.ReadFile(p)
		if s, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "unix://"); ok {
			out = append(out, s)
		}
	}
	return out
}

// members lists the processes of the engine in dir: those whose command line
// names the directory (daemons, shims, runtimes) and those in a cgroup of one
// of its containers.
func members(dir string, containers []string) []int {
	var pids []int
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		pid, _ := strconv.Atoi(filepath.Base(p))
		if pid != os.Getpid() && (runsFor(p, dir) || inCgroup(p, containers)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// daemons are the programs that clean may kill for what their command line
// says. A test program or an editor may name the directory too.
var daemons = []string{"dockerd", "containerd", "containerd-shim-runc-v2", "runc", "docker-init", "ctr", "docker"}

func runsFor(proc, dir string) bool {
	b, err := os.ReadFile(proc + "/cmdline")
	if err != nil || !strings.Contains(string(b), dir+"/") {
		return false
	}
	argv0, _, _ := strings.Cut(string(b), "\x00")
	return slices.Contains(daemons, filepath.Base(argv0))
}

func inCgroup(proc string, containers []string) bool {
	b, err := os.ReadFile(proc + "/cgroup")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(containers, func(id string) bool { return strings.Contains(string(b), id) })
}

// removeCgroups removes the cgroups of containers that no runtime removed.
func removeCgroups(containers []string) {
	for _, id := range containers {
		for _, pattern := range []string{"/sys/fs/cgroup/*/docker/", "/sys/fs/cgroup/docker/"} {
			paths, _ := filepath.Glob(pattern + id)
			for _, p := range paths {
				os.Remove(p)
			}
		}
	}
}

// unmountAll unmounts everything below dir, the deepest first.
func unmountAll(dir string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	var mounts []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			mounts = append(mounts, fields[4])
		}
	}
	slices.Reverse(mounts)
	for _, m := range mounts {
		err := unix.Unmount(m, unix.MNT_DETACH)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	return nil
}
