package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/session"
)

func stated(n int, state session.RecordingState, size int64) session.Recording {
	at := time.Date(2026, 11, 2, 10, n, 0, 0, time.UTC)
	return session.Recording{
		ID: fmt.Sprintf("r%d", n), State: state, Time: at.Add(time.Duration(size)), Started: at, Session: session.ID(fmt.Sprintf("s%d", n)),
		Container: "c", Exec: "e", Size: size, Hash: strings.Repeat("0", 64),
	}
}

func say(t *testing.T, s *Store, list ...session.Recording) {
	t.Helper()
	if _, err := s.Append(t.Context(), Batch{Recordings: list}); err != nil {
		t.Fatal(err)
	}
}

func recordings(t *testing.T, r *Reader) (out []session.Recording) {
	t.Helper()
	for rec, err := range r.Recordings(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rec)
	}
	return out
}

func TestTheStatementThatProvesMostCounts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	say(t, s, stated(2, session.RecordingBegun, 10), stated(1, session.RecordingBegun, 10))
	say(t, s, stated(1, session.RecordingRunning, 30))
	say(t, s, stated(1, session.RecordingRunning, 20)) // late
	say(t, s, stated(2, session.RecordingEnded, 40), stated(2, session.RecordingRunning, 50))
	want := []session.Recording{stated(1, session.RecordingRunning, 30), stated(2, session.RecordingEnded, 40)}
	if diff := cmp.Diff(want, recordings(t, s.Reader)); diff != "" {
		t.Error(diff)
	}
	if r, err := s.Recording(t.Context(), "r2"); err != nil || r != want[1] {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := s.Recording(t.Context(), "r3"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if rep := verify(t, dir, VerifyOptions{}); rep.Damage != nil || rep.Recordings != 2 || rep.Records != 4 {
		t.Errorf("%+v", rep)
	}
	for _, bad := range []session.Recording{{State: session.RecordingBegun}, {ID: "x", State: "odd"}} {
		if _, err := s.Append(t.Context(), Batch{Recordings: []session.Recording{bad}}); err == nil {
			t.Errorf("stored %+v", bad)
		}
	}
}

func TestForgottenRecordingsStayProven(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	say(t, s, stated(1, session.RecordingBegun, 10), stated(2, session.RecordingBegun, 10))
	say(t, s, stated(1, session.RecordingEnded, 30))
	if err := s.ForgetRecordings(t.Context(), "age", []string{"r1", "none"}); err != nil {
		t.Fatal(err)
	}
	if got := recordings(t, s.Reader); len(got) != 1 || got[0].ID != "r2" {
		t.Errorf("%+v", got)
	}
	if rep := verify(t, dir, VerifyOptions{}); rep.Damage != nil || rep.Pruned != 2 || rep.Recordings != 1 {
		t.Errorf("%+v", rep)
	}
	before, _ := s.Checkpoint(t.Context())
	if err := s.ForgetRecordings(t.Context(), "age", []string{"none"}); err != nil {
		t.Fatal(err)
	}
	if after, _ := s.Checkpoint(t.Context()); string(after) != string(before) {
		t.Error("nothing was forgotten, and the ledger says so")
	}
}

func TestChangedStatementsAreFound(t *testing.T) {
	for name, query := range map[string]string{
		"a row changed":   `UPDATE recording SET size = 31 WHERE id = 'r1'`,
		"a row removed":   `DELETE FROM recording WHERE id = 'r1'`,
		"a row invented":  `INSERT INTO recording VALUES ('r9', 1, 'ended', 1, 1, '')`,
		"content removed": `UPDATE record SET body = NULL WHERE seq = 1`,
		"another kind":    `UPDATE record SET kind = 3 WHERE seq = 1`,
		"another place":   `UPDATE record SET prev = NULL WHERE seq = 2`,
	} {
		dir := t.TempDir()
		s := open(t, dir)
		say(t, s, stated(1, session.RecordingBegun, 10), stated(1, session.RecordingRunning, 20), stated(1, session.RecordingEnded, 30))
		if _, err := raw(t, dir).Exec(query); err != nil {
			t.Fatal(name, err)
		}
		if d := verify(t, dir, VerifyOptions{}).Damage; d == nil {
			t.Errorf("%s: proven", name)
		}
	}
}
