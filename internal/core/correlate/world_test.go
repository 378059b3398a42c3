package correlate_test

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// A world is where things happen to containers and witnesses tell
// of them. It knows the truth, so that tests can hold the engine to it.
type world struct {
	now    time.Time
	tapped bool // requests are seen
	obs    []event.Observation
	pid    uint32
	conn   event.ConnID
	ids    int
	truth  map[event.ExecID]uint32 // who started it; healthUID for the daemon
}

const healthUID = 1 << 30

var t0 = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var web = event.ContainerID(fmt.Sprintf("%064x", 0xabc))

func newWorld(tapped bool) *world {
	s := &world{now: t0, tapped: tapped, pid: 1000, conn: 100, truth: map[event.ExecID]uint32{}}
	s.add(event.Host{Header: s.head(event.WitnessEngine), BootID: "boot", Hostname: "node", Users: map[uint32]string{0: "root", 1001: "ann", 1002: "bob", 1003: "cec"}})
	s.add(event.WitnessState{Header: s.head(event.WitnessKernel), Up: true, From: s.now, Level: "L2", Peers: true, Requests: tapped})
	s.add(event.WitnessState{Header: s.head(event.WitnessDocker), Up: true, From: s.now, DaemonPID: 77})
	s.add(event.WitnessState{Header: s.head(event.WitnessContainerd), Up: true, From: s.now})
	s.add(event.ClientConnect{Header: s.head(event.WitnessKernel), Conn: 1, Service: event.ServiceContainerd, Found: true, Peer: event.Peer{ID: event.ProcessID{PID: 77, Start: 7}}})
	s.add(event.DockerContainer{
		Header: s.head(event.WitnessDocker), ID: web, Name: "web", Image: "test/web:1",
		Health: &event.Healthcheck{Argv: []string{"/bin/check"}, Interval: event.Duration(30 * time.Second)},
	})
	s.later(10 * time.Second)
	return s
}

func (s *world) add(o event.Observation) { s.obs = append(s.obs, o) }

func (s *world) head(w event.Witness) event.Header { return event.Header{Time: s.now, Witness: w} }

func (s *world) later(d time.Duration) { s.now = s.now.Add(d) }

func (s *world) process() event.ProcessID {
	s.pid++
	return event.ProcessID{PID: s.pid, Start: uint64(s.now.UnixNano()-t0.UnixNano()) + uint64(s.pid)}
}

func (s *world) peer(uid uint32) event.Peer {
	return event.Peer{ID: s.process(), Cred: event.Cred{UID: uid, GID: uid}, Exe: "/usr/bin/docker"}
}

// connect opens a connection of p to the Docker socket.
func (s *world) connect(service event.Service, p event.Peer) event.ConnID {
	s.conn++
	s.add(event.ClientConnect{Header: s.head(event.WitnessKernel), Conn: s.conn, Service: service, Peer: p, Tapped: s.tapped && service == event.ServiceDocker})
	return s.conn
}

func (s *world) close(c event.ConnID) {
	s.add(event.ClientClose{Header: s.head(event.WitnessKernel), Conn: c})
}

func (s *world) ask(r event.DockerRequest, status int, created string) {
	if !s.tapped {
		return
	}
	r.Header, r.Certain = s.head(event.WitnessKernel), true
	s.add(r)
	h := s.head(event.WitnessKernel)
	h.Time = h.Time.Add(time.Millisecond)
	s.add(event.DockerAnswer{Header: h, ID: r.ID, Op: r.Op, Status: status, Created: created})
}

func (s *world) docker(a event.DockerAction, x event.ExecID, command string) {
	s.add(event.DockerEvent{Header: s.head(event.WitnessDocker), Action: a, Container: web, ExecID: x, Command: command})
}

func (s *world) runtime(a event.RuntimeAction, x event.ExecID, pid uint32) {
	ev := event.RuntimeEvent{Header: s.head(event.WitnessContainerd), Namespace: "moby", Action: a, Container: web, ExecID: x, PID: pid}
	if a == event.RuntimeExit {
		zero := 0
		ev.ExitCode, ev.ExitedAt = &zero, s.now
	}
	s.add(ev)
}

// exec lets uid run argv in web by docker exec. The daemon itself does when uid
// is healthUID.
func (s *world) exec(uid uint32, argv ...string) event.ExecID {
	s.ids++
	x := event.ExecID(fmt.Sprintf("%064x", s.ids))
	s.truth[x] = uid
	var p event.Peer
	var c1, c2 event.ConnID
	joined := event.Argv{Args: argv}.String()
	if uid != healthUID {
		p = s.peer(uid)
		c1 = s.connect(event.ServiceDocker, p)
		s.later(2 * time.Millisecond)
		s.ask(event.DockerRequest{ID: event.RequestID{Conn: c1}, Peer: p, Op: event.OpExecCreate, Ref: "web", Argv: argv}, 201, string(x))
	}
	s.docker(event.DockerExecCreate, x, joined)
	s.later(2 * time.Millisecond)
	if uid != healthUID {
		c2 = s.connect(event.ServiceDocker, p)
		s.ask(event.DockerRequest{ID: event.RequestID{Conn: c2}, Peer: p, Op: event.OpExecStart, ExecID: x}, 101, "")
	}
	s.docker(event.DockerExecStart, x, joined)
	s.later(time.Millisecond)
	s.runtime(event.RuntimeExecAdded, x, 0)
	s.later(20 * time.Millisecond)
	root := s.enter(argv, event.Ancestor{Comm: "runc", Exe: "/usr/sbin/runc"}, event.Ancestor{Comm: "containerd-shim"})
	s.later(5 * time.Millisecond)
	s.runtime(event.RuntimeExecStarted, x, root.PID)
	s.leave(root)
	s.runtime(event.RuntimeExit, x, root.PID)
	s.docker(event.DockerExecDie, x, "")
	if uid != healthUID {
		s.close(c1)
		s.close(c2)
	}
	return x
}

func (s *world) enter(argv []string, lineage ...event.Ancestor) event.ProcessID {
	root := s.process()
	for i := range lineage {
		lineage[i].ID = s.process()
	}
	s.add(event.SessionEntry{Header: s.head(event.WitnessKernel), Root: root, Cause: event.EntryInjected, Container: web, InCgroup: true, Lineage: lineage})
	s.later(time.Millisecond)
	s.add(event.ProcessExec{Header: s.head(event.WitnessKernel), ID: root, Entry: root, Container: web, Argv: event.Argv{Args: argv}, Exe: event.Executable{Path: event.Text(argv[0])}})
	return root
}

func (s *world) leave(root event.ProcessID) {
	s.later(time.Millisecond)
	s.add(event.ProcessExit{Header: s.head(event.WitnessKernel), ID: root, Entry: root})
}

// finally feeds the observations to an engine and returns the final state of every
// session.
func finally(obs []event.Observation) map[session.ID]session.Session {
	e := correlate.New(correlate.Options{})
	out := map[session.ID]session.Session{}
	keep := func(rs []session.Revision) {
		for _, r := range rs {
			out[r.Session.ID] = r.Session
		}
	}
	for _, o := range obs {
		keep(e.Observe(o))
	}
	keep(e.Flush())
	for id, s := range out {
		if s.SupersededBy != "" {
			delete(out, id)
		}
	}
	return out
}

// hold fails the test unless s tells the truth about who started it.
func hold(t rapid.TB, s session.Session, uid uint32) {
	t.Helper()
	is := func(a session.Actor) bool {
		if uid == healthUID {
			return a.Service == event.ServiceDocker
		}
		return a.UID != nil && *a.UID == uid
	}
	switch s.Attribution.Level {
	case session.LevelExact, session.LevelStrong:
		if !is(s.Actor) {
			t.Fatalf("session %s: wrong name: %+v, truth uid %d", s.ID, s.Actor, uid)
		}
	case session.LevelSet:
		if !slices.ContainsFunc(s.Attribution.Candidates, is) {
			t.Fatalf("session %s: truth uid %d is not among %+v", s.ID, uid, s.Attribution.Candidates)
		}
	case session.LevelNone:
		t.Fatalf("session %s: nobody named, truth uid %d", s.ID, uid)
	}
}

func TestExecOfOneClientIsExact(t *testing.T) {
	s := newWorld(true)
	x := s.exec(1001, "/bin/id", "-u")
	got := one(t, finally(s.obs))
	hold(t, got, 1001)
	want := session.Session{
		Kind: session.KindExec, Channel: event.ChannelDockerExec, State: session.StateEnded,
		ExecID: x, Argv: []string{"/bin/id", "-u"}, ArgvSource: "request",
	}
	if got.Attribution.Level != session.LevelExact || got.Actor.User != "ann" {
		t.Errorf("attribution %+v, actor %+v", got.Attribution, got.Actor)
	}
	part := session.Session{Kind: got.Kind, Channel: got.Channel, State: got.State, ExecID: got.ExecID, Argv: got.Argv, ArgvSource: got.ArgvSource}
	if d := cmp.Diff(want, part); d != "" {
		t.Error(d)
	}
	if len(got.Processes) != 1 || got.ExitCode == nil || got.Unexplained.Is {
		t.Errorf("processes %+v, exit %v, unexplained %+v", got.Processes, got.ExitCode, got.Unexplained)
	}
}

func one(t *testing.T, m map[session.ID]session.Session) session.Session {
	t.Helper()
	if len(m) != 1 {
		t.Fatalf("got %d sessions, want 1: %+v", len(m), m)
	}
	for _, s := range m {
		return s
	}
	return session.Session{}
}

func TestHealthcheckIsTheDaemons(t *testing.T) {
	s := newWorld(false)
	s.exec(healthUID, "/bin/check")
	got := one(t, finally(s.obs))
	if got.Kind != session.KindHealthcheck || got.Channel != event.ChannelDockerHealth || got.Unexplained.Is {
		t.Errorf("kind %s, channel %s, unexplained %+v", got.Kind, got.Channel, got.Unexplained)
	}
	hold(t, got, healthUID)
}

func TestHealthcheckIsNoDisguise(t *testing.T) {
	for _, tapped := range []bool{true, false} {
		s := newWorld(tapped)
		s.exec(1002, "/bin/check")
		got := one(t, finally(s.obs))
		if got.Kind != session.KindExec {
			t.Errorf("tapped %v: a person's command became %s", tapped, got.Kind)
		}
		hold(t, got, 1002)
	}
}

func TestNsenterIsUnexplainedAndNamed(t *testing.T) {
	s := newWorld(true)
	uid := uint32(1003)
	root := s.enter([]string{"/bin/sh"}, event.Ancestor{Comm: "nsenter", Exe: "/usr/bin/nsenter", Cred: event.Cred{UID: 0, LoginUID: &uid}})
	s.leave(root)
	got := one(t, finally(s.obs))
	if got.Kind != session.KindEnter || !got.Unexplained.Is || got.Attribution.Level != session.LevelExact || got.Actor.LoginUser != "cec" {
		t.Errorf("%+v", got)
	}
}

func TestCtrBesideDockerIsRuntime(t *testing.T) {
	s := newWorld(true)
	p := s.peer(0)
	c := s.connect(event.ServiceContainerd, p)
	s.later(time.Millisecond)
	s.runtime(event.RuntimeExecAdded, "mine", 0)
	root := s.enter([]string{"/bin/id"}, event.Ancestor{Comm: "runc"}, event.Ancestor{Comm: "containerd-shim"})
	s.runtime(event.RuntimeExecStarted, "mine", root.PID)
	s.leave(root)
	s.runtime(event.RuntimeExit, "mine", root.PID)
	s.docker(event.DockerExecDie, "mine", "")
	s.close(c)
	got := one(t, finally(s.obs))
	if got.Kind != session.KindRuntime || got.Channel != event.ChannelRuntimeCtr || !got.Unexplained.Is {
		t.Errorf("kind %s, channel %s, unexplained %+v", got.Kind, got.Channel, got.Unexplained)
	}
	if got.Attribution.Level != session.LevelStrong || got.Actor.PID != p.ID.PID {
		t.Errorf("attribution %+v, actor %+v", got.Attribution, got.Actor)
	}
}

// TestOrderOfArrival is the engine's main property: whatever the order in which
// facts arrive inside the window, the sessions come out the same, all of them
// are found, and nobody is named wrongly.
func TestOrderOfArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newWorld(rapid.Bool().Draw(t, "tapped"))
		storm(t, s)
		want := finally(s.obs)
		if len(want) != len(s.truth) {
			t.Fatalf("%d sessions, %d commands ran", len(want), len(s.truth))
		}
		for _, got := range want {
			hold(t, got, s.truth[got.ExecID])
		}
		shuffled := shuffle(s.obs, rapid.Int64().Draw(t, "seed"))
		if d := cmp.Diff(want, finally(shuffled)); d != "" {
			t.Fatalf("another order, another truth (-in order +shuffled):\n%s", d)
		}
	})
}

// storm lets several users and the daemon run identical commands at the same
// time: their stories overlap.
func storm(t *rapid.T, s *world) {
	n := rapid.IntRange(1, 6).Draw(t, "commands")
	begin := s.now
	for range n {
		s.now = begin.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "at")) * time.Millisecond)
		uid := rapid.SampledFrom([]uint32{1001, 1002, 1003, healthUID}).Draw(t, "uid")
		s.exec(uid, "/bin/check")
	}
	s.now = begin.Add(time.Second)
}

// shuffle delays every observation by up to 300 ms.
func shuffle(obs []event.Observation, seed int64) []event.Observation {
	rnd := rand.New(rand.NewSource(seed))
	type late struct {
		o  event.Observation
		at time.Time
	}
	list := make([]late, len(obs))
	for i, o := range obs {
		list[i] = late{o, o.Head().Time.Add(time.Duration(rnd.Intn(300)) * time.Millisecond)}
	}
	slices.SortStableFunc(list, func(a, b late) int { return a.at.Compare(b.at) })
	out := make([]event.Observation, len(list))
	for i, l := range list {
		out[i] = l.o
	}
	return out
}

// TestManySessionsKeepTheirProcesses: the bound on sessions that stay open for
// late evidence closes whole sessions, and never the process tree of one that
// evidence still comes for.
func TestManySessionsKeepTheirProcesses(t *testing.T) {
	s := newWorld(true)
	x := s.exec(1001, "/bin/id")
	for i := range 3000 {
		s.exec(1002, "/bin/id")
		if i%100 == 0 {
			s.add(event.DockerExec{Header: s.head(event.WitnessDocker), ID: x, Container: web, Argv: []string{"/bin/id"}})
		}
	}
	got := finally(s.obs)
	if len(got) != 3001 {
		t.Fatalf("%d sessions of 3001", len(got))
	}
	for _, one := range got {
		if len(one.Processes) != 1 || one.Unexplained.Is {
			t.Fatalf("session %s: processes %v, unexplained %+v", one.ID, one.Processes, one.Unexplained)
		}
	}
}

// TestStartLongAfterCreate: an exec that was created and forgotten is a session
// when somebody starts it after all.
func TestStartLongAfterCreate(t *testing.T) {
	s := newWorld(false)
	x := s.exec(1001, "/bin/id")
	created := slices.IndexFunc(s.obs, func(o event.Observation) bool {
		ev, ok := o.(event.DockerEvent)
		return ok && ev.Action == event.DockerExecCreate
	})
	const later = 25 * time.Hour
	obs := slices.Clone(s.obs[:created+1])
	obs = append(obs, event.Tick{Header: event.Header{Time: s.now.Add(later - time.Minute), Witness: event.WitnessEngine}})
	for _, o := range s.obs[created+1:] {
		switch o := o.(type) {
		case event.DockerEvent:
			o.Time = o.Time.Add(later)
			obs = append(obs, o)
		case event.RuntimeEvent:
			o.Time = o.Time.Add(later)
			obs = append(obs, o)
		}
	}
	got := one(t, finally(obs))
	if got.ExecID != x || got.State != session.StateEnded {
		t.Errorf("state %s, exec %s", got.State, got.ExecID)
	}
}
