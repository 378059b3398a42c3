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
)

// TestRecorded plays every story of corpus/ to the engine and its sessions to
// the pack, and compares what is found with testdata/recorded.txt: so the rules
// are held to what the engine makes of observations, and not only to sessions
// that somebody wrote down. A story that is not listed there finds nothing.
func TestRecorded(t *testing.T) {
	set := load(t, pack(t, false))
	want := recorded(t)
	files, err := filepath.Glob("../corpus/*.txtar")
	if err != nil || len(files) < 80 {
		t.Fatalf("%d stories, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			got, final := find(t, set, file)
			var rules []string
			for _, ids := range got {
				rules = append(rules, ids...)
			}
			slices.Sort(rules)
			if !slices.Equal(rules, want[name]) {
				t.Errorf("found %v, recorded.txt says %v", rules, want[name])
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
	rules, found := policy.NewEngine(set), make(map[session.ID][]string)
	note := func(all []finding.Finding) {
		for _, f := range all {
			found[f.Session] = append(found[f.Session], f.Rule)
		}
	}
	played, err := replay.Play(observations(txtar.Parse(data).Files[0].Data), correlate.Options{}, func(r session.Revision) error {
		note(rules.Observe(r.Session))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	note(rules.Flush())
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

// recorded reads testdata/recorded.txt: a story and the rules that find, a line
// each; # begins a comment.
func recorded(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("testdata/recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]string)
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			slices.Sort(words[1:])
			out[words[0]] = words[1:]
		}
	}
	return out
}
