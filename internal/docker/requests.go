package docker

import "github.com/sallyport/sallyport/internal/core/event"

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
type Requests struct{}

// NewRequests returns a parser that knows no connection yet.
func NewRequests(o RequestOptions) *Requests { return &Requests{} }

// Segment takes the next piece of a connection and returns what became known by
// it: event.DockerRequest and event.DockerAnswer. Pieces of one direction of one
// connection come in order; a piece that is missing shows in Offset. Pieces of
// services other than Docker and Podman are ignored. It does not keep s.Data.
func (r *Requests) Segment(s event.Segment) []event.Observation { return nil }

// Forget drops what is known of a connection that was closed.
func (r *Requests) Forget(conn event.ConnID) {}

// Stats returns the counts so far.
func (r *Requests) Stats() RequestStats { return RequestStats{} }
