package correlate

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// actors says who is behind a client, a request or a connection, as sessions name
// them; of a client that itself came into a container, by which session.
type actors struct {
	coverage *coverage
	site     *site
	inside   *inside
	doors    *doors
	adopted  *adopted
}

// peer describes a client.
func (ac *actors) peer(p event.Peer) session.Actor {
	if c := p.Certificate; c != nil {
		return session.Actor{Kind: session.ActorTLS, User: c.CommonName, Groups: c.Organizations, Names: c.Names, Address: p.Address}
	}
	if !p.HasCred() {
		return session.Actor{Kind: session.ActorNone, Address: p.Address}
	}
	uid := p.Cred.UID
	a := session.Actor{
		Kind: session.ActorUnix, Address: p.Address, UID: &uid, User: ac.site.users[uid], LoginUID: p.Cred.LoginUID,
		PID: p.ID.PID, Process: p.ID, Exe: string(p.Exe), Argv: p.Argv.Args, Container: p.Container,
	}
	if p.Container != "" && uid != 0 {
		a.User = "" // the names of uids in there are the image's, not the host's
	}
	a.LoginUser = ac.site.loginName(p.Cred.LoginUID, a.User)
	if n := ac.inside.entries.byRoot[p.Entry]; n != nil && !p.Entry.IsZero() {
		a.Session = ac.sessionOf(n)
	}
	return a
}

// of describes the client of a request.
func (ac *actors) of(r *request) session.Actor {
	a := ac.peer(ac.doors.peerOf(r.ID.Conn, r.Peer))
	a.UserAgent = r.UserAgent
	return a
}

// asker describes the client of a request to a runtime.
func (ac *actors) asker(o *event.RuntimeRequest) session.Actor {
	a := ac.peer(ac.doors.peerOf(o.ID.Conn, o.Peer))
	a.UserAgent = o.UserAgent
	return a
}

func (ac *actors) ofAll(rs []*request) []session.Actor {
	var out []session.Actor
	for _, r := range rs {
		out = appendActor(out, ac.of(r))
	}
	return out
}

// candidates lists the clients with a connection to the service open at t,
// without those that excluded rules out. It is complete when every client is
// known: the kernel saw all peers and their requests, nothing was lost, no door
// was unwatched.
func (ac *actors) candidates(t time.Time, service event.Service, excluded func(*conn) bool) (actors []session.Actor, complete bool) {
	k := ac.coverage.at(event.WitnessKernel, t)
	if k == nil || !k.Up || !k.Peers {
		return nil, false // nobody was watching: whoever is known now says nothing
	}
	veiled := false // somebody came by a guard that has not told who
	for _, c := range ac.doors.openTo(t, service, func(c *conn) bool { return !excluded(c) }) {
		switch {
		case c.guarded || !ac.coverage.isGuard(c.peer):
			actors = appendActor(actors, ac.peer(c.peer))
		case !ac.coverage.guardTells(t):
			veiled = true
		}
	}
	whole, doors := ac.coverage.peersWhole(t.Add(-skew), t.Add(skew))
	if whole = whole && !veiled; veiled || !whole && len(actors) > 0 {
		actors = append(actors, session.Actor{Kind: session.ActorNone}) // or somebody whose record was lost
	}
	if service == event.ServiceDocker {
		for _, d := range doors {
			actors = append(actors, session.Actor{Kind: session.ActorNone, Address: d})
		}
		// A client that reaches the socket by another name is seen by what it
		// asks, not by how it connects.
		whole = whole && k.Requests && ac.coverage.lost(event.WitnessKernel, "requests", t.Add(-skew), t.Add(skew)) == 0
	}
	return actors, whole
}

// appendActor adds a unless the same process is listed already: a client often
// has several connections.
func appendActor(list []session.Actor, a session.Actor) []session.Actor {
	for _, b := range list {
		if b.PID == a.PID && b.Process == a.Process && (b.Address == a.Address || a.PID != 0) && equal(b.UID, a.UID) {
			return list
		}
	}
	return append(list, a)
}

// sessionOf returns the id of the session that accounts for n.
func (ac *actors) sessionOf(n *entry) session.ID {
	if x := ac.inside.execOf(n); x != nil {
		return ac.inside.execs.sessionID(x)
	}
	if r := ac.inside.runOf(n); r != nil {
		return r.sessionID()
	}
	if n.fact == nil {
		return ""
	}
	return ac.entryID(n)
}

func (ac *actors) entryID(n *entry) session.ID {
	if o := ac.adopted.byRoot[n.root]; o != nil {
		return o.old.ID
	}
	return sessionID("entry", string(ac.site.boot), n.root.String())
}

// arrivalID returns the id of the session that a is.
func (ac *actors) arrivalID(a arrival) session.ID {
	if a.x != nil {
		return ac.inside.execs.sessionID(a.x)
	}
	return ac.entryID(a.n)
}
