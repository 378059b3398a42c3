package rawconn_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/lib/rawconn"
)

// pair returns both ends of a connection, the first of them as rawconn has it.
func pair(t *testing.T) (raw net.Conn, far *net.UnixConn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err = rawconn.Listener{Listener: l}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far, _ = dialled.(*net.UnixConn)
	t.Cleanup(func() { _, _ = raw.Close(), far.Close() })
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	_ = far.SetDeadline(time.Now().Add(20 * time.Second))
	return raw, far
}

// TestAll: more than a socket holds goes through both ways whole, and then the end.
func TestAll(t *testing.T) {
	raw, far := pair(t)
	want := make([]byte, 4<<20)
	_, _ = rand.Read(want)
	for _, way := range []struct{ from, to net.Conn }{{raw, far}, {far, raw}} {
		sent := make(chan error, 1)
		go func() {
			n, err := way.from.Write(want)
			if err == nil && n != len(want) {
				err = io.ErrShortWrite
			}
			sent <- errors.Join(err, way.from.(interface{ CloseWrite() error }).CloseWrite())
		}()
		time.Sleep(10 * time.Millisecond) // so that it waits for a reader
		got, err := io.ReadAll(way.to)
		if err := errors.Join(err, <-sent); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d of %d bytes came", len(got), len(want))
		}
	}
}

// TestErrors: they are those of net, by which net/http goes.
func TestErrors(t *testing.T) {
	t.Run("a deadline", func(t *testing.T) {
		raw, _ := pair(t)
		_ = raw.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := raw.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read after its deadline: %v", err)
		}
	})
	t.Run("a deadline while it waits", func(t *testing.T) {
		raw, _ := pair(t)
		read := make(chan error, 1)
		go func() { _, err := raw.Read(make([]byte, 1)); read <- err }()
		time.Sleep(10 * time.Millisecond)
		_ = raw.SetReadDeadline(time.Unix(1, 0))
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read whose deadline passes: %v", err)
		}
	})
	t.Run("closed here", func(t *testing.T) {
		raw, _ := pair(t)
		read := make(chan error, 1)
		go func() { _, err := raw.Read(make([]byte, 1)); read <- err }()
		time.Sleep(10 * time.Millisecond)
		_ = raw.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read of what is closed: %v", err)
		}
		if _, err := raw.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write to what is closed: %v", err)
		}
	})
	t.Run("closed there", func(t *testing.T) {
		raw, far := pair(t)
		_ = far.Close()
		if n, err := raw.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("a read behind the end: %d, %v", n, err)
		}
		var at *net.OpError
		if _, err := raw.Write([]byte("x")); !errors.As(err, &at) || at.Op != "write" {
			t.Errorf("a write that nobody reads: %v", err)
		}
	})
}

// TestReadBefore: it is told when there is nothing to read, and only then.
func TestReadBefore(t *testing.T) {
	raw, far := pair(t)
	c, ok := raw.(interface {
		ReadBefore(b []byte, idle func()) (int, error)
	})
	if !ok {
		t.Skip("this system has none")
	}
	waited := 0
	read := func(idle func()) string {
		b := make([]byte, 10)
		n, err := c.ReadBefore(b, idle)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	_, _ = far.Write([]byte("there"))
	if got := read(func() { waited++ }); got != "there" || waited != 0 {
		t.Errorf("%q, after waiting %d times", got, waited)
	}
	// What comes just then is not slept through.
	if got := read(func() { waited++; _, _ = far.Write([]byte("late")) }); got != "late" || waited != 1 {
		t.Errorf("%q, after waiting %d times", got, waited)
	}
}
