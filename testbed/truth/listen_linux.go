package truth

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Told is what a command inside a container said of itself.
type Told struct {
	Nonce     string
	Container event.ContainerID
	Process   event.ProcessID // the start has the precision of /proc
	At        time.Time
}

// listener hears commands in one container tell their secrets. Their identity
// comes from the kernel: they wait for the answer, so their pid is still theirs
// when the listener looks it up.
type listener struct {
	sock *net.UnixListener
	hold time.Duration // commands are held up to this long, so that they overlap
	wg   sync.WaitGroup

	mu    sync.Mutex
	told  []Told
	errs  []error
	alarm map[string]chan struct{} // by nonce: closed when it is told
}

// alarmed returns a channel that is closed when nonce is told.
func (l *listener) alarmed(nonce string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{})
	l.alarm[nonce] = c
	return c
}

// listen listens on a unix socket that everybody may connect to.
func listen(path string, hold time.Duration) (*listener, error) {
	sock, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		sock.Close()
		return nil, err
	}
	l := &listener{sock: sock, hold: hold, alarm: make(map[string]chan struct{})}
	l.wg.Add(1)
	go l.serve()
	return l, nil
}

func (l *listener) serve() {
	defer l.wg.Done()
	for {
		c, err := l.sock.AcceptUnix()
		if err != nil {
			return // closed
		}
		l.wg.Go(func() {
			defer c.Close()
			t, err := hear(c)
			l.mu.Lock()
			if err != nil {
				l.errs = append(l.errs, err)
			} else {
				l.told = append(l.told, t)
				if c := l.alarm[t.Nonce]; c != nil {
					delete(l.alarm, t.Nonce)
					close(c)
				}
			}
			l.mu.Unlock()
			if l.hold > 0 {
				time.Sleep(rand.N(l.hold))
			}
			c.Write([]byte{'\n'})
		})
	}
}

// close stops listening and returns what was told, and what went wrong.
func (l *listener) close() ([]Told, []error) {
	l.sock.Close()
	l.wg.Wait()
	return l.told, l.errs
}

func hear(c *net.UnixConn) (Told, error) {
	c.SetDeadline(time.Now().Add(30 * time.Second))
	process, err := Peer(c)
	if err != nil {
		return Told{}, err
	}
	line, err := bufio.NewReader(io.LimitReader(c, 256)).ReadString('\n')
	if err != nil {
		return Told{}, fmt.Errorf("hear process %s: %w", process, err)
	}
	return Told{Nonce: strings.TrimSpace(line), Process: process, At: time.Now()}, nil
}
