package correlate_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestNobodyIsNamedBeforeTheKernelIsRead: on a busy host the kernel sensor reads
// its records seconds after the services have told of what came of them. No
// revision names anybody wrongly meanwhile, and in the end nothing is left of it.
func TestNobodyIsNamedBeforeTheKernelIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newWorld(rapid.Bool().Draw(t, "tapped"))
		for range rapid.IntRange(1, 3).Draw(t, "storms") {
			storm(t, s)
		}
		revisions := live(lagging(s.obs, func() time.Duration {
			return time.Duration(rapid.IntRange(20, 4000).Draw(t, "pause")) * time.Millisecond
		}))
		last := map[session.ID]session.Session{}
		for _, r := range revisions {
			holdSoFar(t, r, s.truth)
			if last[r.ID] = r; r.SupersededBy != "" {
				delete(last, r.ID)
			}
		}
		if d := cmp.Diff(finally(s.obs), last); d != "" {
			t.Fatalf("read late, another truth (-at once +late):\n%s", d)
		}
	})
}

// live feeds an engine as a host does, with nothing but time at the end, and
// returns every revision.
func live(obs []event.Observation) []session.Session {
	e := correlate.New(correlate.Options{})
	var out []session.Session
	for _, o := range obs {
		for _, r := range e.Observe(o) {
			out = append(out, r.Session)
		}
	}
	return out
}

// holdSoFar fails the test when a revision is wrong about who did it. It may
// leave that open.
func holdSoFar(t rapid.TB, s session.Session, truth map[event.ExecID]uint32) {
	t.Helper()
	anybody := func(a session.Actor) bool { return a.Kind == session.ActorNone && a.Service == "" }
	switch {
	case s.Unexplained.Is:
		t.Fatalf("session %s, revision at %s: unexplained: %s", s.ID, s.Started, s.Unexplained.Reason)
	case s.Attribution.Level == session.LevelNone, slices.ContainsFunc(s.Attribution.Candidates, anybody):
	default:
		hold(t, s, truth[s.ExecID])
	}
}

// lagging returns observations in the order in which a host hears them whose
// kernel sensor reads its records now and then: those of the others at once, the
// kernel's at its next look. Time is told as a host does, until all is over.
func lagging(obs []event.Observation, pause func() time.Duration) []event.Observation {
	kernel := slices.DeleteFunc(slices.Clone(obs), func(o event.Observation) bool { return o.Head().Witness != event.WitnessKernel })
	others := slices.DeleteFunc(slices.Clone(obs), func(o event.Observation) bool { return o.Head().Witness == event.WitnessKernel })
	byTime := func(a, b event.Observation) int { return a.Head().Time.Compare(b.Head().Time) }
	slices.SortStableFunc(kernel, byTime)
	slices.SortStableFunc(others, byTime)
	var out []event.Observation
	take := func(list *[]event.Observation, until time.Time) {
		n := len(*list)
		if i := slices.IndexFunc(*list, func(o event.Observation) bool { return !o.Head().Time.Before(until) }); i >= 0 {
			n = i
		}
		out = append(out, (*list)[:n]...)
		*list = (*list)[n:]
	}
	now := kernel[0].Head().Time
	last := later(obs)
	for look := now; now.Before(last.Add(15 * time.Second)); now = now.Add(10 * time.Millisecond) {
		take(&others, now)
		out = append(out, event.Tick{Header: event.Header{Time: now, Witness: event.WitnessEngine}})
		if now.Before(look) {
			continue
		}
		through := now.Add(-time.Millisecond)
		take(&kernel, through)
		out = append(out, event.Progress{Header: event.Header{Time: through, Witness: event.WitnessKernel}, Through: through})
		look = now.Add(pause())
	}
	return out
}

// later returns the time of the latest of them.
func later(obs []event.Observation) time.Time {
	return slices.MaxFunc(obs, func(a, b event.Observation) int { return a.Head().Time.Compare(b.Head().Time) }).Head().Time
}

// TestLookedAtAgainOnceTheKernelIsRead: what had to be left open is decided when
// the kernel sensor says how far it has read, with no other fact to bring it up.
func TestLookedAtAgainOnceTheKernelIsRead(t *testing.T) {
	s := newWorld(false)
	s.progress()
	s.exec(healthUID, "/bin/check")
	s.pass(10 * time.Second)
	before := live(s.obs)
	if len(before) == 0 {
		t.Fatal("no revision while the kernel sensor is behind")
	}
	for _, r := range before {
		holdSoFar(t, r, s.truth)
		if r.Attribution.Level == session.LevelStrong {
			t.Errorf("the daemon is named by what nobody has read yet: %+v", r.Attribution)
		}
	}
	s.progress()
	s.pass(100 * time.Millisecond)
	after := live(s.obs)[len(before):]
	if len(after) != 1 || after[0].Kind != session.KindHealthcheck || after[0].Attribution.Level != session.LevelStrong {
		t.Errorf("after that: %+v", after)
	}
}

// TestProgressOfAnotherWitness: it says nothing of the kernel sensor's, nor one
// node's of another's.
func TestProgressOfAnotherWitness(t *testing.T) {
	for name, h := range map[string]event.Header{
		"another witness": {Witness: event.WitnessAudit},
		"another node":    {Witness: event.WitnessKernel, Node: "other"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newWorld(false)
			s.progress()
			s.exec(healthUID, "/bin/check")
			s.pass(10 * time.Second)
			h.Time = s.now
			s.add(event.Progress{Header: h, Through: s.now})
			s.pass(time.Second)
			f := correlate.NewFleet(correlate.Options{})
			for _, o := range s.obs {
				for _, r := range f.Observe(o) {
					if r.Session.Attribution.Level == session.LevelStrong {
						t.Fatalf("%+v", r.Session.Attribution)
					}
				}
			}
		})
	}
}

// progress has the kernel sensor say that it has told everything.
func (s *world) progress() {
	s.add(event.Progress{Header: s.head(event.WitnessKernel), Through: s.now})
}

// pass lets time pass as a host tells it.
func (s *world) pass(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.later(50 * time.Millisecond)
		s.add(event.Tick{Header: s.head(event.WitnessEngine)})
	}
}

// TestOneStarterOfTwo: of two who start a container at the same time one is told
// that there was nothing to do. While only that one's request has been read, it is
// not named.
func TestOneStarterOfTwo(t *testing.T) {
	s := newWorld(true)
	ann, bob := s.peer(1001), s.peer(1002)
	first, second := s.connect(event.ServiceDocker, ann), s.connect(event.ServiceDocker, bob)
	ask := func(c event.ConnID, p event.Peer) {
		s.add(event.DockerRequest{Header: s.head(event.WitnessKernel), ID: event.RequestID{Conn: c}, Peer: p, Op: event.OpContainerStart, Ref: "web", Certain: true})
	}
	answer := func(c event.ConnID, status int) {
		s.add(event.DockerAnswer{Header: s.head(event.WitnessKernel), ID: event.RequestID{Conn: c}, Op: event.OpContainerStart, Status: status})
	}
	s.progress()
	s.later(time.Millisecond)
	ask(first, ann)
	unread := s.now.Add(time.Millisecond)
	s.later(10 * time.Millisecond)
	s.add(event.RuntimeEvent{Header: s.head(event.WitnessContainerd), Namespace: "moby", Action: event.RuntimeCreate, Container: web, PID: 4000})
	s.add(event.RuntimeEvent{Header: s.head(event.WitnessContainerd), Namespace: "moby", Action: event.RuntimeStart, Container: web, PID: 4000})
	s.add(event.DockerEvent{Header: s.head(event.WitnessDocker), Action: event.DockerStart, Container: web})
	s.pass(3 * time.Second)
	now := s.now
	s.now = unread
	ask(second, bob)
	s.later(20 * time.Millisecond)
	answer(second, 204)
	answer(first, 304)
	s.now = now
	s.progress()
	s.pass(3 * time.Second)
	revisions := live(s.obs)
	if len(revisions) < 2 {
		t.Fatalf("%d revisions", len(revisions))
	}
	for _, r := range revisions {
		holdSoFar(t, r, map[event.ExecID]uint32{"": 1002})
	}
	if last := revisions[len(revisions)-1]; last.Attribution.Level != session.LevelExact {
		t.Errorf("in the end: %+v", last.Attribution)
	}
}
