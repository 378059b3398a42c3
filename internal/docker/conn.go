package docker

import (
	"net/http"

	"github.com/sallyport/sallyport/internal/core/event"
)

// maxOpen bounds the requests of one connection that wait for an answer. Real
// clients have one.
const maxOpen = 32

// conn follows one client's connection. Requests are placed by counting: a
// head begins exactly where the message before it ends. Answers are paired with
// requests in order.
type conn struct {
	all *Requests
	id  event.ConnID
	// certain says that every byte received so far is accounted for; whole
	// that offsets count from the first byte.
	certain, whole bool
	n              uint32 // requests so far, reported or not
	recv, sent     stream
	// open holds the requests without an answer, oldest first.
	open []*request
	// receiving is the request whose body is passing by, answering the answer
	// whose body is.
	receiving *request
	answering *event.DockerAnswer
	// waitFor is the request whose answer decides about streamWaiting, held the
	// piece that was held back last. spilled says that not all could be held.
	waitFor *request
	held    event.Segment
	spilled bool
	// post says that the last request was a POST: the daemon forgives line ends
	// behind those.
	post bool
	// fresh says that the piece at hand began with a head. See resync.
	fresh bool
}

// request is a request, from its head until its answer.
type request struct {
	obs      event.DockerRequest
	route    route
	method   string
	upgrade  bool // the client offers to speak something else than HTTP
	decoded  bool // the body was read
	settled  bool // everything that will be known of it is in obs
	told     bool // it was reported
	answered bool
}

// mayHijack reports whether the connection may carry something else behind r.
func (r *request) mayHijack() bool {
	switch r.route.op {
	case event.OpExecStart:
		return !r.decoded || !r.obs.Detach
	case event.OpAttach:
		return true
	default:
		return r.upgrade
	}
}

// rebase gives up when offsets change their meaning.
func (c *conn) rebase(s *event.Segment) {
	c.lose(s)
	c.loseAnswers()
	c.whole = s.Whole
	c.recv.placed, c.recv.end = false, 0
	c.sent.placed, c.sent.end = false, 0
}

// drop releases what is held.
func (c *conn) drop() {
	for _, b := range []*[]byte{&c.recv.head, &c.recv.data, &c.sent.head, &c.sent.data} {
		c.all.memory.Free(b)
	}
	c.open, c.receiving, c.answering, c.waitFor, c.spilled = nil, nil, nil, nil, false
}

// asked takes a piece that the service received.
func (c *conn) asked(s *event.Segment) {
	before, data, behind := c.recv.place(s)
	if before > 0 && !c.unseen(s, before) {
		c.lose(s)
	}
	if c.recv.state == streamLost && looksLikeHead(data) {
		c.recv.state = streamHead
	}
	c.fresh = c.recv.state == streamHead && s.Length > 1
	for len(data) > 0 {
		data = c.step(s, data)
		c.fresh = c.fresh && c.recv.state == streamHead
	}
	if behind > 0 && !c.unseen(s, behind) {
		c.lose(s)
	}
}

// looksLikeHead reports whether data may be the beginning of a request. It is
// asked only when nothing is certain any more.
func looksLikeHead(data []byte) bool {
	for _, m := range []string{"POST /", "GET /", "PUT /", "HEAD /", "DELETE /"} {
		n := min(len(m), len(data))
		if n > 0 && string(data[:n]) == m[:n] {
			return true
		}
	}
	return false
}

// step takes bytes off the front of data and returns the rest.
func (c *conn) step(s *event.Segment, data []byte) []byte {
	switch c.recv.state {
	case streamHead:
		return c.stepHead(s, data)
	case streamBody:
		used, payload, err := c.recv.body.next(data)
		if err != nil {
			c.lose(s)
			return nil
		}
		if c.recv.keep && !c.all.memory.Hold(&c.recv.data, payload, maxBody) {
			c.cutBody()
		}
		if c.recv.body.done() {
			c.endRequest(s)
		}
		return data[used:]
	case streamWaiting:
		if !c.spilled && !c.all.memory.Hold(&c.recv.head, data, maxHead) {
			c.spilled = true
		}
		c.held = event.Segment{Head: s.Head, Peer: s.Peer}
	case streamRaw, streamSeek, streamLost:
	}
	return nil
}

// unseen passes n bytes that were not sampled; false when they may hold a head.
func (c *conn) unseen(s *event.Segment, n uint64) bool {
	switch c.recv.state {
	case streamHead:
		return false
	case streamBody:
		c.cutBody()
		if !c.recv.body.skip(n) {
			return false
		}
		if c.recv.body.done() {
			c.endRequest(s)
		}
	case streamWaiting:
		c.spilled = true
	case streamRaw, streamSeek, streamLost:
	}
	return true
}

// stepHead gathers a head.
func (c *conn) stepHead(s *event.Segment, data []byte) []byte {
	head, used, ok := c.gather(&c.recv, data, c.lineEnds)
	if !ok {
		c.lose(s)
		return nil
	}
	if head == nil {
		return nil
	}
	req := c.all.parseRequest(head)
	c.all.memory.Free(&c.recv.head)
	if req == nil {
		c.lose(s)
		return nil
	}
	c.beginRequest(s, req)
	return data[used:]
}

// gather adds data to what t holds of a head. It returns the head when it is
// whole and how much of data belongs to it; false when the head grows too long.
// skip tells how many bytes before the head are none of it, or that it takes
// more of them to tell.
func (c *conn) gather(t *stream, data []byte, skip func([]byte) (int, bool)) (head []byte, used int, ok bool) {
	had := len(t.head)
	buf := data
	if had > 0 {
		// The end of a head may be far from the end of data: what follows must
		// not count against the bound.
		data = data[:min(len(data), maxHead+4-had)]
		if !c.all.memory.Hold(&t.head, data, maxHead+4) {
			return nil, 0, false
		}
		buf = t.head
	}
	from, ok := skip(buf)
	if ok {
		if n, ok := endOfHead(buf[from:]); ok && n <= maxHead {
			return buf[from : from+n], from + n - had, true
		}
	}
	if len(buf) >= maxHead+4 || had == 0 && !c.all.memory.Hold(&t.head, data, maxHead+4) {
		return nil, 0, false
	}
	return nil, 0, true
}

// lineEnds returns how many line ends the daemon skips before a head: those
// among four bytes behind a POST, which it needs to have to tell.
func (c *conn) lineEnds(b []byte) (int, bool) {
	if !c.post || b[0] != '\r' && b[0] != '\n' {
		return 0, true
	}
	if len(b) < 4 {
		return 0, false
	}
	n := 0
	for n < 4 && (b[n] == '\r' || b[n] == '\n') {
		n++
	}
	return n, true
}

// beginRequest takes a whole head.
func (c *conn) beginRequest(s *event.Segment, req *http.Request) {
	if len(c.open) >= maxOpen {
		c.lose(s)
		return
	}
	c.resync()
	r := c.newRequest(s, req)
	c.open = append(c.open, r)
	c.receiving = r
	c.post = req.Method == http.MethodPost
	c.recv.body = lengthFraming(uint64(max(0, req.ContentLength)))
	if req.ContentLength < 0 {
		c.recv.body = chunkedFraming()
	}
	c.recv.state = streamBody
	c.recv.keep = r.route.body != bodyIgnored
	if req.ContentLength > maxBody {
		c.cutBody()
	}
	if !c.recv.keep {
		c.settle(r)
	}
	if c.recv.body.done() {
		c.endRequest(s)
	}
}

func (c *conn) newRequest(s *event.Segment, req *http.Request) *request {
	rt := routeOf(req.Method, req.URL)
	r := &request{
		route:   rt,
		method:  req.Method,
		upgrade: req.Header.Get("Upgrade") != "",
		obs: event.DockerRequest{
			Header:    s.Head,
			ID:        event.RequestID{Conn: c.id, N: c.n},
			Peer:      s.Peer,
			Op:        rt.op,
			Ref:       rt.ref,
			ExecID:    rt.execID,
			Path:      event.Text(rt.path),
			Stdin:     rt.stdin,
			UserAgent: clip(req.UserAgent(), maxUserAgent),
			Certain:   c.certain,
		},
	}
	c.n++
	return r
}

// resync finds the answers again when they were lost, or the end of the last one
// was not sampled, at a head that began a piece of its own: the daemon reads
// such a piece only after it wrote the answer before. One byte proves nothing:
// Go's server reads one ahead while it still answers. What was written before
// may still be on its way to us, so only a piece that begins like an answer is
// one; Go's server writes every answer's head at the beginning of a piece.
func (c *conn) resync() {
	if c.fresh && (c.sent.state == streamLost || c.sent.state == streamBody && !c.sent.keep) {
		c.sent.state = streamSeek
		c.open = nil
	}
	c.fresh = false
}

// cutBody gives up a wanted body.
func (c *conn) cutBody() {
	if !c.recv.keep {
		return
	}
	c.recv.keep = false
	c.all.memory.Free(&c.recv.data)
	c.all.stats.Cut++
	c.settle(c.receiving)
}

// endRequest is called behind the last byte of a request.
func (c *conn) endRequest(s *event.Segment) {
	r := c.receiving
	c.settle(r)
	c.receiving = nil
	c.recv.state = streamHead
	if r.answered || !r.mayHijack() {
		return
	}
	if c.sent.state == streamLost {
		c.lose(s) // nothing will tell what follows
		return
	}
	c.recv.state, c.waitFor = streamWaiting, r
}

// settle reads what there is of r's body and reports r, once.
func (c *conn) settle(r *request) {
	if r.settled {
		return
	}
	r.settled = true
	if r == c.receiving && c.recv.keep {
		r.decoded = r.route.body.decode(c.recv.data, &r.obs)
		c.recv.keep = false
		c.all.memory.Free(&c.recv.data)
	}
	if !r.route.report || !r.obs.Certain && r.route.op == event.OpOther {
		return
	}
	r.told = true
	c.all.tellRequest(r.obs)
}

// release goes on behind a request that hijacked nothing.
func (c *conn) release() {
	data, spilled := c.recv.head, c.spilled
	c.all.memory.Release(len(data))
	c.recv.head, c.spilled, c.waitFor = nil, false, nil
	c.recv.state = streamHead
	for len(data) > 0 {
		data = c.step(&c.held, data)
	}
	if spilled && !c.unseen(&c.held, 1) {
		c.lose(&c.held)
	}
}

// lose gives up the certainty of everything that follows. Answers to what was
// asked before are still awaited.
func (c *conn) lose(s *event.Segment) {
	if c.receiving != nil {
		c.cutBody()
	}
	c.all.memory.Free(&c.recv.head)
	c.receiving, c.waitFor, c.spilled = nil, nil, false
	c.recv.state = streamLost
	if c.certain {
		c.certain = false
		c.all.stats.Lost++
		c.blind(s)
	}
}

// blind reports that from here on not all requests are seen.
func (c *conn) blind(s *event.Segment) {
	c.all.tellRequest(event.DockerRequest{
		Header: s.Head, ID: event.RequestID{Conn: c.id, N: c.n}, Peer: s.Peer, Op: event.OpOther,
	})
	c.n++
}
