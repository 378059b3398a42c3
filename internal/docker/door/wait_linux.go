package door

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/lib/rawconn"
)

// reader returns what reads of a connection as much as is there, and hands it on. It
// holds a buffer only while something is.
func reader(c net.Conn) func(pass func([]byte) error) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return patient(c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return func(func([]byte) error) error { return readError{err} }
	}
	var buf *[pieceSize]byte
	var n int
	var failed error
	try := func(fd uintptr) bool {
		buf, _ = pieces.Get().(*[pieceSize]byte)
		if n, failed = rawconn.Read(fd, buf[:]); failed == unix.EAGAIN {
			pieces.Put(buf)
			return false
		}
		return true
	}
	return func(pass func([]byte) error) error {
		if err := raw.Read(try); err != nil {
			return readError{err}
		}
		defer pieces.Put(buf)
		switch {
		case failed != nil:
			return readError{failed}
		case n == 0:
			return readError{io.EOF}
		}
		return pass(buf[:n])
	}
}

// closed reports whether the other end of a connection is closed, and if only for
// sending.
func closed(c net.Conn) (ends, half bool) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false, false
	}
	_, unixSocket := c.(*net.UnixConn)
	err = raw.Control(func(fd uintptr) {
		got, err := rawconn.Poll(fd, unix.POLLRDHUP)
		ends = err == nil && got != 0
		half = unixSocket && got&(unix.POLLHUP|unix.POLLERR) == 0
	})
	if err != nil { // it is closed at this end
		return true, false
	}
	return ends, half
}
