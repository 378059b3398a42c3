package rawconn

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of returns a connection that is read and written so; c itself where it is not one
// of a unix socket. What is below is had by NetConn.
func Of(c net.Conn) net.Conn {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return c
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return c
	}
	return &conn{u, raw}
}

type conn struct {
	*net.UnixConn
	raw syscall.RawConn
}

// NetConn returns the connection below.
func (c *conn) NetConn() net.Conn { return c.UnixConn }

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) { return c.ReadBefore(b, nil) }

// ReadBefore is Read that calls idle, unless it is nil, before it waits: when there
// is nothing to read yet.
func (c *conn) ReadBefore(b []byte, idle func()) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	var failed error
	err = c.raw.Read(func(fd uintptr) bool {
		if n, failed = Read(fd, b); failed != unix.EAGAIN {
			return true
		}
		if idle != nil {
			idle()
		}
		return false
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, c.error("read", failed)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (n int, err error) {
	var failed error
	err = c.raw.Write(func(fd uintptr) bool {
		for n < len(b) && failed == nil {
			var wrote int
			if wrote, failed = write(fd, b[n:]); failed == unix.EAGAIN {
				failed = nil
				return false
			}
			n += wrote
		}
		return true
	})
	if err == nil && failed != nil {
		err = c.error("write", failed)
	}
	return n, err
}

func (c *conn) error(op string, err error) error {
	return &net.OpError{Op: op, Net: "unix", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}

// Read is read(2) of a descriptor that does not block, for the functions that
// syscall.RawConn takes.
func Read(fd uintptr, b []byte) (int, error) { return call(unix.SYS_READ, fd, b) }

func write(fd uintptr, b []byte) (int, error) { return call(unix.SYS_WRITE, fd, b) }

// Poll says which of some events of poll(2) a descriptor has now.
func Poll(fd uintptr, events int16) (int16, error) {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	var now unix.Timespec
	_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return p.Revents, nil
}

// call is read(2) or write(2), again when a signal interrupted it.
func call(trap, fd uintptr, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
