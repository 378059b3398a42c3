package starts

import (
	"testing"
	"time"
)

func TestRhythm(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	every, lead := []time.Duration{4 * time.Second}, 200*time.Millisecond
	r := rhythm{}
	if r.due("check", every, at(0), lead) {
		t.Error("due before any has come")
	}
	r.beat("check", at(0))
	r.beat("check", at(500)) // another probe with the same command
	for _, tt := range []struct {
		ms   int
		want bool
	}{{100, false}, {3700, false}, {3850, true}, {4020, true}, {4200, false}, {4350, true}, {4600, false}} {
		if got := r.due("check", every, at(tt.ms), lead); got != tt.want {
			t.Errorf("after %d ms: due %v", tt.ms, got)
		}
	}
	r.beat("check", at(4003))
	if r.due("check", every, at(4010), lead) {
		t.Error("due although it has just come")
	}
	if r.due("other", every, at(3990), lead) {
		t.Error("a command that was never asked for is due")
	}
}

// TestStrange: until each probe of a new container has come once, any may come.
func TestStrange(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	every := []time.Duration{4 * time.Second, 2 * time.Second}
	r := rhythm{since: start}
	r.beat("check", at(500))
	if !r.strange("check", every, at(600)) || r.strange("check", every[:1], at(600)) {
		t.Error("one of two has come")
	}
	if r.strange("check", every, at(4100)) {
		t.Error("what has not come in a period does not run")
	}
	r.beat("check", at(900))
	if r.strange("check", every, at(1000)) {
		t.Error("both have come")
	}
}
