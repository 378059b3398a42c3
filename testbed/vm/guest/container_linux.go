package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed/vm"
)

// writeBundle makes a container for runc: a root of overlay layers, as engines
// make it, with one program in the upper layer, and a specification.
func writeBundle(id event.ContainerID) (string, error) {
	dir := "/run/bundles/" + id.Short()
	root := dir + "/rootfs"
	for _, d := range []string{root, dir + "/upper", dir + "/work"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", err
		}
	}
	layers := fmt.Sprintf("lowerdir=/images,upperdir=%s/upper,workdir=%s/work", dir, dir)
	if err := unix.Mount("overlay", root, "overlay", 0, layers); err != nil {
		return "", fmt.Errorf("mount %s: %w", root, err)
	}
	actor, err := os.ReadFile(root + "/bin/actor")
	if err != nil {
		return "", err
	}
	spec, err := json.Marshal(specification(id))
	return dir, errors.Join(err,
		os.WriteFile(root+"/bin/upper", actor, 0o755),
		os.WriteFile(dir+"/config.json", spec, 0o644),
	)
}

// specification is what runc is told (OCI runtime specification 1.0).
func specification(id event.ContainerID) any {
	type m = map[string]any
	var namespaces []m
	for _, n := range []string{"pid", "mount", "ipc", "uts"} {
		namespaces = append(namespaces, m{"type": n})
	}
	return m{
		"ociVersion": "1.0.2",
		"process": m{
			"args": []string{"/bin/sleep", vm.MarkInit}, "cwd": "/", "user": m{"uid": 0, "gid": 0},
		},
		"root": m{"path": "rootfs"},
		"mounts": []m{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/run", "type": "none", "source": filepath.Dir(vm.Socket), "options": []string{"bind"}},
		},
		"linux": m{"cgroupsPath": vm.Cgroups()[id], "namespaces": namespaces},
	}
}

// start makes a container without runc: START is born in a pid namespace and a
// cgroup of its own by one clone3 (CLONE_INTO_CGROUP, Linux 5.7). Arguments are
// the container's id, its bundle and where to write the first process's pid.
func start(args []string) error {
	id, root, pidFile := event.ContainerID(args[0]), args[1]+"/rootfs", args[2]
	cgroup := "/sys/fs/cgroup" + vm.Cgroups()[id]
	if err := os.MkdirAll(cgroup, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(cgroup)
	if err != nil {
		return err
	}
	defer dir.Close()
	pids, err := os.Create(pidFile)
	if err != nil {
		return err
	}
	defer pids.Close()
	if err := ownMounts(root); err != nil {
		return err
	}
	pid, err := syscall.ForkExec("/bin/sleep", []string{"/bin/sleep", vm.MarkInit}, &syscall.ProcAttr{
		Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
			UseCgroupFD: true, CgroupFD: int(dir.Fd()),
		},
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(pids, pid)
	return err
}

// ownMounts brings the calling thread, which stays this goroutine's, into a new
// mount namespace with another root. It has a directory of its own from then on.
func ownMounts(root string) error {
	runtime.LockOSThread()
	return errors.Join(
		unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		os.Chdir(root),
		unix.PivotRoot(".", "."),
		unix.Unmount(".", unix.MNT_DETACH),
		os.Chdir("/"),
	)
}

// join starts a program in a container without runc, born in the container's
// cgroup as newer runtimes do it, and waits for its end. Arguments are the
// container's id, the pid of a process in it, and the program's.
func join(args []string) error {
	dir, err := os.Open("/sys/fs/cgroup" + vm.Cgroups()[event.ContainerID(args[0])])
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := enter(args[1], "ipc", "uts", "pid", "mnt"); err != nil {
		return err
	}
	pid, err := syscall.ForkExec(args[2], args[2:], &syscall.ProcAttr{
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", strings.Join(args[2:], " "), err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		return err
	}
	if status.ExitStatus() != 0 {
		return fmt.Errorf("exit status %d", status.ExitStatus())
	}
	return nil
}

// enter brings the calling thread, which stays this goroutine's, into the
// namespaces of a process.
func enter(pid string, kinds ...string) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	var files []*os.File
	for _, kind := range kinds { // all before the mounts change
		f, err := os.Open("/proc/" + pid + "/ns/" + kind)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	for _, f := range files {
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return fmt.Errorf("setns %s: %w", f.Name(), err)
		}
	}
	return nil
}
