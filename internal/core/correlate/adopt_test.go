package correlate_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestAdoptKeepsWhatOnlyTheOldEngineKnew stops an engine while a session runs
// and starts another: the name stays, the end is found.
func TestAdoptKeepsWhatOnlyTheOldEngineKnew(t *testing.T) {
	s := newWorld(true)
	x := s.exec(1001, "/bin/sleep", "60")
	cut := slices.IndexFunc(s.obs, func(o event.Observation) bool { _, ok := o.(event.ProcessExit); return ok })
	var running session.Session
	for _, got := range finally(s.obs[:cut]) {
		running = got
	}
	if running.State != session.StateRunning || running.Actor.User != "ann" {
		t.Fatalf("before the restart: %+v", running)
	}
	root := running.Processes[0].ID

	e := correlate.New(correlate.Options{})
	e.Adopt(running, s.now)
	var last session.Session
	feed := func(o event.Observation) {
		for _, r := range e.Observe(o) {
			last = r.Session
		}
	}
	s.later(time.Second)
	feed(event.SessionEntry{Header: s.head(event.WitnessKernel), Root: root, Cause: event.EntryFound, Container: web})
	feed(event.RuntimeTask{Header: s.head(event.WitnessContainerd), Namespace: "moby", Container: web, ExecID: x, PID: root.PID, Running: true})
	s.later(5 * time.Second)
	feed(event.ProcessExit{Header: s.head(event.WitnessKernel), ID: root, Entry: root, Code: 7})
	s.later(time.Minute)
	feed(event.Tick{Header: s.head(event.WitnessEngine)})
	if last.ID != running.ID || last.Actor.User != "ann" || last.Attribution.Level != session.LevelExact {
		t.Errorf("after the restart: id %s, actor %+v, %+v", last.ID, last.Actor, last.Attribution)
	}
	if last.State != session.StateEnded || last.ExitCode == nil || *last.ExitCode != 7 || !last.Started.Equal(running.Started) {
		t.Errorf("state %s, exit %v, started %v", last.State, last.ExitCode, last.Started)
	}
}

// TestAdoptedOrphanEnds: a session of which nothing turns up after a restart
// ended while nobody watched; when and how is not invented.
func TestAdoptedOrphanEnds(t *testing.T) {
	e := correlate.New(correlate.Options{})
	e.Adopt(session.Session{ID: "x", State: session.StateRunning, Started: t0}, t0)
	var got []session.Revision
	for i := range 100 {
		got = append(got, e.Observe(event.Tick{Header: event.Header{Time: t0.Add(time.Duration(i) * time.Second)}})...)
	}
	if len(got) != 1 || got[0].Session.State != session.StateEnded || got[0].Session.Ended != nil || got[0].Session.ExitCode != nil {
		t.Errorf("%+v", got)
	}
}

// TestAdoptedSessionStaysOne: the kernel finds the root of an adopted exec, no
// service tells its exec id until its end. It is still that session, and its
// end says nothing about who asked for it.
func TestAdoptedSessionStaysOne(t *testing.T) {
	s := newWorld(true)
	x := s.exec(1001, "/bin/sleep", "60")
	cut := slices.IndexFunc(s.obs, func(o event.Observation) bool { _, ok := o.(event.ProcessExit); return ok })
	var running session.Session
	for _, got := range finally(s.obs[:cut]) {
		running = got
	}
	running.Attribution, running.Actor = session.Attribution{Level: session.LevelNone}, session.Actor{Kind: session.ActorNone}
	root := running.Processes[0].ID

	s.later(time.Minute)
	next := newWorld(true)
	next.now, next.obs[1] = s.now, event.WitnessState{Header: s.head(event.WitnessKernel), Up: true, From: s.now, Peers: true, Requests: true}
	e := correlate.New(correlate.Options{})
	e.Adopt(running, s.now)
	ids := map[session.ID]session.Session{}
	feed := func(o event.Observation) {
		for _, r := range e.Observe(o) {
			ids[r.Session.ID] = r.Session
		}
	}
	feed(next.obs[1])
	feed(event.SessionEntry{Header: s.head(event.WitnessKernel), Root: root, Cause: event.EntryFound, Container: web})
	bystander := s.peer(1002)
	feed(event.ClientConnect{Header: s.head(event.WitnessKernel), Conn: 9, Service: event.ServiceDocker, Peer: bystander})
	s.later(5 * time.Second)
	feed(event.ProcessExit{Header: s.head(event.WitnessKernel), ID: root, Entry: root})
	feed(event.DockerEvent{Header: s.head(event.WitnessDocker), Action: event.DockerExecDie, Container: web, ExecID: x})
	s.later(time.Minute)
	feed(event.Tick{Header: s.head(event.WitnessEngine)})
	if len(ids) != 1 {
		t.Fatalf("%d sessions, want the adopted one: %+v", len(ids), ids)
	}
	got := ids[running.ID]
	if got.Attribution.Level != session.LevelNone || got.State != session.StateEnded {
		t.Errorf("state %s, attribution %+v", got.State, got.Attribution)
	}
}
