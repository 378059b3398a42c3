//go:build linux

package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Clean ends every process that belongs to the daemon in dir and removes what
// it left in the system.
func Clean(dir string) error {
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
	removeTree(filepath.Base(dir))
	restoreSysctls(dir)
	removeStrays(dir, containers)
	if err := unmountAll(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// bundles lists the containers that the daemon in dir has or had: the shims'
// bundle directories, and what Docker and Podman keep of each container.
func bundles(dir string) []string {
	var ids []string
	for _, p := range glob(dir, append(taskDirs[:], "data/containers/*", "data/vfs-containers/*")...) {
		if id := filepath.Base(p); len(id) >= minID {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// minID is how long a container's id must be to be told from anybody else's.
const minID = 12

// taskDirs are where containerd keeps its bundles: Docker's, one of its own,
// and a Kubernetes node's.
var taskDirs = [3]string{
	"x/containerd/daemon/io.containerd.runtime.v2.task/*/*",
	"state/io.containerd.runtime.v2.task/*/*",
	"node*/state/io.containerd.runtime.v2.task/*/*",
}

// shimSockets lists the sockets of the daemon's shims, which lie outside its
// directory.
func shimSockets(dir string) []string {
	var out []string
	for _, p := range glob(dir, taskDirs[:]...) {
		b, _ := os.ReadFile(filepath.Join(p, "address"))
		if s, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "unix://"); ok {
			out = append(out, s)
		}
	}
	return out
}

func glob(dir string, patterns ...string) []string {
	var out []string
	for _, p := range patterns {
		paths, _ := filepath.Glob(filepath.Join(dir, p))
		out = append(out, paths...)
	}
	return out
}

// members lists the processes of the daemon in dir: those whose command line
// names the directory (daemons, shims, runtimes) and those in a cgroup of one
// of its containers or of its own.
func members(dir string, containers []string) []int {
	var pids []int
	parts := append([]string{"/" + filepath.Base(dir) + "/"}, containers...)
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		pid, _ := strconv.Atoi(filepath.Base(p))
		if pid != os.Getpid() && (runsFor(p, dir) || inCgroup(p, parts)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// programs are what Clean may kill for what their command line
// says. A test program or an editor may name the directory too.
var programs = []string{
	"dockerd", "containerd", "containerd-shim-runc-v2", "runc", "docker-init", "ctr", "docker", "podman", "conmon", "crio",
	"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "nsenter",
}

func runsFor(proc, dir string) bool {
	b, err := os.ReadFile(proc + "/cmdline")
	if err != nil || !strings.Contains(string(b), dir+"/") {
		return false
	}
	argv0, _, _ := strings.Cut(string(b), "\x00")
	return slices.Contains(programs, filepath.Base(argv0))
}

func inCgroup(proc string, parts []string) bool {
	b, err := os.ReadFile(proc + "/cgroup")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(string(b), part) })
}

// removeCgroups removes the cgroups of containers that no runtime removed.
func removeCgroups(containers []string) {
	for _, id := range containers {
		for _, pattern := range []string{"/sys/fs/cgroup/*/*/", "/sys/fs/cgroup/*/"} {
			for _, name := range []string{id, "libpod-" + id} {
				paths, _ := filepath.Glob(pattern + name)
				for _, p := range paths {
					os.Remove(p)
				}
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
