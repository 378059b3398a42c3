package truth

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Peer returns the process at the other end of c, which must be waiting for an
// answer so that its pid is still its own. Its start has the precision of /proc.
func Peer(c *net.UnixConn) (event.ProcessID, error) {
	pid, err := peerPID(c)
	if err != nil {
		return event.ProcessID{}, err
	}
	start, err := startOf(pid)
	return event.ProcessID{PID: uint32(pid), Start: start}, err
}

func peerPID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, fmt.Errorf("peer of truth socket: %w", credErr)
	}
	return int(cred.Pid), nil
}

// startOf returns when a process was born, in nanoseconds since boot with the
// precision of /proc.
func startOf(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("start of process: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // after the name, which may hold blanks
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("start of process %d: /proc/%d/stat is short", pid, pid)
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("start of process %d: %w", pid, err)
	}
	return ticks * (1e9 / ticksPerSecond), nil
}
