package kubestorm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed/truth"
)

// heard is a command that came to a socket.
type heard struct {
	token   string
	socket  string
	process event.ProcessID
	at      time.Time
}

// ear listens on unix sockets to which commands connect, hands each a token and
// holds it for a while, so that commands overlap.
type ear struct {
	hold time.Duration // at most

	mu      sync.Mutex
	wg      sync.WaitGroup
	sockets []*net.UnixListener
	heard   []heard
	errs    []error
}

// listen adds a socket that everybody may connect to.
func (e *ear) listen(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return errors.Join(err, l.Close())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sockets = append(e.sockets, l)
	e.wg.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return // closed
			}
			e.wg.Go(func() { e.serve(c, path) })
		}
	})
	return nil
}

func (e *ear) serve(c *net.UnixConn, socket string) {
	defer c.Close()
	process, err := truth.Peer(c)
	e.mu.Lock()
	token := "t" + strconv.Itoa(len(e.heard)+1) + "."
	if err != nil {
		e.errs = append(e.errs, fmt.Errorf("hear at %s: %w", socket, err))
	} else {
		e.heard = append(e.heard, heard{token, socket, process, time.Now()})
	}
	e.mu.Unlock()
	c.Write([]byte(token + "\n"))
	time.Sleep(rand.N(e.hold))
}

// count returns how many commands came to a socket.
func (e *ear) count(socket string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.heard {
		if h.socket == socket {
			n++
		}
	}
	return n
}

// close stops listening and returns who came.
func (e *ear) close() ([]heard, error) {
	e.mu.Lock()
	for _, l := range e.sockets {
		l.Close()
	}
	e.sockets = nil
	e.mu.Unlock()
	e.wg.Wait()
	return e.heard, errors.Join(e.errs...)
}
