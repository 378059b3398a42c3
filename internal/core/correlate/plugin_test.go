package correlate_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// plugin is the daemon's authorization plugin in a world: clients reach the daemon
// itself, which asks the plugin about each request.
type plugin struct {
	*world
	n       uint32
	stopped map[int64]uint32 // who sent what was stopped, by the time at which the plugin told of it
}

func newPlugin(s *world) *plugin {
	p := &plugin{world: s, stopped: map[int64]uint32{}}
	p.add(event.WitnessState{Header: p.head(event.WitnessGuard), Up: true, From: p.now, Guards: []event.ProcessID{p.process()}})
	return p
}

// user is who asks: a process at the socket, or somebody elsewhere with a certificate.
type user struct {
	uid uint32
	tls bool
}

func (u user) peer(s *world) event.Peer {
	if u.tls {
		return event.Peer{Address: fmt.Sprintf("192.0.2.%d:4711", u.uid-1000)}
	}
	return s.peer(u.uid)
}

// request has u ask the daemon, which asks the plugin.
func (p *plugin) request(u user, peer event.Peer, r event.DockerRequest, what event.Decision, status int, created string) {
	p.conn++
	c := p.conn
	p.add(event.ClientConnect{Header: p.head(event.WitnessKernel), Conn: c, Service: event.ServiceDocker, Peer: peer, Tapped: p.tapped && !u.tls})
	p.later(time.Millisecond)
	seen := r
	seen.ID, seen.Peer, seen.Header, seen.Certain = event.RequestID{Conn: c}, peer, p.head(event.WitnessKernel), true
	if p.tapped && !u.tls {
		p.add(seen)
	}
	p.now = p.now.Add(500 * time.Microsecond).Truncate(time.Microsecond).Add(time.Duration(p.n)) // no two are told at the same time
	told := r
	told.Peer.Cred = event.Cred{NoUID: true, NoGID: true}
	told.ID, told.Header, told.Certain, told.Plugin = event.RequestID{Conn: 1 << 52, N: p.n}, p.head(event.WitnessGuard), true, true
	p.n++
	if u.tls {
		told.Peer.Certificate = &event.Certificate{CommonName: fmt.Sprint(u.uid)}
	}
	what.Header, what.Request, what.Kind, what.Channel = told.Header, told.ID, kinds[r.Op], event.ChannelDockerExec
	p.add(told)
	p.add(what)
	if what.Stopped {
		status, created = 403, ""
		p.stopped[told.Time.UnixNano()] = u.uid
	}
	p.later(500 * time.Microsecond)
	if p.tapped && !u.tls {
		p.add(event.DockerAnswer{Header: p.head(event.WitnessKernel), ID: seen.ID, Op: r.Op, Status: status, Created: created})
	}
	if created != "" {
		p.add(event.DockerAnswer{Header: p.head(event.WitnessGuard), ID: told.ID, Op: r.Op, Status: status, Created: created})
	}
	p.later(time.Millisecond)
	p.close(c)
}

// exec lets u run argv in web, as far as create and start are allowed.
func (p *plugin) exec(u user, create, start event.Decision, argv ...string) {
	peer, began := u.peer(p.world), p.now
	if create.Stopped {
		p.request(u, peer, event.DockerRequest{Op: event.OpExecCreate, Ref: string(web), Argv: argv}, create, 0, "")
		return
	}
	p.ids++
	x := event.ExecID(fmt.Sprintf("%064x", p.ids))
	p.truth[x] = u.uid
	p.request(u, peer, event.DockerRequest{Op: event.OpExecCreate, Ref: string(web), Argv: argv}, create, 201, string(x))
	p.add(event.DockerEvent{Header: event.Header{Time: began.Add(2 * time.Millisecond), Witness: event.WitnessDocker}, Action: event.DockerExecCreate, Container: web, ExecID: x, Command: event.Argv{Args: argv}.String()})
	p.request(u, peer, event.DockerRequest{Op: event.OpExecStart, ExecID: x}, start, 101, "")
	if start.Stopped {
		return
	}
	p.docker(event.DockerExecStart, x, event.Argv{Args: argv}.String())
	p.runtime(event.RuntimeExecAdded, x, 0)
	p.later(20 * time.Millisecond)
	root := p.enter(argv, event.Ancestor{Comm: "runc", Exe: "/usr/sbin/runc"}, event.Ancestor{Comm: "containerd-shim"})
	p.runtime(event.RuntimeExecStarted, x, root.PID)
	p.leave(root)
	p.runtime(event.RuntimeExit, x, root.PID)
	p.docker(event.DockerExecDie, x, "")
}

func (p *plugin) end() []event.Observation {
	p.later(4 * time.Second)
	p.add(event.Tick{Header: p.head(event.WitnessEngine)})
	return p.obs
}

// holdUser fails the test unless s tells the truth about who asked: by uid, by
// certificate, or, where the certificate is not told, by address.
func holdUser(t rapid.TB, s session.Session, uid uint32) {
	t.Helper()
	is := func(a session.Actor) bool {
		return a.UID != nil && *a.UID == uid || a.Kind == session.ActorTLS && a.User == fmt.Sprint(uid) || a.UID == nil && a.Address == fmt.Sprintf("192.0.2.%d:4711", uid-1000)
	}
	switch s.Attribution.Level {
	case session.LevelExact, session.LevelStrong:
		if !is(s.Actor) {
			t.Fatalf("wrong name: %+v, truth %d, of %+v", s.Actor, uid, s)
		}
	case session.LevelSet:
		if !slices.ContainsFunc(s.Attribution.Candidates, is) {
			t.Fatalf("truth %d is not among %+v", uid, s.Attribution.Candidates)
		}
	case session.LevelNone:
		t.Fatalf("nobody named, truth %d: %+v", uid, s)
	}
}

var refused = event.Decision{Effect: effect.Deny, Rule: "no", Message: "sallyport: denied", Stopped: true}

// What the plugin decided stands in the session; who asked is known by what it knows,
// a certificate, or by what the kernel saw.
func TestPluginTells(t *testing.T) {
	for _, u := range []user{{1001, false}, {1001, true}} {
		for _, tapped := range []bool{true, false} {
			p := newPlugin(newWorld(tapped))
			p.exec(u, allowed, event.Decision{Effect: effect.Approve, Rule: "four-eyes", Approver: "bob"}, "/bin/id")
			got := one(t, finally(p.end()))
			holdUser(t, got, 1001)
			want := session.LevelExact
			if !tapped && !u.tls {
				want = session.LevelSet // somebody may have reached the socket by another name
			}
			if got.Attribution.Level != want || got.Decision == nil || got.Decision.Rule != "four-eyes" || got.State != session.StateEnded {
				t.Errorf("%+v tapped %v: %+v, %+v", u, tapped, got.Attribution, got.Decision)
			}
		}
	}
}

// What the plugin stopped is a session, of the certificate's owner or of the one
// client who can have asked.
func TestPluginStops(t *testing.T) {
	for u, want := range map[user]session.Level{{1002, true}: session.LevelExact, {1002, false}: session.LevelStrong} {
		p := newPlugin(newWorld(true))
		other := p.connect(event.ServiceDocker, p.world.peer(1003)) // who asks for nothing
		p.exec(u, refused, allowed, "sh", "-c", "x")
		p.close(other)
		got := one(t, finally(p.end()))
		holdUser(t, got, 1002)
		if got.Attribution.Level != want || got.State != session.StateFailed || !slices.Equal(got.Argv, []string{"sh", "-c", "x"}) ||
			got.Decision == nil || got.Decision.Rule != "no" || !got.Decision.Stopped || got.Unexplained.Is {
			t.Errorf("%+v: %+v", u, got)
		}
	}
}

// An attach that the plugin stopped is one session, whoever told of it.
func TestPluginStopsAttach(t *testing.T) {
	for _, u := range []user{{1002, true}, {1002, false}} {
		p := newPlugin(newWorld(true))
		p.request(u, u.peer(p.world), event.DockerRequest{Op: event.OpAttach, Ref: string(web)}, refused, 0, "")
		got := one(t, finally(p.end()))
		holdUser(t, got, 1002)
		if got.Kind != session.KindAttach || got.Attribution.Level != session.LevelExact || got.State != session.StateFailed || got.Decision == nil || got.Decision.Rule != "no" {
			t.Errorf("%+v: %+v", u, got)
		}
	}
}

// A command that the daemon was asked for is no health check.
func TestPluginKnowsAsked(t *testing.T) {
	p := newPlugin(newWorld(false))
	p.exec(user{1001, false}, allowed, allowed, "/bin/check")
	got := one(t, finally(p.end()))
	if holdUser(t, got, 1001); got.Attribution.Level != session.LevelSet || got.Kind != session.KindExec {
		t.Errorf("%s %+v", got.Kind, got.Attribution)
	}
}

// Whatever the order in which it is told, and whoever asks for the same at the same
// time, nobody is named who did not ask, and each thing that was stopped is a session.
func TestPluginInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlugin(newWorld(rapid.Bool().Draw(t, "tapped")))
		begin := p.now
		for range rapid.IntRange(1, 6).Draw(t, "commands") {
			p.now = begin.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "at")) * time.Millisecond)
			u := user{uint32(rapid.IntRange(1001, 1003).Draw(t, "uid")), rapid.Bool().Draw(t, "tls")}
			create, start := allowed, allowed
			switch rapid.IntRange(0, 3).Draw(t, "verdict") {
			case 0:
				create = refused
			case 1:
				start = refused
			}
			p.exec(u, create, start, "/bin/check")
		}
		p.now = begin.Add(time.Second)
		all := p.end()
		want := finally(all)
		stopped := 0
		for _, s := range want {
			if uid, ok := p.stopped[s.Started.UnixNano()]; ok && s.Decision != nil && s.Decision.Stopped {
				stopped++
				holdUser(t, s, uid)
			} else if uid, ok := p.truth[s.ExecID]; ok {
				holdUser(t, s, uid)
			} else {
				t.Fatalf("whose is %+v?", s)
			}
		}
		if stopped != len(p.stopped) {
			t.Fatalf("%d of %d are sessions", stopped, len(p.stopped))
		}
		if d := cmp.Diff(want, finally(shuffle(all, rapid.Int64().Draw(t, "order")))); d != "" {
			t.Fatalf("another order, another truth (-in order +shuffled):\n%s", d)
		}
	})
}

// Who starts nothing by way of the plugin is not named for what ran before it was
// there to tell.
func TestPluginToldOfWhatRuns(t *testing.T) {
	p := newPlugin(newWorld(true))
	x := event.ExecID(fmt.Sprintf("%064x", 7))
	p.add(event.DockerRequest{Header: p.head(event.WitnessGuard), ID: event.RequestID{Conn: 1 << 52}, Op: event.OpExecStart, ExecID: x, Certain: true, Plugin: true, Peer: event.Peer{Cred: event.Cred{NoUID: true}}})
	p.later(time.Minute)
	p.connect(event.ServiceDocker, p.world.peer(1003))
	p.add(event.RuntimeTask{Header: p.head(event.WitnessContainerd), Namespace: "moby", Container: web, ExecID: x, PID: 4000})
	e := correlate.New(correlate.Options{})
	for _, o := range p.end() {
		for _, r := range e.Observe(o) {
			if r.Session.Attribution.Level != session.LevelNone {
				t.Errorf("%+v", r.Session)
			}
		}
	}
}
