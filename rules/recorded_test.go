package rules_test

import (
	"bytes"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/replay"
	"github.com/sallyport/sallyport/rules"
)

// TestRecorded plays every story of corpus/ to the engine and its sessions to
// the pack, and compares what is found with testdata/recorded.txt: so the rules
// are held to what the engine makes of observations, and not only to sessions
// that somebody wrote down. A story that is not listed there finds nothing.
func TestRecorded(t *testing.T) {
	set := load(t, pack(t, false))
	want := rules.Recorded()
	files, err := filepath.Glob("../corpus/*.txtar")
	if err != nil || len(files) < 80 {
		t.Fatalf("%d stories, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			got, final := find(t, set, file)
			var all []string
			for _, ids := range got {
				all = append(all, ids...)
			}
			slices.Sort(all)
			if !slices.Equal(all, want[name]) {
				t.Errorf("found %v, recorded.txt says %v", all, want[name])
			}
			for _, s := range final {
				if s.Unexplained.Is && len(got[s.ID]) == 0 {
					t.Errorf("session %s is unexplained (%s), and no rule says so", s.ID, s.Unexplained.Reason)
				}
			}
		})
		delete(want, name)
	}
	for name := range want {
		t.Errorf("recorded.txt has a story %q that does not exist", name)
	}
}

// find plays a story and returns the rules that found something, by session, and
// the last revision of each session.
func find(t *testing.T, set *policy.Set, file string) (map[session.ID][]string, []session.Session) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	engine, found := policy.NewEngine(set), make(map[session.ID][]string)
	note := func(all []finding.Finding) {
		for _, f := range all {
			found[f.Session] = append(found[f.Session], f.Rule)
		}
	}
	heard := func(yield func(event.Observation, error) bool) {
		for o, err := range observations(txtar.Parse(data).Files[0].Data) {
			if err == nil {
				note(engine.Hear(o))
			}
			if !yield(o, err) {
				return
			}
		}
	}
	played, err := replay.Play(heard, correlate.Options{}, func(r session.Revision) error {
		note(engine.Observe(r.Session))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	note(engine.Flush())
	return found, played.Sessions
}

// observations reads one observation a line.
func observations(data []byte) iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		for line := range bytes.Lines(bytes.TrimSpace(data)) {
			if !yield(event.Unmarshal(bytes.TrimSpace(line))) {
				return
			}
		}
	}
}
