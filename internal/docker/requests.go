package docker

import (
	"bufio"
	"bytes"
	"net/http"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/lib/bounded"
)

// Bounds on what is held of one message, in bytes.
const (
	maxHead = 16 << 10
	maxBody = 64 << 10
)

// RequestOptions bounds a Requests; zero fields take the defaults.
type RequestOptions struct {
	// Conns is how many connections are remembered (4096). The one unused for
	// longest goes first.
	Conns int
	// Memory is how many bytes of unfinished heads and bodies are held over
	// all connections (8 MiB).
	Memory int
}

// RequestStats counts what Requests saw and what it had to give up.
type RequestStats struct {
	Segments  uint64 // pieces of Docker-like services
	Requests  uint64 // requests reported
	Answers   uint64 // answers reported
	Uncertain uint64 // of Requests, those that are not Certain
	Lost      uint64 // connections that could no longer be followed
	Evicted   uint64 // connections forgotten for want of room
	Cut       uint64 // bodies not seen whole, so that Argv is absent
}

// Requests finds the requests of Docker clients, and the daemon's answers, in
// sampled pieces of their connections. It is not safe for concurrent use.
//
// When a connection that was followed from its first byte can no longer be (a
// piece is missing, bytes that are not HTTP/1, a switch to HTTP/2), it reports
// that once as a DockerRequest of OpOther that is not Certain: from there on
// the absence of a request on that connection means nothing.
type Requests struct {
	stats  RequestStats
	conns  *bounded.Table[event.ConnID, *conn]
	memory bounded.Budget      // of the buffers of all connections
	out    []event.Observation // what the current Segment brought up
	parse  bufio.Reader
	bytes  bytes.Reader
}

// NewRequests returns a parser that knows no connection yet.
func NewRequests(o RequestOptions) *Requests {
	if o.Conns <= 0 {
		o.Conns = 4096
	}
	if o.Memory <= 0 {
		o.Memory = 8 << 20
	}
	return &Requests{conns: bounded.NewTable[event.ConnID](o.Conns, (*conn).drop), memory: bounded.Budget{Limit: o.Memory}}
}

// Segment takes the next piece of a connection and returns what became known by
// it: event.DockerRequest and event.DockerAnswer. Pieces of one direction of one
// connection come in order; a piece that is missing shows in Offset. An answer
// never comes before its request; it may come after the next request. Pieces of
// services other than Docker and Podman are ignored. It does not keep s.Data.
func (r *Requests) Segment(s event.Segment) []event.Observation {
	if s.Service != event.ServiceDocker && s.Service != event.ServicePodman {
		return nil
	}
	if s.Length == 0 || s.Offset+uint64(s.Length) < s.Offset {
		return nil
	}
	s.Data = s.Data[:min(len(s.Data), int(s.Length))]
	r.stats.Segments++
	c := r.conn(&s)
	if s.Whole != c.whole {
		c.rebase(&s)
	}
	if s.Sent {
		c.answered(&s)
	} else {
		c.asked(&s)
	}
	out := r.out
	r.out = nil
	return out
}

// Forget drops what is known of a connection that was closed.
func (r *Requests) Forget(conn event.ConnID) { r.conns.Forget(conn) }

// Stats returns the counts so far.
func (r *Requests) Stats() RequestStats {
	s := r.stats
	s.Evicted = r.conns.Evicted()
	return s
}

// conn returns the state of s's connection, making room when it is new.
func (r *Requests) conn(s *event.Segment) *conn {
	c, ok := r.conns.Get(s.Conn)
	if ok {
		return c
	}
	c = &conn{all: r, id: s.Conn, certain: s.Whole, whole: s.Whole}
	if !s.Whole {
		c.recv.state, c.sent.state = streamLost, streamLost
	}
	r.conns.Add(s.Conn, c)
	return c
}

// parseRequest parses a whole head; nil when the daemon would not take it for a
// request of HTTP/1.
func (r *Requests) parseRequest(head []byte) *http.Request {
	r.bytes.Reset(head)
	r.parse.Reset(&r.bytes)
	req, err := http.ReadRequest(&r.parse)
	if err != nil || req.ProtoMajor != 1 || r.parse.Buffered()+r.bytes.Len() > 0 {
		return nil
	}
	return req
}

// parseResponse parses the whole head of an answer to a request of method.
func (r *Requests) parseResponse(head []byte, method string) *http.Response {
	r.bytes.Reset(head)
	r.parse.Reset(&r.bytes)
	res, err := http.ReadResponse(&r.parse, &http.Request{Method: method})
	if err != nil || res.ProtoMajor != 1 {
		return nil
	}
	return res
}

func (r *Requests) tellRequest(o event.DockerRequest) {
	r.stats.Requests++
	if !o.Certain {
		r.stats.Uncertain++
	}
	r.out = append(r.out, o)
}
