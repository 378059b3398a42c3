package audit

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

// aviary runs a canary, every 30 s as up does, that must be back within 2 min, beside a feed
// that is up. Its sink's states are said, and which canary comes back when is up
// to the test.
type aviary struct {
	sink  *sink
	began time.Time

	mu     sync.Mutex
	tokens []string             // guarded by mu
	said   []event.WitnessState // guarded by mu
}

func newAviary(t *testing.T) *aviary { return aviaryOf(t, 30*time.Second) }

func aviaryOf(t *testing.T, every time.Duration) *aviary {
	a := &aviary{began: time.Now()}
	w := New(Options{Canary: &CanaryOptions{
		Key: []byte("0123456789abcdef"), Every: every, Within: 2 * time.Minute,
		Probe: func(_ context.Context, token string) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.tokens = append(a.tokens, token)
			return nil
		},
	}})
	a.sink = newSink(w, func(o event.Observation) {
		if s, ok := o.(event.WitnessState); ok {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.said = append(a.said, s)
		}
	})
	a.sink.expect(feedLog)
	a.sink.up(feedLog, a.began, "")
	a.said = nil
	ctx, cancel := context.WithCancel(t.Context())
	go a.sink.canary.run(ctx, a.sink)
	t.Cleanup(cancel)
	return a
}

// at waits until some seconds after the beginning.
func (a *aviary) at(seconds int) {
	time.Sleep(time.Until(a.began.Add(time.Duration(seconds)*time.Second + time.Millisecond)))
	synctest.Wait()
}

// back has the canaries come back that were sent at these seconds.
func (a *aviary) back(sent ...int) {
	for _, s := range sent {
		a.mu.Lock()
		token := a.tokens[s/30]
		a.mu.Unlock()
		a.sink.request(event.KubeRequest{
			Op: event.KubeExec, Namespace: CanaryNamespace, Pod: canaryPrefix + token, Code: http.StatusNotFound,
			Received: a.began.Add(time.Duration(s) * time.Second),
		})
	}
}

// span is a state in seconds since the beginning: from when it holds and, if it
// is up, from when nothing is missing.
type span struct {
	Up       bool
	At, From int
	Silent   bool
}

func (a *aviary) spans() []span {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []span
	for _, s := range a.said {
		p := span{Up: s.Up, At: int(s.Time.Sub(a.began).Seconds()), Silent: strings.Contains(s.Reason, "silent")}
		if s.Up {
			p.From = int(s.From.Sub(a.began).Seconds())
		}
		out = append(out, p)
	}
	a.said = nil
	return out
}

// TestCanaryOverlap: canaries are sent faster than they are given up. A feed
// that falls silent is noticed all the same, and back to the last one that came.
func TestCanaryOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAviary(t)
		expect := func(want ...span) {
			t.Helper()
			if d := cmp.Diff(want, a.spans()); d != "" {
				t.Error(d)
			}
		}
		a.at(35)
		a.back(0, 30)
		a.at(179)
		expect()
		a.at(181)
		expect(span{At: 30, Silent: true})
		a.at(400)
		expect()
		a.back(390)
		expect(span{Up: true, At: 400, From: 390})
		if n := a.sink.w.Stats().Gaps; n != 1 {
			t.Errorf("%d gaps", n)
		}

		a.at(535)
		expect() // what was on its way meanwhile is of the same gap
		a.at(541)
		expect(span{At: 390, Silent: true})
		a.back(420, 450) // late, and in order: nothing was missed
		expect(span{Up: true, At: 541, From: 390})
		if n := a.sink.w.Stats().Gaps; n != 1 {
			t.Errorf("%d gaps", n)
		}
	})
}

// TestCanaryLost: one canary is lost between others. The feed is never silent,
// and what it missed is stated once.
func TestCanaryLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAviary(t)
		a.at(31)
		a.back(0, 30)
		a.at(151)
		a.back(150, 120) // webhook batches may overtake each other
		a.at(179)
		if got := a.spans(); got != nil {
			t.Errorf("early: %+v", got)
		}
		a.back(90)
		a.at(185)
		want := []span{{At: 30}, {Up: true, At: 180, From: 90}}
		if d := cmp.Diff(want, a.spans()); d != "" {
			t.Error(d)
		}
		a.back(60) // late after all: it stays stated
		a.back(180)
		a.at(250)
		if got := a.spans(); got != nil {
			t.Errorf("late: %+v", got)
		}
		if _, waiting := a.sink.canary.late(time.Now()); !waiting.Equal(a.began.Add(210 * time.Second)) {
			t.Errorf("waits for the canary of %v", waiting.Sub(a.began))
		}
		if n := a.sink.w.Stats().Gaps; n != 1 {
			t.Errorf("%d gaps", n)
		}
	})
}

// TestManyCanaries: also of those that are sent every second none is forgotten
// before it is late.
func TestManyCanaries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := aviaryOf(t, time.Second)
		a.at(121)
		if d := cmp.Diff([]span{{At: 0, Silent: true}}, a.spans()); d != "" {
			t.Error(d)
		}
		a.at(1200)
		if n := len(a.sink.canary.sent); n > 150 {
			t.Errorf("%d canaries are remembered", n)
		}
	})
}
