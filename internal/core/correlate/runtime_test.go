package correlate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// ctr lets uid run argv in web by ctr task exec; read says whether containerd's
// requests are read on that connection.
func (s *world) ctr(uid uint32, read bool, argv ...string) event.ExecID {
	s.ids++
	x := event.ExecID(fmt.Sprintf("exec-%d", s.ids))
	s.truth[x] = uid
	p := s.peer(uid)
	conn := s.connect(event.ServiceContainerd, p)
	if !read { // the last observation is the connect
		c := s.obs[len(s.obs)-1].(event.ClientConnect)
		c.Tapped = false
		s.obs[len(s.obs)-1] = c
	}
	n := uint32(0)
	ask := func(op event.RuntimeOp, argv []string) {
		s.later(time.Millisecond)
		if read {
			s.add(event.RuntimeRequest{
				Header: s.head(event.WitnessKernel), ID: event.RequestID{Conn: conn, N: n}, Peer: p, Service: event.ServiceContainerd,
				API: event.APIContainerd, Op: op, Namespace: "moby", Container: web, ExecID: x, Argv: argv, Certain: true,
			})
			n++
		}
	}
	ask(event.RuntimeOpExec, argv)
	s.later(time.Millisecond)
	s.runtime(event.RuntimeExecAdded, x, 0)
	ask(event.RuntimeOpStart, nil)
	s.later(20 * time.Millisecond)
	root := s.enter(argv, event.Ancestor{Comm: "runc", Exe: "/usr/sbin/runc"}, event.Ancestor{Comm: "containerd-shim"})
	s.later(5 * time.Millisecond)
	s.runtime(event.RuntimeExecStarted, x, root.PID)
	s.leave(root)
	s.runtime(event.RuntimeExit, x, root.PID)
	s.close(conn)
	return x
}

// TestCtrOrderOfArrival: several users run the same command by ctr at the same
// time, the requests of some are not read. Whatever the order of the facts, who
// was read is named, and nobody wrongly.
func TestCtrOrderOfArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newWorld(true)
		read := map[event.ExecID]bool{}
		begin := s.now
		for range rapid.IntRange(1, 5).Draw(t, "commands") {
			s.now = begin.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "at")) * time.Millisecond)
			r := rapid.Bool().Draw(t, "read")
			read[s.ctr(rapid.SampledFrom([]uint32{1001, 1002, 1003}).Draw(t, "uid"), r, "/bin/id")] = r
		}
		s.now = begin.Add(time.Second)
		want := finally(s.obs)
		if len(want) != len(s.truth) {
			t.Fatalf("%d sessions, %d commands ran", len(want), len(s.truth))
		}
		for _, got := range want {
			hold(t, got, s.truth[got.ExecID])
			if read[got.ExecID] != (got.Attribution.Level == session.LevelExact) {
				t.Fatalf("read %v: %+v", read[got.ExecID], got.Attribution)
			}
		}
		if d := cmp.Diff(want, finally(shuffle(s.obs, rapid.Int64().Draw(t, "seed")))); d != "" {
			t.Fatalf("another order, another truth (-in order +shuffled):\n%s", d)
		}
	})
}
