package door

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
)

type allows struct{}

func (allows) Decide(context.Context, *session.Session, func(policy.Decision)) policy.Verdict {
	return policy.Verdict{}
}
func (allows) Misread(*session.Session, error) bool { return true }
func (allows) Created(*session.Session, string)     {}

// unsizedBy asks by way of a door for what a daemon answers at an address, and
// returns the connection.
func unsizedBy(t *testing.T, network, address string, answer http.HandlerFunc) (net.Conn, *bufio.Reader) {
	t.Helper()
	daemon, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answer}
	go func() { _ = server.Serve(daemon) }()
	t.Cleanup(func() { _ = server.Close() })
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "door"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- New(Options{Network: network, Address: daemon.Addr().String(), Judge: allows{}, Stop: time.Second}).Serve(ctx, l)
	}()
	t.Cleanup(func() { cancel(); <-done })
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, "GET /events HTTP/1.1\r\nHost: docker\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// TestUnsized: an answer of which nobody knows how long it gets is with the client
// before the daemon says more: first its head, then each piece.
func TestUnsized(t *testing.T) {
	for network, address := range map[string]string{"unix": filepath.Join(t.TempDir(), "daemon"), "tcp": "127.0.0.1:0"} {
		t.Run(network, func(t *testing.T) {
			next := make(chan string)
			_, br := unsizedBy(t, network, address, func(w http.ResponseWriter, _ *http.Request) {
				for {
					_ = http.NewResponseController(w).Flush()
					text, ok := <-next
					if !ok {
						return
					}
					_, _ = io.WriteString(w, text)
				}
			})
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"a", "be", "sea"} {
				next <- text
				got := make([]byte, len(text))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != text {
					t.Fatalf("%q came for %q: %v", got, text, err)
				}
			}
			close(next)
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
				t.Errorf("at its end %q came: %v", rest, err)
			}
		})
	}
}

// TestUnsizedAtOnce: one that the daemon sends at once is passed on so, and still
// does not say how long it is.
func TestUnsizedAtOnce(t *testing.T) {
	c, _ := unsizedBy(t, "unix", filepath.Join(t.TempDir(), "daemon"), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", "today")
		w.Header().Set("Transfer-Encoding", "chunked")
		_, _ = io.WriteString(w, "all of it")
	})
	const want = "HTTP/1.1 200 OK\r\nDate: today\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n"
	got := make([]byte, 4096)
	n, err := c.Read(got)
	if err != nil || string(got[:n]) != want {
		t.Errorf("the first read brings %q, %v", got[:n], err)
	}
}

// TestUnsizedCutOff: what a daemon sent before it was gone is the client's, in
// whatever piece of it that was.
func TestUnsizedCutOff(t *testing.T) {
	for _, last := range []string{"4\r\nlast\r\n", "100\r\nlast"} {
		c, _ := unsizedBy(t, "unix", filepath.Join(t.TempDir(), "daemon"), func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+last)
			_ = c.Close()
		})
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasSuffix(string(got), "\r\n4\r\nlast\r\n") {
			t.Errorf("of %q comes %q, %v", last, got, err)
		}
	}
}
