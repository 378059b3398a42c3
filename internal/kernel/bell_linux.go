//go:build linux && (amd64 || arm64)

package kernel

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// bell waits for the ring buffer the way Go waits for sockets. A thread that
// blocks in epoll_wait, as the ring's own reader does, has the Go scheduler look
// after it every 20 µs: that cost as much as all records of a storm together.
type bell struct {
	file *os.File
	conn syscall.RawConn
}

func newBell(ring *ebpf.Map) (*bell, error) {
	fd, err := unix.FcntlInt(uintptr(ring.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open ring buffer: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // only such files are waited for
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open ring buffer: %w", err)
	}
	b := &bell{file: os.NewFile(uintptr(fd), "ring buffer")}
	if b.conn, err = b.file.SyscallConn(); err != nil {
		_ = b.file.Close()
		return nil, fmt.Errorf("open ring buffer: %w", err)
	}
	return b, nil
}

// wait returns when the kernel wakes the reader and ready says that there is
// something, or with os.ErrDeadlineExceeded.
func (b *bell) wait(ready func() bool, atMost time.Duration) error {
	if err := b.file.SetReadDeadline(time.Now().Add(atMost)); err != nil {
		return err
	}
	return b.conn.Read(func(uintptr) bool { return ready() })
}

// ring ends a wait.
func (b *bell) ring() { _ = b.file.SetReadDeadline(time.Unix(1, 0)) }

// Close implements io.Closer.
func (b *bell) Close() error { return b.file.Close() }
