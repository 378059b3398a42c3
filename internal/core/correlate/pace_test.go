package correlate

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// TestPace: where execs take long to run, requests may have waited long for theirs,
// also shortly before and after; elsewhere nothing changes.
func TestPace(t *testing.T) {
	start := time.Unix(1000, 0)
	made := func(at, took time.Duration) *exec {
		h := func(d time.Duration) event.Header { return event.Header{Time: start.Add(d)} }
		return &exec{life: life{added: &event.RuntimeEvent{Header: h(at)}, started: &event.RuntimeEvent{Header: h(at + took)}}}
	}
	p := pace{}
	p.note(made(0, 300*time.Millisecond)) // as ever
	p.note(&exec{life: life{added: &event.RuntimeEvent{Header: event.Header{Time: start}}}})
	if got := p.lags(start); len(p) != 0 || got != (lags{syncLag, streamLag}) {
		t.Errorf("%d seconds noted, lags %v", len(p), got)
	}
	p.note(made(60*time.Second, time.Second))
	p.note(made(60*time.Second, 800*time.Millisecond))
	for at, want := range map[time.Duration]lags{
		0: {syncLag, streamLag}, 50 * time.Second: {6 * time.Second, 9 * time.Second}, 70 * time.Second: {6 * time.Second, 9 * time.Second},
		80 * time.Second: {syncLag, streamLag},
	} {
		if got := p.lags(start.Add(at)); got != want {
			t.Errorf("after %v: %v, want %v", at, got, want)
		}
	}
	p.note(made(61*time.Second, time.Minute))
	if got := p.lags(start.Add(61 * time.Second)); got != (lags{streamWait, streamWait}) {
		t.Errorf("lags %v", got)
	}
	p.forget(start.Add(time.Hour))
	if len(p) != 0 {
		t.Error("nothing was forgotten")
	}
}
