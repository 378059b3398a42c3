package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestRecordsSayWhatIsGone reads revisions and findings in order, and counts what
// retention took away between two of them.
func TestRecordsSayWhatIsGone(t *testing.T) {
	now := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	s, err := Open(filepath.Join(t.TempDir(), "state"), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	add := func(id string, at time.Time) {
		t.Helper()
		f := finding.Finding{ID: finding.NewID("r", id), Rule: "r", Title: "t", Time: at, Subject: id, Session: session.ID(id)}
		_, err := s.Append(t.Context(), Batch{
			Revisions: []session.Revision{{Session: session.Session{ID: session.ID(id), State: session.StateEnded, Started: at, Ended: &at}, Changed: []string{"new"}}},
			Findings:  []finding.Finding{f},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(after int64) (out []Record) {
		t.Helper()
		for r, err := range s.Records(t.Context(), after) {
			if err != nil {
				t.Fatal(err)
			}
			if (r.Revision == nil) == (r.Finding == nil) {
				t.Fatalf("%+v", r)
			}
			out = append(out, r)
		}
		return out
	}
	for _, id := range []string{"aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"} {
		add(id, now.Add(-48*time.Hour))
	}
	add("cccccccccccccccc", now)
	all := read(-1)
	if len(all) != 6 || all[0].Revision == nil || all[1].Finding == nil || all[5].Gone != 0 {
		t.Fatalf("%+v", all)
	}
	if _, err := s.Prune(t.Context(), Retention{Age: 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	rest := read(all[0].Position)
	if len(rest) != 2 || rest[0].Position != all[4].Position || rest[0].Gone != 3 || rest[1].Gone != 0 {
		t.Errorf("%+v", rest)
	}
}
