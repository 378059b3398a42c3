package rules_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/playback"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
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
				if s.Unexplained.Is && s.SupersededBy == "" && len(got[s.ID]) == 0 && !(s.State == session.StateFailed) {
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
func find(t *testing.T, set *policy.Set, file string) (map[session.ID][]string, map[session.ID]session.Session) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	player, rules := playback.New(correlate.New(correlate.Options{})), policy.NewEngine(set)
	found, final := make(map[session.ID][]string), make(map[session.ID]session.Session)
	observe := func(revisions []session.Revision) {
		for _, r := range revisions {
			final[r.Session.ID] = r.Session
			for _, f := range rules.Observe(r.Session) {
				found[f.Session] = append(found[f.Session], f.Rule)
			}
		}
	}
	for line := range bytes.Lines(bytes.TrimSpace(txtar.Parse(data).Files[0].Data)) {
		o, err := event.Unmarshal(bytes.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		observe(player.Observe(o))
	}
	observe(player.Flush())
	for _, f := range rules.Flush() {
		found[f.Session] = append(found[f.Session], f.Rule)
	}
	return found, maps.Clone(final)
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
