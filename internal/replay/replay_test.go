package replay_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/replay"
)

func read(t *testing.T, file string) []event.Observation {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []event.Observation
	for line := range bytes.Lines(bytes.TrimSpace(txtar.Parse(data).Files[0].Data)) {
		o, err := event.Unmarshal(line)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, o)
	}
	return out
}

func play(observations []event.Observation, end error) (replay.Result, []session.Revision, error) {
	var revisions []session.Revision
	result, err := replay.Play(func(yield func(event.Observation, error) bool) {
		for _, o := range observations {
			if !yield(o, nil) {
				return
			}
		}
		if end != nil {
			yield(nil, end)
		}
	}, correlate.Options{}, func(r session.Revision) error {
		revisions = append(revisions, r)
		return nil
	})
	return result, revisions, err
}

// TestSameOnEveryRun plays every story of the corpus several times: sessions
// and revisions are the same to the byte, and revisions count from 1.
func TestSameOnEveryRun(t *testing.T) {
	files, err := filepath.Glob("../../corpus/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, file := range files {
		observations := read(t, file)
		var first []byte
		for range 5 {
			result, revisions, err := play(observations, nil)
			if err != nil {
				t.Fatal(err)
			}
			last := map[session.ID]uint32{}
			for _, r := range revisions {
				if last[r.Session.ID]++; r.Session.Revision != last[r.Session.ID] {
					t.Errorf("%s: session %s: revision %d after %d", file, r.Session.ID, r.Session.Revision, last[r.Session.ID]-1)
				}
			}
			got, err := json.Marshal([]any{result, revisions})
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = got
			}
			if !bytes.Equal(got, first) {
				t.Fatalf("%s: two runs differ:\n%s\n%s", file, first, got)
			}
		}
	}
}

// TestBrokenInput: what came before the damage counts.
func TestBrokenInput(t *testing.T) {
	broken := errors.New("line 12: damaged")
	observations := read(t, "../../corpus/exec-exact-terminal.txtar")
	result, _, err := play(observations, broken)
	if !errors.Is(err, broken) || result.Observations != len(observations) || len(result.Sessions) == 0 {
		t.Errorf("%d sessions of %d observations, %v", len(result.Sessions), result.Observations, err)
	}
}
