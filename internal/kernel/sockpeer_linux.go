//go:build linux && (amd64 || arm64)

package kernel

import (
	"errors"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
)

// soPeerPIDFD is SO_PEERPIDFD (Linux 6.5), which golang.org/x/sys does not have.
const soPeerPIDFD = 77

// SocketPeer says who is at the other end of a connection that a unix socket
// accepted: its user and group are the kernel's word from the moment it connected,
// its program is what the same process runs now. A process that is gone, or whose
// pid may be another's by now, has no program. Of other connections it gives the
// address alone.
func SocketPeer(c net.Conn) (event.ConnID, event.Peer) {
	if over, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = over.NetConn() // TLS
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0, event.Peer{Address: addressOf(c)}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, event.Peer{Address: addressOf(c)}
	}
	var cookie uint64
	var cred *unix.Ucred
	pidfd := -1
	err = raw.Control(func(fd uintptr) {
		cookie, _ = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, soPeerPIDFD); err == nil {
				pidfd = n
			}
		}
	})
	if _, isUnix := c.(*net.UnixConn); !isUnix || err != nil || cred == nil || cred.Pid <= 0 {
		return event.ConnID(cookie), event.Peer{Address: addressOf(c)}
	}
	if pidfd < 0 {
		pidfd, _ = unix.PidfdOpen(int(cred.Pid), 0)
	}
	p := event.Peer{ID: event.ProcessID{PID: uint32(cred.Pid)}, Cred: event.Cred{UID: cred.Uid, GID: cred.Gid}}
	if pidfd < 0 {
		return event.ConnID(cookie), p
	}
	defer unix.Close(pidfd)
	found := p
	addProgram(&found)
	found.Container, _ = containerOf(readCgroup(p.ID))
	if alive(pidfd) {
		p = found
	}
	return event.ConnID(cookie), p
}

// alive reports whether the process behind a pidfd still runs: then everything
// that was read under its pid until now was about it.
func alive(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}

func addressOf(c net.Conn) string {
	if a := c.RemoteAddr(); a != nil && a.Network() != "unix" {
		return a.String()
	}
	return ""
}

// groupsMax is how many groups a process may have (NGROUPS_MAX).
const groupsMax = 1 << 16

// PeerGroups returns the groups of the process at the other end of a connection
// that a unix socket accepted, as they were when it connected (SO_PEERGROUPS, Linux
// 4.13): its supplementary ones, and first the one of SO_PEERCRED.
func PeerGroups(c net.Conn) ([]uint32, error) {
	sc, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var groups []uint32
	ctl := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		if groups, err = peerGroups(fd, 32); errors.Is(err, unix.ERANGE) {
			groups, err = peerGroups(fd, groupsMax)
		}
		groups = append([]uint32{cred.Gid}, groups...)
	})
	return groups, errors.Join(ctl, err)
}

// peerGroups asks with room for so many.
func peerGroups(fd uintptr, room int) ([]uint32, error) {
	buf := make([]uint32, room)
	size := uint32(room * 4)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return nil, errno
	}
	return buf[:size/4], nil
}
