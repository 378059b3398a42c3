package correlate

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// conn is one client's connection to a service.
type conn struct {
	id      event.ConnID
	service event.Service
	peer    event.Peer
	opened  time.Time // zero when it was there before the sensor
	gone    time.Time // latest word of its end; see closed
	alive   time.Time // latest sign of life
	// tapped says that every request on it is seen from the first byte on.
	tapped bool
	// blurred says that bytes were seen on it that cannot be placed.
	blurred bool
	// followed is since when requests are seen on a connection that was found in
	// the middle of its life.
	followed time.Time
	// guarded says that a guard, not the kernel, tells of its requests.
	guarded bool
	// known says that its peer was described; of others only the end was seen.
	known bool
	seen  time.Time
}

// closed is when the connection ended; zero while it is open. An end that is
// followed by a sign of life was none: closing is found out by looking around.
func (c *conn) closed() time.Time {
	if c.alive.After(c.gone) {
		return time.Time{}
	}
	return c.gone
}

// openAt reports whether the connection was, or may have been, open at t.
func (c *conn) openAt(t time.Time) bool {
	late := !c.opened.IsZero() && c.opened.After(t.Add(skew))
	closed := c.closed()
	return !late && (closed.IsZero() || !closed.Before(t.Add(-skew)))
}

func (c *conn) lives(t time.Time) {
	if t.After(c.alive) {
		c.alive = t
	}
}

// connsMax bounds the connections that are remembered.
const connsMax = 1 << 13

// conns are the connections that are known: each is in byID under its id and, once
// its client is known, in byService in the list of its service, which is in order
// of ids.
type conns struct {
	byID      map[event.ConnID]*conn
	byService map[event.Service][]*conn
}

func newConns() conns {
	return conns{byID: map[event.ConnID]*conn{}, byService: map[event.Service][]*conn{}}
}

func (cs *conns) add(id event.ConnID) *conn {
	c := &conn{id: id, service: event.ServiceDocker}
	cs.byID[id] = c
	return c
}

// introduce notes whose connection it is, and to which service.
func (cs *conns) introduce(c *conn, service event.Service, peer event.Peer) {
	c.peer = richer(c.peer, peer)
	if c.known && c.service == service {
		return
	}
	cs.unlist(c)
	c.service, c.known = service, true
	at, _ := cs.placeOf(c)
	cs.byService[service] = slices.Insert(cs.byService[service], at, c)
}

// unlist takes a connection out of the list of its service's clients.
func (cs *conns) unlist(c *conn) {
	if at, ok := cs.placeOf(c); ok {
		cs.byService[c.service] = slices.Delete(cs.byService[c.service], at, at+1)
	}
}

// placeOf returns where among the clients of its service a connection stands.
func (cs *conns) placeOf(c *conn) (int, bool) {
	return slices.BinarySearchFunc(cs.byService[c.service], c.id, func(o *conn, id event.ConnID) int { return cmp.Compare(o.id, id) })
}

func (cs *conns) drop(c *conn) {
	delete(cs.byID, c.id)
	cs.unlist(c)
}

// openTo lists the connections to a service that were open at t and match.
func (cs *conns) openTo(t time.Time, service event.Service, match func(*conn) bool) []*conn {
	var open []*conn
	for _, c := range cs.byService[service] {
		if c.openAt(t) && match(c) {
			open = append(open, c)
		}
	}
	return open
}

// peerOf returns what is known of the client of a connection, of which somebody
// else told p.
func (cs *conns) peerOf(id event.ConnID, p event.Peer) event.Peer {
	if c := cs.byID[id]; c != nil {
		return richer(p, c.peer)
	}
	return p
}

// richer returns the one of two descriptions of a peer that says more.
func richer(a, b event.Peer) event.Peer {
	score := func(p event.Peer) int {
		n := 0
		for _, ok := range []bool{p.ID.PID != 0, p.ID.Start != 0, p.Exe != "", len(p.Argv.Args) > 0, p.Address != "", p.Container != ""} {
			if ok {
				n++
			}
		}
		return n
	}
	if score(b) > score(a) {
		return b
	}
	return a
}

// hear notes what a request to a runtime says of its connection, and reports
// whether that changes what is known of other requests on it.
func (c *conn) hear(o *event.RuntimeRequest) bool {
	c.lives(o.Time)
	blurred, followed := c.blurred, c.followed
	c.blurred = c.blurred || !o.Certain || unclear(o)
	switch {
	case o.Op == event.RuntimeOpOther && !o.Certain:
		c.followed = time.Time{}
	case c.followed.IsZero() || o.Time.Before(c.followed):
		c.followed = o.Time
	}
	return c.blurred != blurred || c.followed != followed
}

// unclear reports whether a request may concern more than it says: what was not
// seen of it may have held an exec id.
func unclear(o *event.RuntimeRequest) bool {
	named := o.Op == event.RuntimeOpStart || o.Op == event.RuntimeOpExec
	return o.Cut && named && o.API == event.APIContainerd && o.ExecID == ""
}
