// Command guest is everything that the virtual machine of testbed/vm runs but
// runc, busybox and actor. As the first process it makes a host of the machine,
// starts itself as "host", which plays the scenario and reports, and ends the
// machine. The other roles are programs of the scenario; each is started as
// "/init ROLE ARGUMENTS".
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() == 1 {
		first()
		return
	}
	roles := map[string]func(args []string) error{
		"host": host, "serve": serve, "ask": ask, "start": start, "join": join, "dial": dial,
	}
	if err := roles[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
		os.Exit(1)
	}
}

// first is the first process.
func first() {
	if err := boot(); err != nil {
		fmt.Println("first process:", err)
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// boot runs the host's role and buries orphans until it ends.
func boot() error {
	if err := mounts(); err != nil {
		return err
	}
	os.Setenv("PATH", "/usr/sbin:/bin")
	// What follows "--" on the kernel's command line are our arguments.
	host := exec.Command("/init", append([]string{"host"}, os.Args[1:]...)...)
	host.Stdout, host.Stderr = os.Stdout, os.Stdout
	if err := host.Start(); err != nil {
		return err
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == host.Process.Pid {
			return err
		}
	}
}

// mounts makes of the initial RAM disk a root that can be changed (pivot_root
// refuses the very first mount), and a host of cgroup version 2 alone.
func mounts() error {
	if err := loadModule("/overlay.ko"); err != nil {
		return err
	}
	const newRoot = "/tmp"
	if err := errors.Join(
		unix.Mount("/", newRoot, "", unix.MS_BIND, ""),
		os.Chdir(newRoot),
		unix.Mount(".", "/", "", unix.MS_MOVE, ""),
		unix.Chroot("."),
		os.Chdir("/"),
	); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	var errs []error
	for _, m := range []struct{ kind, dir, data string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"tmpfs", "/run", "mode=755"},
		{"tmpfs", "/tmp", ""},
		{"cgroup2", "/sys/fs/cgroup", ""},
		{"bpf", "/sys/fs/bpf", ""},
	} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, m.data); err != nil {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.dir, err))
		}
	}
	return errors.Join(errs...)
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		return fmt.Errorf("load %s: %w", file, err)
	}
	return nil
}

// run runs a program to its end. The error holds what it said. Its output goes
// to a file: what it leaves running would keep a pipe open.
func run(program string, args ...string) error {
	out, err := os.CreateTemp("", "")
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("run %s %q: %w: %s", program, args, err, said)
	}
	return nil
}

// untilEOF waits until whoever started this program closes its input.
func untilEOF() { _, _ = io.Copy(io.Discard, os.Stdin) }
