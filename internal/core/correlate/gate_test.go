package correlate_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestGate: whom the socket gate stopped is one session for each process and socket,
// in any order; whom it only saw is none.
func TestGate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newWorld(false)
		type key struct {
			id     event.ProcessID
			socket event.Text
		}
		peers := []event.Peer{s.peer(1001), s.peer(1001), s.peer(0)}
		want := map[key][2]time.Time{}
		for range rapid.IntRange(0, 12).Draw(t, "connects") {
			s.later(time.Duration(rapid.IntRange(1, 2000).Draw(t, "later")) * time.Millisecond)
			o := event.GateSighting{
				Header: s.head(event.WitnessGate), Peer: rapid.SampledFrom(peers).Draw(t, "peer"),
				Socket:  rapid.SampledFrom([]event.Text{"/run/docker.sock", "/run/containerd.sock"}).Draw(t, "socket"),
				Verdict: rapid.SampledFrom([]event.GateVerdict{event.GateSeen, event.GateRefused, event.GateKilled}).Draw(t, "verdict"),
			}
			s.add(o)
			if o.Verdict == event.GateSeen {
				continue
			}
			k := key{o.Peer.ID, o.Socket}
			span, ok := want[k]
			if span[1] = o.Time; !ok {
				span[0] = o.Time
			}
			want[k] = span
		}
		for _, got := range finally(shuffle(s.obs, rapid.Int64().Draw(t, "order"))) {
			k := key{got.Actor.Process, event.Text(got.Path)}
			span, ok := want[k]
			delete(want, k)
			if !ok || !got.Started.Equal(span[0]) || got.Ended == nil || !got.Ended.Equal(span[1]) || got.State != session.StateFailed ||
				got.Attribution.Level != session.LevelExact || got.Decision == nil || !got.Decision.Stopped || got.Unexplained.Is {
				t.Fatalf("%+v, want %v", got, span)
			}
		}
		if len(want) > 0 {
			t.Fatalf("missing: %v", want)
		}
	})
}
