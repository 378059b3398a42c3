package cli

import (
	"testing"
	"time"
)

func TestRhythm(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	r := rhythm{periods: map[string][]time.Duration{"check": {4 * time.Second}}}
	if r.due("check", at(0)) {
		t.Error("due before any has come")
	}
	r.beat("check", at(0))
	r.beat("check", at(500)) // another probe with the same command
	r.beat("other", at(0))
	for _, tt := range []struct {
		ms   int
		want bool
	}{{100, false}, {3700, false}, {3850, true}, {4020, true}, {4200, false}, {4350, true}, {4600, false}} {
		if got := r.due("check", at(tt.ms)); got != tt.want {
			t.Errorf("after %d ms: due %v", tt.ms, got)
		}
	}
	r.beat("check", at(4003))
	if r.due("check", at(4010)) {
		t.Error("due although it has just come")
	}
	if r.due("other", at(3990)) {
		t.Error("a command that is no probe's is due")
	}
}
