package docker

import (
	"bytes"
	"net/http"

	"github.com/sallyport/sallyport/internal/core/event"
)

// answered takes a piece that the service sent.
func (c *conn) answered(s *event.Segment) {
	before, data, behind := c.sent.place(s)
	if c.sent.state == streamSeek && bytes.HasPrefix(data, []byte("HTTP/1.")) {
		c.sent.state, before = streamHead, 0
	}
	if before > 0 && !c.unseenAnswer(before) {
		c.missAnswers(s)
	}
	for len(data) > 0 {
		data = c.stepAnswer(s, data)
	}
	if behind > 0 && !c.unseenAnswer(behind) {
		c.missAnswers(s)
	}
}

func (c *conn) stepAnswer(s *event.Segment, data []byte) []byte {
	switch c.sent.state {
	case streamHead:
		return c.stepAnswerHead(s, data)
	case streamBody:
		used, payload, err := c.sent.body.next(data)
		if err != nil {
			c.missAnswers(s)
			return nil
		}
		if c.sent.keep && !c.all.memory.Hold(&c.sent.data, payload, maxBody) {
			c.cutAnswer()
		}
		if c.sent.body.done() {
			c.endAnswer()
		}
		return data[used:]
	case streamWaiting, streamRaw, streamSeek, streamLost:
	}
	return nil
}

// unseenAnswer passes n bytes that were not sampled; false when they may hold a
// head.
func (c *conn) unseenAnswer(n uint64) bool {
	switch c.sent.state {
	case streamHead:
		return false
	case streamBody:
		c.cutAnswer()
		if !c.sent.body.skip(n) {
			return false
		}
		if c.sent.body.done() {
			c.endAnswer()
		}
	case streamWaiting, streamRaw, streamSeek, streamLost:
	}
	return true
}

func (c *conn) stepAnswerHead(s *event.Segment, data []byte) []byte {
	if len(c.open) == 0 { // the daemon speaks unasked: it refuses what is no request
		c.missAnswers(s)
		return nil
	}
	head, used, ok := c.gather(&c.sent, data, func([]byte) (int, bool) { return 0, true })
	if !ok {
		c.missAnswers(s)
		return nil
	}
	if head == nil {
		return nil
	}
	res := c.all.parseResponse(head, c.open[0].method)
	c.all.memory.Free(&c.sent.head)
	if res == nil {
		c.missAnswers(s)
		return nil
	}
	c.beginAnswer(s, res)
	return data[used:]
}

// beginAnswer takes a whole head of an answer.
func (c *conn) beginAnswer(s *event.Segment, res *http.Response) {
	if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
		return // 100 Continue and the like: the answer is yet to come
	}
	r := c.open[0]
	c.open = c.open[1:]
	r.answered = true
	c.settle(r)
	c.answering = &event.DockerAnswer{Header: s.Head, ID: r.obs.ID, Op: r.route.op, Status: res.StatusCode}
	if !r.told || !r.obs.Certain { // an answer to it may be one to another
		c.answering = nil
	}
	if hijacks(r, res) {
		c.hijack(s, r)
		return
	}
	c.frameAnswer(r, res)
	if c.waitFor == r {
		c.release()
	}
}

// hijacks reports whether the connection becomes something else with res: by
// an upgrade, or by the raw stream of older clients, which has no length.
func hijacks(r *request, res *http.Response) bool {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return true
	}
	return res.StatusCode == http.StatusOK && res.ContentLength < 0 && len(res.TransferEncoding) == 0 &&
		(r.route.op == event.OpExecStart || r.route.op == event.OpAttach)
}

// hijack ends the reading of a connection that is no longer HTTP. What it is
// instead must be known to be unable to ask for anything, else we are blind.
func (c *conn) hijack(s *event.Segment, r *request) {
	c.tellAnswer()
	c.drop()
	c.recv.state, c.sent.state = streamRaw, streamRaw
	if c.certain && r.route.op == event.OpOther && !r.route.opaque {
		c.certain = false
		c.all.stats.Lost++
		c.blind(s)
	}
}

// frameAnswer finds where the answer ends and whether its body is wanted.
func (c *conn) frameAnswer(r *request, res *http.Response) {
	c.sent.state = streamBody
	switch {
	case r.method == http.MethodHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified:
		c.sent.body = framing{}
	case len(res.TransferEncoding) > 0:
		c.sent.body = chunkedFraming()
	case res.ContentLength >= 0:
		c.sent.body = lengthFraming(uint64(res.ContentLength))
	default: // ends with the connection
		c.sent.state = streamRaw
	}
	c.sent.keep = c.answering != nil && res.StatusCode == http.StatusCreated && c.sent.state == streamBody &&
		res.ContentLength <= maxBody && (r.route.op == event.OpExecCreate || r.route.op == event.OpContainerCreate)
	switch {
	case c.sent.state == streamRaw:
		c.tellAnswer()
	case c.sent.body.done():
		c.endAnswer()
	case !c.sent.keep:
		c.tellAnswer()
	}
}

// cutAnswer gives up a wanted body of an answer.
func (c *conn) cutAnswer() {
	c.sent.keep = false
	c.all.memory.Free(&c.sent.data)
	c.tellAnswer()
}

// endAnswer is called behind the last byte of an answer.
func (c *conn) endAnswer() {
	if c.sent.keep && c.answering != nil {
		c.answering.Created = createdID(c.sent.data)
	}
	c.cutAnswer()
	c.sent.state = streamHead
}

// tellAnswer reports the answer at hand, once.
func (c *conn) tellAnswer() {
	if c.answering == nil {
		return
	}
	c.all.stats.Answers++
	c.all.out = append(c.all.out, *c.answering)
	c.answering = nil
}

// loseAnswers gives up the pairing of answers with requests.
func (c *conn) loseAnswers() {
	c.cutAnswer()
	c.all.memory.Free(&c.sent.head)
	c.sent.state = streamLost
	c.open = nil
}

// missAnswers is loseAnswers for a cause on the daemon's side. It takes the
// certainty with it when an answer would have told what follows.
func (c *conn) missAnswers(s *event.Segment) {
	c.loseAnswers()
	if c.waitFor != nil {
		c.lose(s)
	}
}
