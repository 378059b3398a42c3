package door

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// refusalTime is how long a client may take to hear why it is refused.
const refusalTime = 10 * time.Second

// byGRPC reports whether a client hears no reason but in gRPC: it asks for nothing
// but another protocol, and says of any answer but a switch to that only what its
// status is.
func (a *asked) byGRPC(r *http.Request) bool {
	return a.path == "/grpc" && a.method == http.MethodPost && r.Header.Get("Upgrade") == "h2c"
}

// refuseGRPC switches to the protocol that the client asks for, and refuses there
// each of its calls.
func (p *Proxy) refuseGRPC(w http.ResponseWriter, id event.RequestID, message string) {
	conn, early, err := takeOver(w)
	if err != nil {
		p.refuse(w, http.StatusForbidden, message)
		return
	}
	s := &stream{client: conn, daemon: conn, conn: id.Conn}
	p.streams.add(s)
	defer func() {
		s.close()
		p.observe(event.ClientClose{Header: now(), Conn: id.Conn})
		p.streams.remove(s)
	}()
	if _, err := io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"); err != nil {
		return
	}
	only := newSingle(readFirst{conn, io.MultiReader(bytes.NewReader(early), conn)})
	var speaks http.Protocols
	speaks.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Protocols: &speaks, ReadHeaderTimeout: refusalTime, IdleTimeout: refusalTime,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "7") // permission denied
			w.Header().Set("Grpc-Message", percentEncoded(message))
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				_ = only.Close()
			}
		},
	}
	_ = server.Serve(only)
}

// percentEncoded writes a text as gRPC has it in a header field.
func percentEncoded(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// readFirst is a connection of which something was read already.
type readFirst struct {
	net.Conn
	rest io.Reader
}

// Read implements net.Conn.
func (c readFirst) Read(b []byte) (int, error) { return c.rest.Read(b) }

// single is a listener that has one connection, and ends with it.
type single struct {
	conns chan net.Conn // of one
	once  sync.Once
}

func newSingle(c net.Conn) *single {
	l := &single{conns: make(chan net.Conn, 1)}
	l.conns <- c
	return l
}

// Accept implements net.Listener.
func (l *single) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l *single) Close() error {
	l.once.Do(func() { close(l.conns) })
	return nil
}

// Addr implements net.Listener.
func (l *single) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }
