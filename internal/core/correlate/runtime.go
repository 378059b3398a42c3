package correlate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// asksMax bounds the requests to runtimes that are remembered.
const asksMax = 1 << 14

// asks are the requests of clients to containerd and CRI.
type asks struct {
	// by the container, as the client named it.
	by map[event.ContainerID][]*event.RuntimeRequest
	// short are those whose container may be the beginning of an id.
	short []*event.RuntimeRequest
	total int
}

func (e *Engine) applyRuntimeRequest(o event.RuntimeRequest) {
	c := e.conn(o.ID.Conn)
	e.introduce(c, o.Service, o.Peer)
	c.lives(o.Time)
	blurred, followed := c.blurred, c.followed
	c.blurred = c.blurred || !o.Certain || unclear(&o)
	switch {
	case o.Op == event.RuntimeOpOther && !o.Certain:
		c.followed = time.Time{}
	case c.followed.IsZero() || o.Time.Before(c.followed):
		c.followed = o.Time
	}
	if c.blurred != blurred || c.followed != followed {
		e.unsettleCRI()
	}
	for age := e.nodeKeep(); e.asks.total >= asksMax && age > time.Second; age /= 2 {
		e.sweepAsks(e.now.Add(-age))
	}
	id := o.Container
	if o.Op == event.RuntimeOpOther || id == "" || e.asks.total >= asksMax {
		c.blurred = c.blurred || id == "" && o.Sandbox == "" || e.asks.total >= asksMax
		e.touchAround(c.opened)
		return
	}
	e.asks.total++
	if o.API == event.APICRI && !randomID(string(id)) {
		e.asks.short = append(e.asks.short, &o)
	} else {
		e.asks.by[id] = append(e.asks.by[id], &o)
	}
	e.touchIf(func(s subject) bool { return names(&o, targetOf(s)) })
}

// unclear reports whether a request may concern more than it says: what was not
// seen of it may have held an exec id.
func unclear(o *event.RuntimeRequest) bool {
	named := o.Op == event.RuntimeOpStart || o.Op == event.RuntimeOpExec
	return o.Cut && named && o.API == event.APIContainerd && o.ExecID == ""
}

// names reports whether a request names that container.
func names(o *event.RuntimeRequest, id event.ContainerID) bool {
	return id != "" && (o.Container == id ||
		o.API == event.APICRI && o.Container != "" && strings.HasPrefix(string(id), string(o.Container)))
}

// asksFor returns the requests that name a container, by time.
func (e *Engine) asksFor(id event.ContainerID) []*event.RuntimeRequest {
	out := slices.Clone(e.asks.by[id])
	for _, o := range e.asks.short {
		if names(o, id) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *event.RuntimeRequest) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID.Conn, b.ID.Conn), cmp.Compare(a.ID.N, b.ID.N))
	})
	return out
}

// sweepAsks forgets the requests from before old. What is forgotten before its
// time takes the silence of its connection with it.
func (e *Engine) sweepAsks(old time.Time) {
	keep := e.now.Add(-e.nodeKeep())
	gone := func(o *event.RuntimeRequest) bool {
		if !o.Time.Before(old) {
			return false
		}
		if o.Time.After(keep) {
			e.past.lost(o.Time.Add(streamLag))
			if c := e.conns[o.ID.Conn]; c != nil {
				c.blurred = true
				e.unsettleCRI()
			}
		}
		e.asks.total--
		return true
	}
	for id, list := range e.asks.by {
		if list = slices.DeleteFunc(list, gone); len(list) == 0 {
			delete(e.asks.by, id)
		} else {
			e.asks.by[id] = list
		}
	}
	e.asks.short = slices.DeleteFunc(e.asks.short, gone)
}

func timeOf(o *event.RuntimeEvent) time.Time {
	if o == nil {
		return time.Time{}
	}
	return o.Time
}

// asksIn returns the certain requests by containerd's own API that name a
// process of a container of ours: an id alone may be another namespace's.
func (e *Engine) asksIn(id event.ContainerID, x event.ExecID) []*event.RuntimeRequest {
	space := e.container(id).namespace
	return slices.DeleteFunc(e.asksFor(id), func(o *event.RuntimeRequest) bool {
		return o.API != event.APIContainerd || !o.Certain || o.ExecID != x ||
			space != "" && o.Namespace != "" && o.Namespace != space
	})
}

// runtimeClaims returns the requests that started x and those that added it.
func (e *Engine) runtimeClaims(x *exec) (starts, adds []*event.RuntimeRequest) {
	added, started := timeOf(x.added), timeOf(x.started)
	for _, o := range e.asksIn(x.container, x.key.id) {
		switch {
		case o.Op == event.RuntimeOpStart && between(o.Time, added, started):
			starts = append(starts, o)
		case o.Op == event.RuntimeOpExec && between(o.Time, time.Time{}, added):
			adds = append(adds, o)
		}
	}
	return starts, adds
}

// attributeBesideExec finds who asked containerd for x, when Docker did not.
func (e *Engine) attributeBesideExec(x *exec, s *session.Session) {
	starts, adds := e.runtimeClaims(x)
	if !x.ran() && len(starts) == 0 {
		starts, adds = adds, nil
	}
	e.commandOf(s, append(slices.Clone(adds), starts...))
	if len(starts) > 0 {
		e.attributeAsks(s, starts)
		for _, o := range adds {
			if s.Attribution.Level == session.LevelExact && !sameHand(o.Peer, starts[0].Peer) {
				s.Attribution.Candidates = []session.Actor{s.Actor, e.asker(o)}
			}
		}
		return
	}
	e.attributeBeside(s, x.asked(), func(*conn) bool { return false })
}

// commandOf takes the command from the request when nobody saw what ran.
func (e *Engine) commandOf(s *session.Session, list []*event.RuntimeRequest) {
	for _, o := range list {
		if o.Argv == nil || s.Argv != nil && s.ArgvSource != "request" {
			continue
		}
		if s.Argv != nil && !slices.Equal(s.Argv, o.Argv) { // only one of them was done
			s.Argv, s.ArgvSource = nil, ""
			return
		}
		s.Argv, s.ArgvSource, s.TTY, s.User = o.Argv, "request", o.TTY, cmp.Or(s.User, o.User)
		if !o.Cut {
			s.Stdin = &o.Stdin
		}
	}
}

// attributeAsks names who made the requests; they name the session's ids.
func (e *Engine) attributeAsks(s *session.Session, list []*event.RuntimeRequest) {
	var actors []session.Actor
	for _, o := range list {
		actors = appendActor(actors, e.asker(o))
	}
	if len(actors) > 1 {
		oneOf(s, actors, false) // only one of them was obeyed
		return
	}
	known(s, session.LevelExact, actors[0], viaRuntime)
}

// asker describes the client of a request to a runtime.
func (e *Engine) asker(o *event.RuntimeRequest) session.Actor {
	p := o.Peer
	if c := e.conns[o.ID.Conn]; c != nil {
		p = richer(p, c.peer)
	}
	a := e.peer(p)
	a.UserAgent = o.UserAgent
	return a
}

// attributeBeside finds who asked containerd, when Docker did not and no request
// says it: whoever was connected and may have asked. Of a client whose requests
// were all seen, asked says whether one of them may be it.
func (e *Engine) attributeBeside(s *session.Session, t time.Time, asked func(*conn) bool) {
	daemon := e.coverage.daemonPID(event.WitnessDocker)
	clients, complete := e.candidates(t, event.ServiceContainerd, func(c *conn) bool {
		return daemon != 0 && c.peer.ID.PID == daemon || e.heard(c, t) && !asked(c)
	})
	oneOf(s, clients, complete && daemon != 0)
}

// runAsks returns the requests that started r. The kubelet's are not among
// them: it asks for others.
func (e *Engine) runAsks(r *run, begins time.Time) []*event.RuntimeRequest {
	created, started := timeOf(r.created), timeOf(r.started)
	if created.IsZero() {
		created = begins
	}
	if started.IsZero() {
		started = created.Add(streamLag)
	}
	var out []*event.RuntimeRequest
	for _, o := range e.asksIn(r.key.container, "") {
		if o.Op == event.RuntimeOpStart && between(o.Time, created, started) {
			out = append(out, o)
		}
	}
	for _, o := range e.asksFor(r.key.container) {
		if o.API == event.APICRI && o.Op == event.RuntimeOpStart && o.Certain && !e.coverage.isKubelet(o.Peer) &&
			between(o.Time, begins.Add(-syncLag), started) {
			out = append(out, o)
		}
	}
	return out
}

// attributeBesideRun finds who asked containerd for a container's start.
func (e *Engine) attributeBesideRun(r *run, s *session.Session, begins time.Time) {
	if list := e.runAsks(r, begins); len(list) > 0 {
		e.attributeAsks(s, list)
		return
	}
	e.attributeBeside(s, begins, func(c *conn) bool {
		return slices.ContainsFunc(e.asksFor(r.key.container), func(o *event.RuntimeRequest) bool {
			return o.ID.Conn == c.id && o.Op == event.RuntimeOpStart && (e.coverage.isKubelet(o.Peer) || !o.Certain)
		})
	})
}

func (a *account) asks(list ...*event.RuntimeRequest) {
	for _, o := range list {
		a.add(*o, string(o.Op), "connection %d, request %d, by %s", o.ID.Conn, o.ID.N, describe(o.Peer))
	}
}
