package door

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"
)

// calls carries requests to the daemon in the goroutine of whoever asks, on
// connections that are kept. http.Transport has two more goroutines for each
// connection; to wake them is a third of what the door adds to a short request
// (BenchmarkUnary). It still carries the requests whose body is a stream, which the
// daemon may answer before it has read them.
type calls struct {
	*http.Transport
	mu   sync.Mutex
	kept []*line // guarded by mu; the one used last is the last
}

// Bounds of connections that are kept.
const (
	linesMax = 64
	lineIdle = time.Minute
)

// line is a connection to the daemon on which one request at a time goes.
type line struct {
	net.Conn
	read  *bufio.Reader
	write *bufio.Writer
	left  int64 // bytes that may still be read
	since time.Time
	idle  func() // is called before the daemon is waited for; nil for nothing
}

// Read implements io.Reader.
func (l *line) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("the head of the answer is longer than %d bytes", headMax)
	}
	n, err := l.readBefore(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	return n, err
}

// readBefore calls idle, if possible only where there is nothing to read yet.
func (l *line) readBefore(b []byte) (int, error) {
	if c, ok := l.Conn.(interface {
		ReadBefore(b []byte, idle func()) (int, error)
	}); ok {
		return c.ReadBefore(b, l.idle)
	}
	if l.idle != nil {
		l.idle()
	}
	return l.Conn.Read(b)
}

// RoundTrip implements http.RoundTripper.
func (c *calls) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
		return c.Transport.RoundTrip(r)
	}
	ctx := r.Context()
	l, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	res, err := l.call(r)
	if err != nil {
		stop()
		_ = l.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	lasts := !res.Close && res.StatusCode >= http.StatusOK
	b := &body{ReadCloser: res.Body, line: l, end: func(whole bool) {
		l.idle = nil
		if stop() && whole && lasts {
			c.keep(l)
			return
		}
		_ = l.Close()
	}}
	if res.Body == http.NoBody {
		b.ended(true)
	}
	res.Body = b
	return res, nil
}

// call sends a request and reads the head of its answer. The daemon may answer what it
// does not want to read to its end.
func (l *line) call(r *http.Request) (*http.Response, error) {
	l.left = headMax
	unsent := r.Write(l.write)
	if unsent == nil {
		unsent = l.write.Flush()
	}
	for {
		res, err := http.ReadResponse(l.read, r)
		switch {
		case err != nil:
			return nil, cmp.Or(unsent, fmt.Errorf("read the answer: %w", err))
		case res.StatusCode >= http.StatusOK || res.StatusCode == http.StatusSwitchingProtocols:
			l.left = math.MaxInt64
			res.Close = res.Close || unsent != nil
			return res, nil
		}
	}
}

// take returns a connection that was kept and still is one, or a new one.
func (c *calls) take(ctx context.Context) (*line, error) {
	for {
		l := c.last()
		if l == nil {
			break
		}
		if ends, _ := closed(l.Conn); !ends {
			return l, nil
		}
		_ = l.Close()
	}
	conn, err := c.DialContext(ctx, "", "")
	if err != nil {
		return nil, err
	}
	l := &line{Conn: conn}
	l.read, l.write = bufio.NewReaderSize(l, 16<<10), bufio.NewWriterSize(conn, 4<<10)
	return l, nil
}

func (c *calls) last() *line {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.kept) - 1
	if n < 0 {
		return nil
	}
	l := c.kept[n]
	c.kept = c.kept[:n]
	return l
}

// keep keeps a connection for the next request. Those that nobody used for long are
// closed.
func (c *calls) keep(l *line) {
	l.since = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = append(c.kept, l)
	old := 0
	for len(c.kept)-old > linesMax || time.Since(c.kept[old].since) > lineIdle {
		_ = c.kept[old].Close()
		old++
	}
	c.kept = append(c.kept[:0], c.kept[old:]...)
}

// CloseIdleConnections closes those that no request is on.
func (c *calls) CloseIdleConnections() {
	c.Transport.CloseIdleConnections()
	for l := c.last(); l != nil; l = c.last() {
		_ = l.Close()
	}
}

// body is that of an answer; end is told once whether it was read whole.
type body struct {
	io.ReadCloser
	line *line
	end  func(whole bool)
	over bool
}

// before has idle called whenever the rest of the body is waited for.
func (b *body) before(idle func()) {
	if !b.over { // else the line may be another's already
		b.line.idle = idle
	}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended(err == io.EOF)
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.ended(false)
	return nil
}

func (b *body) ended(whole bool) {
	if !b.over {
		b.over = true
		b.end(whole)
	}
}
