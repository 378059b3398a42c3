package containerd

import (
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/lib/bounded"
)

// RequestOptions bounds a Requests; zero fields take the defaults.
type RequestOptions struct {
	// Conns is how many connections are remembered (1024, each with up to some
	// 8 KiB of header table). The one unused for longest goes first.
	Conns int
	// Memory is how many bytes of unfinished requests are held over all
	// connections (8 MiB).
	Memory int
}

// RequestStats counts what Requests saw and what it had to give up.
type RequestStats struct {
	Segments  uint64 // pieces of services that speak gRPC
	Calls     uint64 // requests of any kind
	Requests  uint64 // requests reported
	Uncertain uint64 // of Requests, those that are not Certain
	Lost      uint64 // connections that could no longer be followed
	Evicted   uint64 // connections forgotten for want of room
	Cut       uint64 // of Requests, those not seen whole
}

// Requests finds the requests of clients of containerd and CRI-O in sampled
// pieces of their connections: gRPC in HTTP/2. It is not safe for concurrent
// use.
//
// When a connection that was followed from its first byte can no longer be (the
// header of a frame is missing, or bytes that are not HTTP/2), it reports that
// once as a RuntimeRequest of RuntimeOpOther that is not Certain: from there on
// the absence of a request on that connection means nothing. It goes on as with
// a connection that was found in the middle: frames are looked for at the
// beginning of pieces, and header fields that were agreed on before (RFC 7541,
// 2.3.2) stay unknown. Where that hides the method, an exec is told by its
// message, as far as no other message looks like it.
type Requests struct {
	stats  RequestStats
	conns  *bounded.Table[event.ConnID, *client]
	memory bounded.Budget      // of the buffers of all connections
	out    []event.Observation // what the current Segment brought up
}

// NewRequests returns a parser that knows no connection yet.
func NewRequests(o RequestOptions) *Requests {
	if o.Conns <= 0 {
		o.Conns = 1024
	}
	if o.Memory <= 0 {
		o.Memory = 8 << 20
	}
	return &Requests{conns: bounded.NewTable[event.ConnID](o.Conns, (*client).drop), memory: bounded.Budget{Limit: o.Memory}}
}

// Segment takes the next piece of a connection and returns what became known by
// it: event.RuntimeRequest. Pieces of one connection come in order; bytes that
// were not sampled show in Offset and Length. Pieces of other services, and
// those that the service sent, are ignored. It does not keep s.Data.
func (r *Requests) Segment(s event.Segment) []event.Observation {
	if s.Service != event.ServiceContainerd && s.Service != event.ServiceCRIO || s.Sent {
		return nil
	}
	if s.Length == 0 || s.Offset+uint64(s.Length) < s.Offset {
		return nil
	}
	s.Data = s.Data[:min(len(s.Data), int(s.Length))]
	r.stats.Segments++
	c := r.client(&s)
	if s.Whole != c.whole {
		c.rebase(&s)
	}
	c.received(&s)
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

// client returns the state of s's connection, making room when it is new.
func (r *Requests) client(s *event.Segment) *client {
	c, ok := r.conns.Get(s.Conn)
	if !ok {
		c = newClient(r, s)
		r.conns.Add(s.Conn, c)
	}
	return c
}

func (r *Requests) tell(o event.RuntimeRequest) {
	r.stats.Requests++
	if !o.Certain {
		r.stats.Uncertain++
	}
	if o.Cut {
		r.stats.Cut++
	}
	r.out = append(r.out, o)
}
