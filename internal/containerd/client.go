package containerd

import (
	"bytes"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Bounds on what is held of one connection.
const (
	maxBlock   = 64 << 10  // bytes of one request's headers, compressed
	maxRequest = 128 << 10 // bytes of one request's message
	maxCalls   = 256       // requests whose message has not come whole
)

// client follows one client's connection, frame by frame.
type client struct {
	all     *Requests
	id      event.ConnID
	service event.Service
	// certain says that every byte received so far is accounted for; whole that
	// offsets count from the first byte.
	certain, whole bool
	n              uint32 // requests reported so far

	state  clientState
	end    uint64 // offset behind the last byte received, once placed
	placed bool
	found  int // frames found while seeking

	part []byte // the beginning of a preface or a frame's header
	cur  frame
	left uint32 // of cur's body
	body []byte // of cur, as far as it was seen without a gap
	keep bool   // body is wanted
	gap  bool   // some of it was not seen

	headers headers
	calls   map[uint32]*call // by stream
}

type clientState int

const (
	// clientPreface expects the first byte of the connection.
	clientPreface clientState = iota
	// clientHead expects the header of a frame.
	clientHead
	// clientBody is inside a frame.
	clientBody
	// clientSeek does not know where frames begin.
	clientSeek
)

func newClient(r *Requests, s *event.Segment) *client {
	c := &client{all: r, id: s.Conn, service: s.Service, certain: s.Whole, whole: s.Whole, calls: map[uint32]*call{}}
	if s.Whole {
		c.headers = newHeaders(false)
	} else {
		c.state, c.headers = clientSeek, newHeaders(true)
	}
	return c
}

// rebase gives up when offsets change their meaning.
func (c *client) rebase(s *event.Segment) {
	c.lose(s)
	c.whole, c.placed, c.end = s.Whole, false, 0
}

// drop releases what is held.
func (c *client) drop() {
	c.all.memory.Free(&c.part)
	c.all.memory.Free(&c.body)
	c.all.memory.Free(&c.headers.block)
	for id := range c.calls {
		c.forget(id)
	}
}

// lose gives up the certainty of everything that follows.
func (c *client) lose(s *event.Segment) {
	c.drop()
	c.state, c.found, c.headers = clientSeek, 0, newHeaders(true)
	c.doubt(s)
}

// doubt reports, once, that from here on not all requests are seen.
func (c *client) doubt(s *event.Segment) {
	if !c.certain {
		return
	}
	c.certain = false
	c.all.stats.Lost++
	c.tell(s, event.RuntimeRequest{Op: event.RuntimeOpOther})
}

func (c *client) tell(s *event.Segment, o event.RuntimeRequest) {
	o.Header, o.Peer, o.Service, o.Certain = s.Head, s.Peer, c.service, c.certain
	o.ID = event.RequestID{Conn: c.id, N: c.n}
	if o.API == "" {
		o.API = event.APIContainerd
		if c.service == event.ServiceCRIO {
			o.API = event.APICRI
		}
	}
	c.n++
	c.all.tell(o)
}

// place moves the end of the stream to that of s. It returns the bytes of s that
// are new, how many bytes before them were never seen, and how many behind them.
func (c *client) place(s *event.Segment) (before uint64, data []byte, behind uint64) {
	if !c.placed {
		c.placed = true
		if !s.Whole {
			c.end = s.Offset
		}
	}
	end := s.Offset + uint64(s.Length)
	if end <= c.end {
		return 0, nil, 0
	}
	from := max(s.Offset, c.end)
	before = from - c.end
	data = s.Data[min(uint64(len(s.Data)), from-s.Offset):]
	behind = end - from - uint64(len(data))
	c.end = end
	return before, data, behind
}

// received takes a piece.
func (c *client) received(s *event.Segment) {
	before, data, behind := c.place(s)
	if before > 0 && !c.unseen(s, before) {
		c.lose(s)
	}
	if c.state == clientSeek && !c.seek(s) {
		return
	}
	for len(data) > 0 {
		data = c.step(s, data)
	}
	if behind > 0 && !c.unseen(s, behind) {
		c.lose(s)
	}
}

// seek looks for a piece that begins with a frame, or with a connection. One
// that consists of several whole frames, or of the headers of one call, or two in
// a row of one frame each, do not come by chance.
func (c *client) seek(s *event.Segment) bool {
	if bytes.HasPrefix(s.Data, []byte(preface)) {
		c.state, c.headers = clientPreface, newHeaders(false)
		return true
	}
	n := 0
	if len(s.Data) == int(s.Length) {
		n = countFrames(s.Data)
	}
	if n == 0 {
		c.found = 0
		return false
	}
	if c.found += n; c.found < 2 && !beginsCall(s.Data) {
		return false
	}
	c.state = clientHead
	return true
}

// step takes bytes off the front of data and returns the rest.
func (c *client) step(s *event.Segment, data []byte) []byte {
	switch c.state {
	case clientPreface:
		return c.stepPreface(s, data)
	case clientHead:
		return c.stepHead(s, data)
	case clientBody:
		n := min(int(c.left), len(data))
		if c.keep && !c.gap && !c.all.memory.Hold(&c.body, data[:n], maxFrame) {
			c.gap = true
		}
		c.advance(s, uint32(n))
		return data[n:]
	case clientSeek:
	}
	return nil
}

// gather adds to c.part until it has size bytes.
func (c *client) gather(data []byte, size int) (rest []byte, ok bool) {
	n := min(size-len(c.part), len(data))
	c.all.memory.Hold(&c.part, data[:n], size+c.all.memory.Limit)
	return data[n:], len(c.part) == size
}

func (c *client) stepPreface(s *event.Segment, data []byte) []byte {
	rest, ok := c.gather(data, len(preface))
	if !ok && len(rest) == 0 && bytes.HasPrefix([]byte(preface), c.part) {
		return nil
	}
	if string(c.part) != preface {
		c.lose(s)
		return nil
	}
	c.all.memory.Free(&c.part)
	c.state = clientHead
	return rest
}

func (c *client) stepHead(s *event.Segment, data []byte) []byte {
	rest, ok := c.gather(data, frameHead)
	if !ok {
		if len(rest) > 0 { // no room
			c.lose(s)
		}
		return nil
	}
	f, ok := parseFrame(c.part)
	c.all.memory.Free(&c.part)
	if !ok || !c.certain && !f.plausible() {
		c.lose(s)
		return nil
	}
	c.begin(s, f)
	if c.state == clientSeek {
		return nil
	}
	return rest
}

// begin takes the header of a frame.
func (c *client) begin(s *event.Segment, f frame) {
	if c.headers.open != 0 && (f.kind != frameContinuation || f.stream != c.headers.open) ||
		c.headers.open == 0 && f.kind == frameContinuation {
		c.lose(s) // the service gives up here, too
		return
	}
	c.cur, c.left, c.gap = f, f.length, false
	c.keep = f.kind == frameHeaders || f.kind == frameContinuation || f.kind == frameData && c.calls[f.stream] != nil
	c.state = clientBody
	if c.left == 0 {
		c.finish(s)
	}
}

// unseen passes n bytes that were not sampled; false when they may hold the
// header of a frame.
func (c *client) unseen(s *event.Segment, n uint64) bool {
	switch c.state {
	case clientPreface, clientHead:
		return false
	case clientBody:
		if n > uint64(c.left) {
			return false
		}
		c.gap = true
		c.advance(s, uint32(n))
	case clientSeek:
		c.found = 0
	}
	return true
}

func (c *client) advance(s *event.Segment, n uint32) {
	if c.left -= n; c.left == 0 {
		c.finish(s)
	}
}

// finish is called behind the last byte of a frame.
func (c *client) finish(s *event.Segment) {
	c.state = clientHead
	f, body := c.cur, c.body
	switch f.kind {
	case frameHeaders, frameContinuation:
		c.finishHeaders(s, f, body)
	case frameData:
		c.finishData(s, f, body)
	case frameReset:
		c.forget(f.stream)
	case framePriority, frameSettings, framePush, framePing, frameGoAway, frameWindow:
	}
	c.all.memory.Free(&c.body)
}
