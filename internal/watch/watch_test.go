package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// memory is a store that can be told to fail, to hang, or to take its time.
type memory struct {
	mu           sync.Mutex
	err          error
	hang         chan struct{}
	slow         time.Duration
	observations []event.Observation
	revisions    []session.Revision
	appends      int
	running      []session.Session
	newest       time.Time
	poison       func(event.Observation) bool // what can never be stored
	due          func() time.Time
}

func (m *memory) Due() time.Time {
	if m.due == nil {
		return time.Time{}
	}
	return m.due()
}

func (m *memory) Append(_ context.Context, observations []event.Observation, revisions []session.Revision) ([]session.Revision, error) {
	m.mu.Lock()
	err, hang, slow := m.err, m.hang, m.slow
	m.mu.Unlock()
	if hang != nil {
		<-hang
	}
	time.Sleep(slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.appends++; err != nil {
		return nil, err
	}
	if m.poison != nil && slices.ContainsFunc(observations, m.poison) {
		return nil, errors.New("record cannot be stored")
	}
	m.observations = append(m.observations, observations...)
	m.revisions = append(m.revisions, revisions...)
	return revisions, nil
}

func (m *memory) Running(context.Context) iter.Seq2[session.Session, error] {
	return func(yield func(session.Session, error) bool) {
		for _, s := range m.running {
			if !yield(s, nil) {
				return
			}
		}
	}
}

func (m *memory) Newest(context.Context) (time.Time, bool, error) {
	return m.newest, !m.newest.IsZero(), nil
}

func (m *memory) Prune(context.Context) error { return nil }

func (m *memory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// states returns the stored states of one witness, as "up" or the reason for
// being down.
func (m *memory) states(w event.Witness) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, o := range m.observations {
		if s, ok := o.(event.WitnessState); ok && s.Witness == w {
			if s.Up {
				out = append(out, "up")
			} else {
				out = append(out, s.Reason)
			}
		}
	}
	return out
}

// last returns the last stored state of each exec.
func (m *memory) last() map[session.ID]session.Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[session.ID]session.Session{}
	for _, r := range m.revisions {
		if r.Session.Kind == session.KindExec {
			out[r.Session.ID] = r.Session
		}
	}
	return out
}

type witnessFunc func(ctx context.Context, emit func(event.Observation)) error

func (f witnessFunc) Run(ctx context.Context, emit func(event.Observation)) error {
	return f(ctx, emit)
}

// nobody is a host without users.
type nobody struct{}

func (nobody) Facts() event.Host {
	return event.Host{Header: head(event.WitnessEngine), BootID: "boot"}
}

func (nobody) UserName(_ context.Context, uid uint32) string {
	if uid == 4242 {
		return "late"
	}
	return ""
}

func head(w event.Witness) event.Header { return event.Header{Time: time.Now().UTC(), Witness: w} }

// up says that a witness sees, and waits.
func up(w event.Witness) witnessFunc {
	return func(ctx context.Context, emit func(event.Observation)) error {
		emit(event.WitnessState{Header: head(w), Up: true})
		<-ctx.Done()
		return ctx.Err()
	}
}

// story returns the observations of a story of corpus/ and the moment it
// begins.
func story(t *testing.T, name string) ([]event.Observation, time.Time) {
	t.Helper()
	data, err := os.ReadFile("../../corpus/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	var out []event.Observation
	for line := range bytes.Lines(bytes.TrimSpace(txtar.Parse(data).Files[0].Data)) {
		o, err := event.Unmarshal(line)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out, out[0].Head().Time
}

// tell reports the observations of a story at their own times.
func tell(observations []event.Observation) witnessFunc {
	return func(ctx context.Context, emit func(event.Observation)) error {
		for _, o := range observations {
			select {
			case <-time.After(time.Until(o.Head().Time)):
			case <-ctx.Done():
				return nil
			}
			emit(o)
		}
		<-ctx.Done()
		return nil
	}
}

// running starts an engine and returns how to stop it.
func running(t *testing.T, opt Options) (e *Engine, stop func() error) {
	t.Helper()
	if opt.Host == nil {
		opt.Host = nobody{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	e = New(opt)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return e, func() error {
		cancel()
		return <-done
	}
}

func TestSessionIsDeliveredOnceStored(t *testing.T) {
	observations, begin := story(t, "exec-exact-terminal")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(begin))
		m := &memory{}
		var delivered []session.Revision
		_, stop := running(t, Options{
			Witnesses: []Named{{Name: "story", Witness: tell(observations)}}, Keeper: m,
			Deliver: func(list []session.Revision) {
				for _, r := range list {
					stored := false
					m.set(func() {
						stored = slices.ContainsFunc(m.revisions, func(s session.Revision) bool { return s.Session.ID == r.Session.ID })
					})
					if !stored {
						t.Errorf("session %s was delivered before it was stored", r.Session.ID)
					}
				}
				delivered = append(delivered, list...)
			},
		})
		time.Sleep(5 * time.Second)
		if s := m.last(); len(s) != 1 {
			t.Errorf("5 s after the start of the command %d sessions are stored, want 1", len(s))
		}
		time.Sleep(30 * time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, s := range m.last() {
			if s.State != session.StateEnded || s.Actor.User != "bob" || len(s.Processes) != 2 {
				t.Errorf("stored session: %+v", s)
			}
		}
		if len(delivered) != len(m.revisions) {
			t.Errorf("%d revisions delivered, %d stored", len(delivered), len(m.revisions))
		}
		for _, o := range observations {
			if !slices.ContainsFunc(m.observations, func(k event.Observation) bool { return event.Name(k) == event.Name(o) && k.Head() == o.Head() }) {
				t.Errorf("not kept: %T at %s", o, o.Head().Time)
			}
		}
	})
}

func TestDeadWitnessIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		began := time.Now()
		var starts []time.Duration
		flaky := witnessFunc(func(_ context.Context, emit func(event.Observation)) error {
			starts = append(starts, time.Since(began))
			switch len(starts) {
			case 1:
				return errors.New("no socket")
			case 2:
				return errors.New("no socket") // the same again: stated once
			case 3:
				panic("bug")
			case 4:
				emit(event.WitnessState{Header: head("flaky"), Up: true})
				time.Sleep(2 * time.Minute)
			}
			return nil
		})
		hopeless := 0
		_, stop := running(t, Options{Keeper: m, Witnesses: []Named{
			{Name: "flaky", Witness: flaky}, {Name: "steady", Witness: up("steady")},
			{Name: "hopeless", Witness: witnessFunc(func(context.Context, func(event.Observation)) error {
				hopeless++
				return fmt.Errorf("%w: no BTF", ErrUnavailable)
			})},
		}})
		time.Sleep(2*time.Minute + 10*time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		want := []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond, 3500 * time.Millisecond}
		if len(starts) < 5 || !slices.Equal(starts[:4], want) {
			t.Errorf("started at %v, want %v and once more", starts, want)
		}
		if got := starts[4] - starts[3]; got != 2*time.Minute+500*time.Millisecond {
			t.Errorf("after a long life it was started again after %v: the pause did not start anew", got)
		}
		states := m.states("flaky")
		if want := []string{"no socket", "panic: bug", "up", "ended without being asked to"}; len(states) < 4 || !slices.Equal(states[:4], want) {
			t.Errorf("states %q, want %q", states, want)
		}
		if s := m.states("steady"); s[0] != "up" || s[len(s)-1] != "Sallyport stopped" || slices.Contains(s, "no socket") {
			t.Errorf("states of the witness beside it: %q", s)
		}
		if hopeless != 1 {
			t.Errorf("a witness that is not available was started %d times", hopeless)
		}
	})
}

func TestFullDisk(t *testing.T) {
	observations, begin := story(t, "exec-exact-terminal")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(begin))
		m := &memory{err: errors.New("no space left on device")}
		delivered := 0
		noise := witnessFunc(func(ctx context.Context, emit func(event.Observation)) error {
			for ctx.Err() == nil {
				emit(event.ClientClose{Header: head("noise")})
				time.Sleep(10 * time.Millisecond)
			}
			return nil
		})
		e, stop := running(t, Options{
			Witnesses: []Named{{Name: "story", Witness: tell(observations)}, {Name: "noise", Witness: noise}}, Keeper: m, Unsaved: 1000,
			Deliver: func(list []session.Revision) { delivered += len(list) },
		})
		time.Sleep(time.Minute)
		s := e.Status()
		if s.Store.OK || s.Store.LastError != "no space left on device" || s.Store.UnsavedObservations > 1000 ||
			s.Store.DroppedObservations < 3000 || s.Store.DroppedRevisions != 0 {
			t.Errorf("status while the disk is full: %+v", s.Store)
		}
		if delivered > 0 {
			t.Errorf("%d revisions were delivered that are not stored", delivered)
		}
		if code := serve(e, "/healthz").Code; code != 503 {
			t.Errorf("healthz answers %d while the disk is full", code)
		}
		m.set(func() { m.err = nil })
		time.Sleep(2 * retryMax)
		if s := e.Status(); !s.Store.OK || s.Store.UnsavedRevisions > 0 || !s.Store.FailingSince.IsZero() {
			t.Errorf("status after there is space again: %+v", s.Store)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, s := range m.last() {
			if s.State != session.StateEnded || s.Actor.User != "bob" {
				t.Errorf("stored session: %+v", s)
			}
		}
		stated := slices.ContainsFunc(m.observations, func(o event.Observation) bool {
			l, ok := o.(event.Loss)
			return ok && l.Witness == event.WitnessEngine && l.Count == e.Status().Store.DroppedObservations
		})
		if states := m.states(event.WitnessEngine); !stated || !slices.Equal(states, []string{"store: no space left on device", "up"}) {
			t.Errorf("what was dropped is on record: %v, states %q", stated, states)
		}
		if len(m.last()) != 1 || delivered != len(m.revisions) {
			t.Errorf("%d sessions stored, %d of %d revisions delivered", len(m.last()), delivered, len(m.revisions))
		}
	})
}

// TestPoison: records that can never be stored do not keep others from it.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := func(o event.Observation) bool {
			c, ok := o.(event.ClientClose)
			return ok && c.Conn%100 == 7
		}
		m := &memory{poison: bad}
		steady := witnessFunc(func(ctx context.Context, emit func(event.Observation)) error {
			for i := range 1000 {
				emit(event.ClientClose{Header: head("steady"), Conn: event.ConnID(i)})
			}
			<-ctx.Done()
			return nil
		})
		e, stop := running(t, Options{Witnesses: []Named{{Name: "steady", Witness: steady}}, Keeper: m})
		time.Sleep(time.Minute)
		s := e.Status()
		if err := stop(); err != nil {
			t.Error(err)
		}
		n := 0
		for _, o := range m.observations {
			if _, ok := o.(event.ClientClose); ok {
				n++
			}
		}
		if n != 990 || s.Store.DroppedObservations != 10 || !s.Store.OK {
			t.Errorf("%d of 990 good records stored, %+v", n, s.Store)
		}
	})
}

func TestDiskFullAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{err: errors.New("no space left on device")}
		_, stop := running(t, Options{Witnesses: []Named{{Name: "w", Witness: up("w")}}, Keeper: m})
		time.Sleep(time.Second)
		if err := stop(); err == nil || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("Run returned %v, want what could not be stored and why", err)
		}
	})
}

func TestHungStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{hang: make(chan struct{})}
		var seen atomic.Int64
		storm := witnessFunc(func(ctx context.Context, emit func(event.Observation)) error {
			for ; seen.Load() < 5000; seen.Add(1) {
				emit(event.ClientClose{Header: head("storm")})
			}
			<-ctx.Done()
			return nil
		})
		e, stop := running(t, Options{Witnesses: []Named{{Name: "storm", Witness: storm}}, Keeper: m, Unsaved: 1000, Queue: 100})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if seen.Load() == 5000 {
			t.Error("a store that has not answered for 5 s did not make the witness wait")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := e.Status(); seen.Load() != 5000 || s.Store.OK || s.Store.DroppedObservations == 0 || s.BlockedNS < int64(5*time.Second) {
			t.Errorf("after 15 s: %d of 5000 observations taken, %+v, blocked %v", seen.Load(), s.Store, time.Duration(s.BlockedNS))
		}
		close(m.hang)
		m.set(func() { m.hang = nil })
		time.Sleep(time.Second)
		if s := e.Status(); !s.Store.OK {
			t.Errorf("after the store answered: %+v", s.Store)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowStore: a store that is only slow loses nothing; witnesses wait.
func TestSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{slow: 2 * time.Second}
		storm := witnessFunc(func(ctx context.Context, emit func(event.Observation)) error {
			for range 5000 {
				emit(event.ClientClose{Header: head("storm")})
			}
			<-ctx.Done()
			return nil
		})
		e, stop := running(t, Options{Witnesses: []Named{{Name: "storm", Witness: storm}}, Keeper: m, Unsaved: 1000, Queue: 100})
		time.Sleep(20 * time.Second)
		if s := e.Status(); s.Store.DroppedObservations > 0 || !s.Store.OK {
			t.Errorf("%+v", s.Store)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		n := 0
		for _, o := range m.observations {
			if _, ok := o.(event.ClientClose); ok {
				n++
			}
		}
		if n != 5000 {
			t.Errorf("%d of 5000 observations stored", n)
		}
	})
}

func TestCommitsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		steady := witnessFunc(func(ctx context.Context, emit func(event.Observation)) error {
			for range 2000 {
				emit(event.ClientClose{Header: head("steady")})
				time.Sleep(time.Millisecond)
			}
			<-ctx.Done()
			return nil
		})
		_, stop := running(t, Options{Witnesses: []Named{{Name: "steady", Witness: steady}}, Keeper: m})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if m.appends < 6 || m.appends > 12 {
			t.Errorf("%d commits for 2 s of records, want one for each 250 ms", m.appends)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestRevisionIsStoredSoon: observations wait for each other, a revision does
// not wait for them.
func TestRevisionIsStoredSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		b := newOutbox(Options{Keeper: m}.withDefaults(), func([]session.Revision) {})
		written := start(func() { b.run(t.Context()) })
		b.put(event.ClientClose{Header: head("steady")}, nil)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if m.appends != 0 {
			t.Error("one observation has a commit of its own")
		}
		b.put(nil, []session.Revision{{Session: session.Session{ID: "a"}}})
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if len(m.observations) != 1 || len(m.revisions) != 1 || m.appends != 1 {
			t.Errorf("%d commits with %d observations and %d revisions 50 ms after a revision", m.appends, len(m.observations), len(m.revisions))
		}
		b.close()
		<-written
	})
}

// TestQuietHost: where nothing happens, time passes for rules that wait for it:
// each time is told once, and not before.
func TestQuietHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := time.Now().Add(20 * time.Second)
		second := first.Add(time.Minute)
		m := &memory{due: func() time.Time {
			if time.Now().Before(second.Add(-30 * time.Second)) {
				return first
			}
			return second
		}}
		_, stop := running(t, Options{Witnesses: []Named{{Name: event.WitnessDocker, Witness: up(event.WitnessDocker)}}, Keeper: m})
		ticks := func() (out []time.Time) {
			m.set(func() {
				for _, o := range m.observations {
					if tick, ok := o.(event.Tick); ok {
						out = append(out, tick.Time)
					}
				}
			})
			return out
		}
		time.Sleep(19 * time.Second)
		if got := ticks(); len(got) != 0 {
			t.Errorf("ticks before anything waits for one: %v", got)
		}
		time.Sleep(2 * time.Minute)
		if got := ticks(); len(got) != 2 || got[0].Before(first) || got[0].After(first.Add(time.Second)) || got[1].Before(second) {
			t.Errorf("ticks %v, want one just after %v and one after %v", got, first, second)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := ticks(); len(got) != 2 {
			t.Errorf("ticks after the end: %v", got)
		}
	})
}

// TestManyRevisionsAtOnceAreStored: one tick may bring more revisions than may
// wait for a store that fails.
func TestManyRevisionsAtOnceAreStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		b := newOutbox(Options{Keeper: m, UnsavedMax: 10}.withDefaults(), func([]session.Revision) {})
		written := start(func() { b.run(t.Context()) })
		var many []session.Revision
		for i := range 95 {
			many = append(many, session.Revision{Session: session.Session{ID: session.ID(fmt.Sprint(i))}})
		}
		b.put(nil, many)
		b.put(nil, many)
		b.close()
		<-written
		if len(m.revisions) != 2*len(many) || b.stats.DroppedRevisions != 0 {
			t.Errorf("%d of %d revisions stored, %d dropped", len(m.revisions), 2*len(many), b.stats.DroppedRevisions)
		}
	})
}

func TestSlowReaderMissesOnlyOutput(t *testing.T) {
	o := newOutbox(Options{}.withDefaults(), nil)
	_ = o
	d := newDelivery(func([]session.Revision) {})
	for range deliveryMax + 10 {
		d.put([]session.Revision{{}})
	}
	if n := d.missed.Load(); n != 10 {
		t.Errorf("%d revisions counted as missed, want 10", n)
	}
}

func TestOutboxKeepsTheLatestRevisions(t *testing.T) {
	b := newOutbox(Options{UnsavedMax: 3}.withDefaults(), nil)
	b.failing = true
	rev := func(id string, state session.State) session.Revision {
		return session.Revision{Session: session.Session{ID: session.ID(id), State: state}}
	}
	b.put(nil, []session.Revision{rev("a", session.StateRunning), rev("b", session.StateRunning), rev("a", session.StateEnded)})
	b.put(nil, []session.Revision{rev("c", session.StateRunning)})
	if s := b.status(); s.UnsavedRevisions != 3 || s.DroppedRevisions != 0 {
		t.Fatalf("%+v", s)
	}
	b.put(nil, []session.Revision{rev("d", session.StateRunning)})
	var got []string
	for _, r := range b.revisions {
		got = append(got, string(r.Session.ID)+" "+string(r.Session.State))
	}
	if want := []string{"a ended", "c running", "d running"}; !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	if s := b.status(); s.DroppedRevisions != 1 {
		t.Errorf("%+v", s)
	}
}

// TestRestart: the first run ends in the middle of a story; the second takes its
// session over and comes to the whole of it.
func TestRestart(t *testing.T) {
	observations, begin := story(t, "exec-exact-terminal")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(begin))
		cut := slices.IndexFunc(observations, func(o event.Observation) bool { return o.Head().Time.After(begin.Add(3 * time.Second)) })
		first := &memory{}
		_, stop := running(t, Options{Witnesses: []Named{{Name: "kernel", Witness: tell(observations[:cut])}}, Keeper: first})
		time.Sleep(3 * time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		second := &memory{newest: time.Now()}
		for _, s := range first.last() {
			second.running = append(second.running, s)
		}
		root := second.running[0].Processes[0].ID
		found := []event.Observation{ // what the witnesses find when they start
			event.RuntimeTask{
				Header: head("containerd"), Namespace: "moby", Container: second.running[0].Target.ContainerID,
				ExecID: second.running[0].ExecID, PID: root.PID, Running: true,
			},
			event.WitnessState{Header: head("kernel"), Up: true},
			event.SessionEntry{Header: head("kernel"), Root: root, Cause: event.EntryFound, Container: second.running[0].Target.ContainerID},
		}
		var log strings.Builder
		e, stop := running(t, Options{
			Witnesses: []Named{{Name: "kernel", Witness: tell(append(found, observations[cut:]...))}}, Keeper: second,
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		time.Sleep(60 * time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := e.Status().Resumed; got != 1 {
			t.Errorf("%d sessions taken over, want 1", got)
		}
		if len(second.last()) != 1 {
			t.Errorf("%d sessions after the restart, want 1", len(second.last()))
		}
		for id, s := range second.last() {
			if _, same := first.last()[id]; !same {
				t.Errorf("session %s is a new one", id)
			}
			if s.State != session.StateEnded || s.Actor.User != "bob" || s.Attribution.Level != session.LevelExact || len(s.Processes) != 2 {
				t.Errorf("after the restart: %+v", s)
			}
		}
		if states := second.states("kernel"); len(states) == 0 || states[0] != "Sallyport was not running" {
			t.Errorf("the gap is not stated: %q", states)
		}
		if !strings.Contains(log.String(), `msg="nothing was watched" since=`) {
			t.Errorf("nobody is told of the gap: %s", log.String())
		}
	})
}

// TestStopPublishesTheLastMoment: a command that began just before the end is
// not lost.
func TestStopPublishesTheLastMoment(t *testing.T) {
	observations, begin := story(t, "exec-exact-terminal")
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(begin))
		m := &memory{}
		_, stop := running(t, Options{Witnesses: []Named{{Name: "kernel", Witness: tell(observations)}}, Keeper: m})
		time.Sleep(1100 * time.Millisecond) // 65 ms after it ran
		if len(m.last()) != 0 {
			t.Fatal("already published: the test proves nothing")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if len(m.last()) != 1 {
			t.Errorf("%d sessions stored, want 1", len(m.last()))
		}
	})
}

func TestHungWitnessIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, free := &memory{}, make(chan struct{})
		deaf := witnessFunc(func(_ context.Context, emit func(event.Observation)) error {
			<-free
			for range 20000 { // more than any queue: it must not block for ever
				emit(event.ClientClose{Header: head("deaf")})
			}
			return nil
		})
		e, stop := running(t, Options{Witnesses: []Named{{Name: "deaf", Witness: deaf}, {Name: "w", Witness: up("w")}}, Keeper: m})
		time.Sleep(time.Second)
		began := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("stopping took %v", took)
		}
		close(free)
		synctest.Wait()
		if e.source.strays.Load() == 0 {
			t.Error("what came too late was not counted")
		}
	})
}

func TestNewUsersAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		w := witnessFunc(func(ctx context.Context, emit func(event.Observation)) error {
			for range 3 {
				emit(event.ClientConnect{Header: head("w"), Conn: 1, Peer: event.Peer{Cred: event.Cred{UID: 4242}}})
			}
			<-ctx.Done()
			return nil
		})
		_, stop := running(t, Options{Witnesses: []Named{{Name: "w", Witness: w}}, Keeper: m})
		time.Sleep(time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		named := 0
		for _, o := range m.observations {
			if h, ok := o.(event.Host); ok && h.Users[4242] == "late" {
				named++
			}
		}
		if named != 1 {
			t.Errorf("the user was named %d times, want once", named)
		}
	})
}

func serve(e *Engine, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	e.Handler("test").ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

func TestHandler(t *testing.T) {
	e := New(Options{
		Keeper: &memory{}, Host: nobody{}, Witnesses: []Named{{Name: "w", Witness: up("w")}},
		Sensor: func() Sensor {
			return Sensor{Programs: []Program{{Name: "on_exec", Runs: 2, Time: 3 * time.Microsecond}}}
		},
		Counters: func() map[string]uint64 { return map[string]uint64{"client_requests": 7} },
	})
	if w := serve(e, "/healthz"); w.Code != 200 {
		t.Errorf("healthz answers %d", w.Code)
	}
	if w := serve(e, "/status"); !strings.Contains(w.Body.String(), `"slow_reader"`) {
		t.Errorf("status is %s", w.Body)
	}
	metrics := serve(e, "/metrics").Body.String()
	for _, want := range []string{
		`sallyport_lost_total{reason="process",witness="kernel"} 0`,
		`sallyport_lost_total{reason="store_failing_revisions",witness="engine"} 0`,
		`sallyport_bpf_program_seconds_total{program="on_exec"} 3e-06`,
		`sallyport_client_requests_total 7`,
		`sallyport_store_up 1`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func FuzzParsePasswd(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\nalice:x:1001:1001::/home/alice:/bin/sh\n")
	f.Add("+::::::\n:x:1:\nx:y:-1\nx:y:99999999999\n# comment")
	f.Fuzz(func(t *testing.T, s string) {
		for _, name := range parsePasswd(strings.NewReader(s)) {
			if name == "" || len(name) > nameMax || strings.ContainsAny(name, ":\n") {
				t.Errorf("name %q", name)
			}
		}
	})
}

// TestLossesOfKubernetes: what the witnesses of the API server can lose stands in
// the list at 0, and only where there is such a witness.
func TestLossesOfKubernetes(t *testing.T) {
	e := New(Options{Witnesses: []Named{{Name: event.WitnessAdmission}, {Name: event.WitnessAudit}}})
	e.feed.losses[lossKey{witness: event.WitnessAdmission, what: "admissions"}] = 3
	want := []Loss{{event.WitnessAdmission, "admissions", 3}, {event.WitnessAudit, "dropped", 0}, {event.WitnessAudit, "events", 0}}
	of := func(e *Engine) []Loss {
		return slices.DeleteFunc(e.Status().Losses, func(l Loss) bool { return l.Witness != event.WitnessAdmission && l.Witness != event.WitnessAudit })
	}
	if got := of(e); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if got := of(New(Options{})); len(got) != 0 {
		t.Errorf("without Kubernetes: %+v", got)
	}
}
