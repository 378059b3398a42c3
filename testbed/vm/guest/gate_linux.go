package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/testbed/vm"
)

const exitRefused = 13

// playGate tries a gate that lets one user through.
func playGate(r *vm.Report, hook kernel.GateHook) error {
	server, err := startHelper(0, "serve")
	if err != nil {
		return err
	}
	defer server.stop()
	const other = "/run/other.sock"
	l, err := net.Listen("unix", other)
	if err != nil {
		return err
	}
	defer l.Close()
	gate := kernel.NewGate(kernel.GateDir)
	status, err := gate.On(kernel.GateConfig{Sockets: []string{vm.Socket}, Enforce: true, Hook: hook, UIDs: []uint32{vm.OtherUID}})
	if err != nil {
		return err
	}
	r.Gate = &vm.GateReport{Ends: map[string]string{}}
	if err := errors.Join(os.Symlink(vm.Socket, "/run/link"), os.Link(vm.Socket, "/run/hard")); err != nil {
		return err
	}
	for _, a := range []struct {
		what, path, how string
		uid             uint32
	}{
		{"path", vm.Socket, "", 0},
		{"user", vm.Socket, "", vm.OtherUID},
		{"another user", vm.Socket, "", vm.OtherUID + 1},
		{"symbolic link", "/run/link", "", 0},
		{"hard link", "/run/hard", "", 0},
		{"open directory", vm.Socket, "fd", 0},
		{"mounted elsewhere", vm.Socket, "mount", 0},
		{"another socket", other, "", 0},
	} {
		if r.Gate.Ends[a.what], err = attempt(a.uid, a.path, a.how); err != nil {
			return fmt.Errorf("%s: %w", a.what, err)
		}
	}
	if r.Gate.Sightings, err = sightings(gate); err != nil {
		return err
	}
	if r.Gate.Status, err = gate.Status(); err != nil {
		return err
	}
	if err := errors.Join(gate.Off()); err != nil {
		return err
	}
	r.Gate.Ends["off"], err = attempt(0, vm.Socket, "")
	r.Gate.Status.Stands = status.Stands
	return err
}

// sightings reads what there is.
func sightings(gate *kernel.Gate) (list []event.GateSighting, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err = gate.Follow(ctx, func(s event.GateSighting) error {
		list = append(list, s)
		return nil
	})
	return list, err
}

func attempt(uid uint32, path, how string) (string, error) {
	cmd := exec.Command("/init", "dial", path, how)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return "", err
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case err == nil:
		return vm.GateThrough, nil
	case status.ExitStatus() == exitRefused:
		return vm.GateRefused, nil
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return vm.GateKilled, nil
	}
	return "", fmt.Errorf("%w: %s", err, out)
}

// dial connects to a path: as it is, by an open directory, or mounted elsewhere.
func dial(args []string) error {
	path := args[0]
	switch args[1] {
	case "fd":
		fd, err := unix.Open(filepath.Dir(path), unix.O_PATH, 0)
		if err != nil {
			return err
		}
		path = fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path))
	case "mount":
		const at = "/tmp/elsewhere"
		if err := errors.Join(
			unix.Unshare(unix.CLONE_NEWNS),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			os.WriteFile(at, nil, 0o644),
			unix.Mount(path, at, "", unix.MS_BIND, ""),
		); err != nil {
			return err
		}
		path = at
	}
	c, err := net.Dial("unix", path)
	if errors.Is(err, unix.EPERM) {
		os.Exit(exitRefused)
	}
	if err != nil {
		return err
	}
	return c.Close()
}
