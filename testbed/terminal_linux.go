package testbed

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// StartTerminal starts cmd with a new terminal for all three streams, which is
// the controlling terminal of a new session, as after a login. It returns the
// terminal's other end, for the caller to read, write and close; reading ends
// with EIO when the last process on the terminal is gone. uid is who owns the
// terminal: whoever cmd runs as.
func StartTerminal(cmd *exec.Cmd, uid uint32) (*os.File, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	slave, err := slaveOf(master)
	if err != nil {
		master.Close()
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	defer slave.Close()
	if err := slave.Chown(int(uid), -1); err != nil {
		master.Close()
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		master.Close()
		return nil, err
	}
	return master, nil
}

func slaveOf(master *os.File) (*os.File, error) {
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n int
	var opErr error
	err = raw.Control(func(fd uintptr) {
		if opErr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); opErr == nil {
			n, opErr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		return nil, err
	}
	if opErr != nil {
		return nil, opErr
	}
	return os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
}
