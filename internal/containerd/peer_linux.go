package containerd

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerPID is the pid of the process that listens at the other end of a unix
// connection, 0 when it cannot be told.
func peerPID(c net.Conn) (pid uint32) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = uint32(cred.Pid)
		}
	})
	return pid
}
