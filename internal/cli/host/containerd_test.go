package host

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

// TestChorus: two containerds are one witness, which is up while both are.
func TestChorus(t *testing.T) {
	var got []event.Observation
	c := newChorus(func(o event.Observation) { got = append(got, o) })
	c.join("docker", true)
	c.join("node", false)
	docker, node := c.part("docker"), c.part("node")
	expect := func(what string, want ...event.Observation) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", what, d)
		}
		got = nil
	}
	node(state(false, 1))
	expect("one that was never up and is not needed")
	node(state(true, 2))
	expect("the needed one has not said anything")
	docker(state(true, 3))
	both := state(true, 3)
	both.DaemonPID = 0
	expect("both are up", both)
	node(state(false, 4))
	expect("one is down", state(false, 4))
	docker(event.RuntimeEvent{Container: "c"})
	docker(state(true, 5))
	expect("what else is said passes", event.RuntimeEvent{Container: "c"})
	node(state(true, 6))
	both = state(true, 6)
	both.DaemonPID = 0
	expect("both are up again", both)
}

// TestChorusOfOne: a single containerd is what it is.
func TestChorusOfOne(t *testing.T) {
	var got []event.Observation
	c := newChorus(func(o event.Observation) { got = append(got, o) })
	c.join("docker", true)
	say := c.part("docker")
	want := []event.Observation{state(false, 1), state(true, 2), state(false, 3)}
	for _, o := range want {
		say(o)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func state(up bool, at int) event.WitnessState {
	t := time.Unix(int64(at), 0).UTC()
	s := event.WitnessState{Header: event.Header{Time: t, Witness: event.WitnessContainerd}, Up: up, DaemonPID: 7}
	if up {
		s.From = t
	}
	return s
}
