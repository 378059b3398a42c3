package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

// TestStatements: what witnesses say of themselves is found among all else, in its
// order, and since when things are kept.
func TestStatements(t *testing.T) {
	s := open(t, t.TempDir())
	if _, ok, err := s.Oldest(t.Context()); ok || err != nil {
		t.Errorf("of an empty store: %v, %v", ok, err)
	}
	at := func(n int) event.Header {
		return event.Header{Time: time.Unix(int64(1000+n), 0).UTC(), Witness: event.WitnessAudit}
	}
	want := []event.Observation{
		event.Host{Header: at(5), Hostname: "h"}, event.WitnessState{Header: at(6), Up: true, From: at(1).Time},
		event.Loss{Header: at(4), From: at(3).Time, Count: 2, What: "events"}, event.WitnessState{Header: at(9), Reason: "loss"},
	}
	for _, o := range want {
		noise := event.ClientClose{Header: at(7)}
		if _, err := s.Append(t.Context(), Batch{Observations: []event.Observation{noise, o, noise}}); err != nil {
			t.Fatal(err)
		}
	}
	var got []event.Observation
	for o, err := range s.Statements(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	oldest := func() time.Time {
		when, ok, err := s.Oldest(t.Context())
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		return when
	}
	if when := oldest(); !when.Equal(at(4).Time) {
		t.Errorf("kept since %v", when)
	}
	early := sess(1, ended)
	early.Started, *early.Ended = at(0).Time, at(2).Time
	add(t, s, early)
	if when := oldest(); !when.Equal(at(2).Time) {
		t.Errorf("with an earlier session, kept since %v", when)
	}
}
