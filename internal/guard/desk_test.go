package guard

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
)

// modelled is what the model of a desk knows of one request.
type modelled struct {
	held  *held
	until time.Time
	asker uint32
	argv  string
	state ApprovalState
}

// TestDesk holds a desk to a model, whatever is done in whatever order: a request
// leaves it once, nobody answers for himself or after the time, and what is covered
// is what was approved, for as long as it was.
func TestDesk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &deskModel{desk: newDesk(), now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), all: map[session.ID]*modelled{}, grants: map[string]time.Time{}}
		t.Repeat(map[string]func(*rapid.T){
			"ask": m.ask, "approve": m.approve, "deny": m.deny, "withdraw": m.withdraw, "wait": m.wait, "covered": m.covered, "": m.check,
		})
	})
}

type deskModel struct {
	desk   *desk
	now    time.Time
	n      int
	all    map[session.ID]*modelled
	grants map[string]time.Time // by asker and argv
}

func deskActor(uid uint32) session.Actor {
	return session.Actor{Kind: session.ActorUnix, UID: &uid, Exe: "/x"}
}

func deskRequest(id session.ID, uid uint32, argv string) *session.Session {
	return &session.Session{
		ID: id, Kind: session.KindExec, Channel: event.ChannelDockerExec, Actor: deskActor(uid),
		Argv: []string{argv}, ArgvSource: "request", Target: session.Target{ContainerID: "c"},
	}
}

func grantOf(uid uint32, argv string) string { return fmt.Sprint(uid, argv) }

func drawWho(t *rapid.T) uint32  { return rapid.Uint32Range(1, 3).Draw(t, "who") }
func drawArgv(t *rapid.T) string { return rapid.SampledFrom([]string{"a", "b"}).Draw(t, "argv") }

func (m *deskModel) ask(t *rapid.T) {
	m.n++
	x := &modelled{
		until: m.now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "wait")) * time.Second), asker: drawWho(t), argv: drawArgv(t), state: StateWaiting,
	}
	id := session.ID(fmt.Sprintf("id%06d", m.n))
	h, a, err := m.desk.ask(deskRequest(id, x.asker, x.argv), policy.Decision{Rule: "r"}, StateWaiting, m.now, x.until)
	mine := 0
	for _, other := range m.waiting() {
		if m.all[other].asker == x.asker {
			mine++
		}
	}
	if (err != nil) != (mine >= perHandMax) {
		t.Fatalf("%d of his wait: %v", mine, err)
	}
	if err != nil {
		return
	}
	if _, err := m.desk.approve(string(id), &session.Actor{}, Answer{}, m.now); err == nil {
		t.Fatal("answered before it was shown")
	}
	m.desk.show(h)
	if x.held = h; a.ID != id || a.State != StateWaiting {
		t.Fatalf("%+v", a)
	}
	m.all[id] = x
}

func (m *deskModel) waiting() (ids []session.ID) {
	for id, x := range m.all {
		if x.state == StateWaiting {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (m *deskModel) any(t *rapid.T) (session.ID, *modelled) {
	if len(m.all) == 0 {
		t.Skip("nothing was asked")
	}
	id := rapid.SampledFrom(slices.Sorted(maps.Keys(m.all))).Draw(t, "id")
	return id, m.all[id]
}

func (m *deskModel) approve(t *rapid.T) {
	id, x := m.any(t)
	who, d := drawWho(t), time.Duration(rapid.SampledFrom([]int{0, 0, 30, 300}).Draw(t, "for"))*time.Second
	by := deskActor(who)
	r, err := m.desk.approve(string(id), &by, Answer{For: d}, m.now)
	_, again := m.grants[grantOf(x.asker, x.argv)]
	if want := x.state == StateWaiting && who != x.asker && !(d > 0 && again); (err == nil) != want {
		t.Fatalf("%s by %d, which is %s and of %d: %v", id, who, x.state, x.asker, err)
	}
	if err != nil {
		return
	}
	if x.state = StateApproved; r.Approval.State != x.state || r.Stopped || *r.Approval.By.UID != who {
		t.Fatalf("%+v", r)
	}
	if d > 0 {
		m.grants[grantOf(x.asker, x.argv)] = m.now.Add(d)
	}
}

func (m *deskModel) deny(t *rapid.T) {
	id, x := m.any(t)
	if x.state != StateWaiting {
		t.Skip("revocation has its own test")
	}
	by := deskActor(drawWho(t))
	if r, err := m.desk.deny(string(id), &by, "no", m.now); err != nil || r.Approval.State != StateDenied || !r.Stopped {
		t.Fatalf("%+v %v", r, err)
	}
	x.state = StateDenied
}

func (m *deskModel) withdraw(t *rapid.T) {
	_, x := m.any(t)
	if _, first := m.desk.withdraw(x.held, m.now); first != (x.state == StateWaiting) {
		t.Fatalf("withdrawn %v though %s", first, x.state)
	}
	if x.state == StateWaiting {
		x.state = StateWithdrawn
	}
}

func (m *deskModel) wait(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * time.Second)
	want := map[ApprovalState]int{}
	for _, id := range m.waiting() {
		if x := m.all[id]; !m.now.Before(x.until) {
			x.state = StateExpired
			want[StateExpired]++
		}
	}
	for key, until := range m.grants {
		if !m.now.Before(until) {
			delete(m.grants, key)
			want[StateEnded]++
		}
	}
	got := map[ApprovalState]int{}
	for _, r := range m.desk.expire(m.now) {
		got[r.Approval.State]++
	}
	if !maps.Equal(got, want) {
		t.Fatalf("over are %v, want %v", got, want)
	}
}

func (m *deskModel) covered(t *rapid.T) {
	who, argv := drawWho(t), drawArgv(t)
	key := keyOf(deskRequest("other", who, argv), "r")
	until, want := m.grants[grantOf(who, argv)]
	if a, got := m.desk.covered(key, m.now); got != want || got && !a.Until.Equal(until) {
		t.Fatalf("%d %s covered: %v %+v, want %v", who, argv, got, a, want)
	}
	if _, late := m.desk.covered(key, until); want && late {
		t.Fatalf("%d %s is covered when its time is over", who, argv)
	}
}

// check holds what is always so.
func (m *deskModel) check(t *rapid.T) {
	next := time.Time{}
	for id, x := range m.all {
		done := false
		select {
		case <-x.held.done:
			done = true
		default:
		}
		if done == (x.state == StateWaiting) {
			t.Fatalf("%s is %s, and done is %v", id, x.state, done)
		}
		if done && x.held.record.Approval.State != x.state {
			t.Fatalf("%s is %s, want %s", id, x.held.record.Approval.State, x.state)
		}
		if !done {
			next = earlier(next, x.until)
		}
	}
	for _, until := range m.grants {
		next = earlier(next, until)
	}
	if got := m.desk.next(); !got.Equal(next) {
		t.Fatalf("next %s, want %s", got, next)
	}
	if n := len(m.desk.list()); n != len(m.waiting())+len(m.grants) {
		t.Fatalf("%d are listed, want %d and %d", n, len(m.waiting()), len(m.grants))
	}
}
