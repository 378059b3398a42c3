package door

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Bounds of a stream.
const (
	headMax = 64 << 10 // bytes of the head of the daemon's answer

	// chunkSize is how much the daemon sends at a time, in a stream as a frame.
	chunkSize = 32 << 10
	// pieceSize is how much passes at a time: two of its frames, whole.
	pieceSize = 2 * (chunkSize + len(position{}.head))

	lastTimeout = time.Second // for the last word to a client
)

// streams are those that go on, and who is connected.
type streams struct {
	clients sync.Map // of net.Conn: *client
	mu      sync.Mutex
	open    map[*stream]struct{} // guarded by mu
	idle    chan struct{}        // guarded by mu; closed when open is empty; nil while nobody waits
}

// stream is a client's connection that became something else than HTTP, and the
// daemon's end of it.
type stream struct {
	client, daemon net.Conn
	conn           event.ConnID
	opening        opening
}

// opening is what passes first.
type opening struct {
	early []byte // the client sent before the answer
	head  []byte // of the answer
	rest  []byte // came with it of the stream
}

func (s *stream) close() {
	_ = s.client.Close()
	_ = s.daemon.Close()
}

func (all *streams) add(s *stream) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.open == nil {
		all.open = map[*stream]struct{}{}
	}
	all.open[s] = struct{}{}
}

func (all *streams) remove(s *stream) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.open, s)
	if len(all.open) == 0 && all.idle != nil {
		close(all.idle)
		all.idle = nil
	}
}

// drain waits until no stream is open; with ctx it closes those that still are.
func (all *streams) drain(ctx context.Context) {
	for {
		all.mu.Lock()
		if len(all.open) == 0 {
			all.mu.Unlock()
			return
		}
		if all.idle == nil {
			all.idle = make(chan struct{})
		}
		idle := all.idle
		if ctx.Err() != nil {
			for s := range all.open {
				s.close()
			}
		}
		all.mu.Unlock()
		select {
		case <-idle:
			continue
		default:
		}
		if ctx.Err() != nil {
			<-idle
			continue
		}
		select {
		case <-idle:
		case <-ctx.Done():
		}
	}
}

// stream carries out a request after which the connection may be something else:
// by an upgrade (101), or, for older clients, by an answer without an end.
//
// What is a stream then goes on without the goroutine of net/http: in a session
// that waits for somebody that would keep the request, two buffers and a stack that
// grew while it was judged.
func (p *Proxy) stream(w http.ResponseWriter, r *http.Request, g *passing) {
	tape, err := p.record(g)
	if err != nil {
		p.unrecorded(w, g.asked, g.id, err)
		return
	}
	var s *stream
	why := "it was cut off"
	defer func() {
		if s == nil {
			tape.end(why)
		}
	}()
	if s, why = p.carry(w, r, g); s != nil {
		go p.run(s, tape)
	}
}

// run carries a stream until it has ended. As net/http does with a request, it ends
// only the stream when something is wrong with this program.
func (p *Proxy) run(s *stream, tape *taping) {
	why := "it was cut off"
	defer func() {
		if trouble := recover(); trouble != nil {
			p.opt.Logger.Error("a stream is cut off", slog.Any("panic", trouble), slog.String("stack", string(debug.Stack())))
		}
		p.observe(event.ClientClose{Header: now(), Conn: s.conn})
		p.streams.remove(s)
		tape.end(why)
	}()
	s.run(tape)
	why = ""
}

// carry carries out such a request, and returns its stream, or why there is none.
func (p *Proxy) carry(w http.ResponseWriter, r *http.Request, g *passing) (s *stream, why string) {
	// A client may close its end for writing before the answer comes: that is no
	// reason to give up.
	ctx := context.WithoutCancel(r.Context())
	conn, err := p.daemon.dial(ctx)
	if err != nil {
		p.failed(w, r, err)
		return nil, "the daemon could not be asked"
	}
	defer func() {
		if s == nil {
			_ = conn.Close()
		}
	}()
	answer, head, rest, err := exchange(conn, g.upgrade(r))
	if err != nil {
		p.failed(w, r, err)
		return nil, "the daemon did not answer"
	}
	p.tellAnswer(g, answer.StatusCode, "")
	if !unframed(answer) {
		p.reply(w, answer)
		if start, ok := g.typed.(*container.ExecStartRequest); ok && start.Detach && answer.StatusCode < 300 {
			return nil, "detached: nothing of it passes here"
		}
		return nil, fmt.Sprintf("the daemon answers %d", answer.StatusCode)
	}
	client, early, err := takeOver(w)
	if err != nil {
		p.failed(w, r, err)
		return nil, "the client's connection could not be taken over"
	}
	p.stats.Streams.Add(1)
	s = &stream{client, conn, g.id.Conn, opening{early, head, bytes.Clone(rest)}}
	p.streams.add(s)
	return s, ""
}

// takeOver takes the client's connection from net/http, with what was read of it
// beyond the request.
func takeOver(w http.ResponseWriter) (client net.Conn, early []byte, err error) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return nil, nil, errors.New("the connection cannot be taken over")
	}
	client, buffered, err := hijacker.Hijack()
	if err != nil {
		return nil, nil, err
	}
	_ = client.SetDeadline(time.Time{})
	early, err = buffered.Reader.Peek(buffered.Reader.Buffered())
	if err != nil {
		_ = client.Close()
		return nil, nil, err
	}
	return client, bytes.Clone(early), nil
}

// upgrade returns the request as the daemon gets it, with the header fields that
// ask for an upgrade.
func (g *passing) upgrade(r *http.Request) *http.Request {
	out := r.Clone(context.WithoutCancel(r.Context()))
	g.apply(out)
	out.Close = false
	for _, h := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Expect"} {
		out.Header.Del(h)
	}
	if _, ok := out.Header["Upgrade"]; ok {
		out.Header.Set("Connection", "Upgrade")
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = []string{""} // not Go's own
	}
	return out
}

// exchange sends a request and reads the head of its answer, which it returns as
// it came, too, with what was read behind it.
func exchange(conn net.Conn, req *http.Request) (res *http.Response, head, rest []byte, err error) {
	if err := req.Write(conn); err != nil {
		return nil, nil, nil, err
	}
	br := bufio.NewReaderSize(conn, 4<<10)
	if head, err = readHead(br); err != nil {
		return nil, nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	rest, err = br.Peek(br.Buffered())
	if err != nil {
		return nil, nil, nil, err
	}
	res, err = http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(head), br)), req)
	return res, head, rest, err
}

func readHead(br *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := br.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if head = append(head, line...); len(head) > headMax {
			return nil, fmt.Errorf("its head is longer than %d bytes", headMax)
		}
		if len(line) <= 2 && (string(line) == "\r\n" || string(line) == "\n") && len(head) > len(line) {
			return head, nil
		}
	}
}

// unframed reports whether what follows an answer has no end but the
// connection's.
func unframed(res *http.Response) bool {
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		return true
	case res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified:
		return false
	}
	return res.ContentLength < 0 && len(res.TransferEncoding) == 0
}

// reply hands on an answer that is plain HTTP.
func (p *Proxy) reply(w http.ResponseWriter, res *http.Response) {
	defer res.Body.Close()
	for k, v := range res.Header {
		if k != "Connection" && k != "Transfer-Encoding" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body)
}

// run carries bytes both ways until both have ended. When one end has nothing more
// to send, the other hears just that. Where a recording does not take what passes,
// the client is told, and nothing passes.
func (s *stream) run(tape *taping) {
	defer s.close()
	first := s.opening
	s.opening = opening{}
	if _, err := s.client.Write(first.head); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := relay(s.daemon, s.client, first.early, tape.input())
		switch {
		case tape.broken() != nil:
			_ = s.daemon.Close()
		case err == nil:
			closeWrite(s.daemon)
		} // else the daemon reads no more: it may still have something to say
	}()
	err := relay(s.client, s.daemon, first.rest, tape.output())
	switch {
	case tape.broken() != nil:
		_ = s.client.SetWriteDeadline(time.Now().Add(lastTimeout))
		_, _ = s.client.Write(tape.last())
		s.close()
	case err != nil:
		s.close() // nobody hears what the daemon says
	default:
		closeWrite(s.client)
	}
	<-done
}

func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
		return
	}
	_ = c.Close()
}

// pieces are buffers that wait to be used: a stream on which nothing passes has
// none.
var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// Get implements httputil.BufferPool.
func (buffers) Get() []byte {
	b, _ := pieces.Get().(*[pieceSize]byte)
	return b[:chunkSize]
}

// Put implements httputil.BufferPool.
func (buffers) Put(b []byte) { pieces.Put((*[pieceSize]byte)(b[:pieceSize])) }

// buffers lends pieces to answers.
type buffers struct{}

// relay copies from src to dst, first what was read already, until src ends. tee
// gets everything before dst does; nil for nobody.
func relay(dst, src net.Conn, first []byte, tee func([]byte) error) error {
	pass := func(b []byte) error {
		if tee != nil {
			if err := tee(b); err != nil {
				return err
			}
		}
		_, err := dst.Write(b)
		return err
	}
	if len(first) > 0 {
		if err := pass(first); err != nil {
			return err
		}
	}
	read := reader(src)
	for {
		if err := read(pass); err != nil {
			return ended(err)
		}
	}
}

// patient returns what reads of a connection by waiting with a buffer in its hand.
func patient(src net.Conn) func(pass func([]byte) error) error {
	buf := make([]byte, recordMax)
	return func(pass func([]byte) error) error {
		n, err := src.Read(buf)
		if n > 0 {
			if err := pass(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return readError{err}
		}
		return nil
	}
}

// recordMax is what a record of TLS has at most.
const recordMax = 16 << 10

// readError is an error of the end that sends.
type readError struct{ error }

// Unwrap implements what errors.Is needs.
func (e readError) Unwrap() error { return e.error }

// ended returns nil when nothing more comes, however that came about: the other
// end then hears of the end.
func ended(err error) error {
	var r readError
	if errors.As(err, &r) {
		return nil
	}
	return err
}
