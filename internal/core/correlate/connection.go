package correlate

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
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

// request is one request of a client with its answer.
type request struct {
	event.DockerRequest
	answer *event.DockerAnswer
	asked  bool // the request itself was seen, not only its answer
	// decision is a guard's, where one stood in the way; refused is the session of
	// a request that it stopped.
	decision *event.Decision
	refused  *refusal
}

// connsMax and requestsMax bound what is remembered of clients.
const (
	connsMax    = 1 << 13
	requestsMax = 1 << 13
)

func (e *Engine) conn(id event.ConnID) *conn {
	c := e.conns[id]
	if c == nil {
		if len(e.conns) >= connsMax {
			e.sweep()
		}
		c = &conn{id: id, service: event.ServiceDocker}
		e.conns[id] = c
	}
	c.seen = e.now
	return c
}

// introduce notes whose connection it is, and to which service.
func (e *Engine) introduce(c *conn, service event.Service, peer event.Peer) {
	c.peer = richer(c.peer, peer)
	if c.known && c.service == service {
		return
	}
	e.unlist(c)
	c.service, c.known = service, true
	at, _ := e.placeOf(c)
	e.clients[service] = slices.Insert(e.clients[service], at, c)
}

// unlist takes a connection out of the list of its service's clients.
func (e *Engine) unlist(c *conn) {
	if at, ok := e.placeOf(c); ok {
		e.clients[c.service] = slices.Delete(e.clients[c.service], at, at+1)
	}
}

// placeOf returns where among the clients of its service a connection stands.
func (e *Engine) placeOf(c *conn) (int, bool) {
	return slices.BinarySearchFunc(e.clients[c.service], c.id, func(o *conn, id event.ConnID) int { return cmp.Compare(o.id, id) })
}

func (e *Engine) applyConnect(o event.ClientConnect) {
	c := e.conn(o.Conn)
	e.introduce(c, o.Service, o.Peer)
	c.tapped = c.tapped || o.Tapped
	c.guarded = c.guarded || o.Witness == event.WitnessGuard
	c.lives(o.Time)
	since := o.Time
	if o.Found {
		since = time.Time{} // it was there before
		e.unsettleCRI()
	} else {
		c.opened = o.Time
	}
	e.touchAround(since)
}

func (e *Engine) applyClose(o event.ClientClose) {
	c := e.conn(o.Conn)
	if o.Time.After(c.gone) {
		c.gone = o.Time
	}
	for _, s := range e.streams {
		if s.req != nil && s.id.Conn == o.Conn {
			e.touch(s, true)
		}
	}
	e.touchAround(o.Time)
}

// touchAround looks again at the published sessions that began at t or later and
// are not tied by an id: a connection may matter to them. Those that wait to be
// published will see it anyway.
func (e *Engine) touchAround(t time.Time) {
	e.touchIf(func(c subject) bool {
		p := c.state().published
		return p != nil && p.Attribution.Level != session.LevelExact && !p.Started.Before(t.Add(-e.opt.Window))
	})
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

func (e *Engine) request(id event.RequestID) *request {
	r := e.requests[id]
	if r == nil {
		if len(e.requests) >= requestsMax {
			e.sweep()
		}
		r = &request{}
		r.ID = id
		e.requests[id] = r
	}
	return r
}

func (e *Engine) applyRequest(o event.DockerRequest) {
	r := e.request(o.ID)
	r.DockerRequest, r.asked = o, true
	c := e.conn(o.ID.Conn)
	e.introduce(c, c.service, o.Peer)
	c.lives(o.Time)
	if !o.Certain {
		c.blurred = true
	}
	if o.Op == event.OpExecStart && o.ExecID != "" {
		e.claim(o.ExecID, r)
	}
	e.relate(r)
}

func (e *Engine) applyAnswer(o event.DockerAnswer) {
	r := e.request(o.ID)
	r.answer = &o
	e.conn(o.ID.Conn).lives(o.Time)
	if o.Op == event.OpExecCreate && o.Created != "" {
		e.claim(event.ExecID(o.Created), r)
	}
	e.relate(r)
}

// relate tells the sessions that a request may concern.
func (e *Engine) relate(r *request) {
	switch r.Op {
	case event.OpExecStart, event.OpExecCreate:
		for _, x := range e.inside.execs.byID[r.ExecID] {
			e.touch(x, true)
		}
		if r.answer != nil {
			for _, x := range e.inside.execs.byID[event.ExecID(r.answer.Created)] {
				e.touch(x, true)
			}
		}
	case event.OpContainerCreate, event.OpContainerStart, event.OpAttach, event.OpCopyIn, event.OpCopyOut:
		for _, u := range e.inside.runs.byKey {
			if e.inside.refersTo(r, u.key.container) {
				e.touch(u, true)
			}
		}
		e.applyStreamRequest(r)
	case event.OpOther:
	}
	if r.refused != nil {
		e.touch(r.refused, true)
	}
}

func (e *Engine) claim(id event.ExecID, r *request) {
	if !slices.Contains(e.claims[id], r) {
		e.claims[id] = append(e.claims[id], r)
	}
	for _, x := range e.inside.execs.byID[id] {
		e.touch(x, true)
	}
}

// succeeded reports whether the daemon did what the request asked; a request
// whose answer was not seen may have. 304 says that there was nothing to do.
func (r *request) succeeded() bool {
	return !r.stopped() && (r.answer == nil || r.answer.Status < 300)
}

// nodeKeep is how long it is remembered who was at a node's doors: as long as
// commands in pods wait for the audit log.
func (e *Engine) nodeKeep() time.Duration {
	if len(e.inside.containers.byPod) > 0 {
		return max(e.opt.Late, e.opt.Keep)
	}
	return e.opt.Keep
}

// sweep forgets connections that closed and requests that were answered long
// enough ago; when that is not enough, the oldest half.
func (e *Engine) sweep() {
	e.swept = e.now
	old, node := e.now.Add(-e.opt.Keep), e.now.Add(-e.nodeKeep())
	for _, c := range e.conns {
		if !c.closed().IsZero() && (c.seen.Before(node) || c.service == event.ServiceDocker && c.seen.Before(old)) {
			e.dropConn(c)
		}
	}
	if len(e.conns) >= connsMax {
		ids := sortedBy(e.conns, func(c *conn) time.Time { return c.seen })
		for _, id := range ids[:len(ids)/2] {
			e.past.lost(e.conns[id].seen)
			e.dropConn(e.conns[id])
		}
	}
	e.sweepAsks(node)
	e.pace.forget(node)
	for id, r := range e.requests {
		if r.Time.Before(old) {
			e.dropRequest(id, r)
		}
	}
	if len(e.requests) >= requestsMax {
		ids := sortedBy(e.requests, func(r *request) time.Time { return r.Time })
		for _, id := range ids[:len(ids)/2] {
			e.dropRequest(id, e.requests[id])
		}
	}
}

func (e *Engine) dropConn(c *conn) {
	delete(e.conns, c.id)
	e.unlist(c)
}

func (e *Engine) dropRequest(id event.RequestID, r *request) {
	delete(e.requests, id)
	drop := func(key event.ExecID) {
		list := slices.DeleteFunc(e.claims[key], func(q *request) bool { return q == r })
		if len(list) == 0 {
			delete(e.claims, key)
		} else {
			e.claims[key] = list
		}
	}
	drop(r.ExecID)
	if r.answer != nil {
		drop(event.ExecID(r.answer.Created))
	}
}

func sortedBy[K comparable, V any](m map[K]V, at func(V) time.Time) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return at(m[a]).Compare(at(m[b])) })
	return keys
}
