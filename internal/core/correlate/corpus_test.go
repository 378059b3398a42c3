package correlate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestCorpus tells the engine the stories of corpus/ and compares what it makes
// of them with what the story says.
func TestCorpus(t *testing.T) {
	for _, s := range corpus(t) {
		t.Run(s.name, func(t *testing.T) {
			s.check(t, feed(s.observations))
		})
	}
}

// TestCorpusInAnyOrder holds the property that the order of arrival inside the
// window does not matter: every observation of a story is delayed by chance,
// and the final sessions are the same.
func TestCorpusInAnyOrder(t *testing.T) {
	for _, s := range corpus(t) {
		t.Run(s.name, func(t *testing.T) {
			want := feed(s.observations)
			rapid.Check(t, func(r *rapid.T) {
				got := feed(delayed(r, s.observations))
				if diff := cmp.Diff(want, got, sameSession); diff != "" {
					r.Fatalf("in another order (-in the story's order +in this one):\n%s", diff)
				}
			})
		})
	}
}

// window is how late an observation may arrive in TestCorpusInAnyOrder: the
// default of correlate.Options.Window.
const window = 2 * time.Second

// sameSession ignores what depends on the way and not on the facts: how often
// a session was revised.
var sameSession = cmp.Options{cmpopts.IgnoreFields(session.Session{}, "Revision"), cmpopts.EquateEmpty()}

// written is one file of corpus/: a comment for people, what the witnesses
// reported in order of arrival, and the sessions that this amounts to.
type written struct {
	name         string
	comment      string
	observations []event.Observation
	sessions     []map[string]any
}

func corpus(t *testing.T) []written {
	t.Helper()
	files, err := filepath.Glob("../../../corpus/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("corpus has %d stories, want at least 20", len(files))
	}
	out := make([]written, 0, len(files))
	for _, file := range files {
		s, err := readStory(file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		out = append(out, s)
	}
	return out
}

func readStory(file string) (written, error) {
	s := written{name: strings.TrimSuffix(filepath.Base(file), ".txtar")}
	data, err := os.ReadFile(file)
	if err != nil {
		return s, err
	}
	ar := txtar.Parse(data)
	s.comment = string(ar.Comment)
	if strings.TrimSpace(s.comment) == "" {
		return s, fmt.Errorf("a story begins with a comment for people")
	}
	if len(ar.Files) != 2 || ar.Files[0].Name != "observations.jsonl" || ar.Files[1].Name != "sessions.jsonl" {
		return s, fmt.Errorf("want observations.jsonl and sessions.jsonl")
	}
	for n, line := range lines(ar.Files[0].Data) {
		o, err := observation(line)
		if err != nil {
			return s, fmt.Errorf("observation %d: %w", n+1, err)
		}
		s.observations = append(s.observations, o)
	}
	for n, line := range lines(ar.Files[1].Data) {
		var want map[string]any
		if err := json.Unmarshal(line, &want); err != nil {
			return s, fmt.Errorf("session %d: %w", n+1, err)
		}
		s.sessions = append(s.sessions, want)
	}
	return s, nil
}

func lines(data []byte) [][]byte {
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return nil
	}
	return bytes.Split(data, []byte("\n"))
}

// observation parses one line and refuses what the wire form would not keep: a
// misspelt field must not make a story weaker than it reads.
func observation(line []byte) (event.Observation, error) {
	o, err := event.Unmarshal(line)
	if err != nil {
		return nil, err
	}
	again, err := event.Marshal(o)
	if err != nil {
		return nil, err
	}
	var a, b any
	if err := json.Unmarshal(line, &a); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(again, &b); err != nil {
		return nil, err
	}
	if diff := story.Diff(a, b, ""); diff != "" {
		return nil, fmt.Errorf("not the wire form: %s", diff)
	}
	return o, nil
}

// feed gives the observations to a new engine and returns the final state of every session that was
// not superseded, by time of start.
func feed(observations []event.Observation) []session.Session {
	e := correlate.New(correlate.Options{})
	last := make(map[session.ID]session.Session)
	keep := func(revisions []session.Revision) {
		for _, r := range revisions {
			last[r.Session.ID] = r.Session
		}
	}
	for _, o := range observations {
		keep(e.Observe(o))
	}
	keep(e.Flush())
	out := slices.Collect(maps.Values(last))
	out = slices.DeleteFunc(out, func(s session.Session) bool { return s.SupersededBy != "" })
	slices.SortFunc(out, func(a, b session.Session) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return out
}

// delayed returns the observations in an order in which they could arrive if
// each were up to window late.
func delayed(r *rapid.T, observations []event.Observation) []event.Observation {
	type arrival struct {
		at time.Time
		o  event.Observation
	}
	late := rapid.SliceOfN(rapid.Int64Range(0, int64(window)-1), len(observations), len(observations)).Draw(r, "delay")
	now := time.Time{}
	arrivals := make([]arrival, len(observations))
	for i, o := range observations {
		// A story may itself tell of something late: its own order counts.
		if t := o.Head().Time; t.After(now) {
			now = t
		}
		d := time.Duration(late[i])
		if _, tick := o.(event.Tick); tick {
			d = window // a tick says that everything before it is there
		}
		arrivals[i] = arrival{now.Add(d), o}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return a.at.Compare(b.at) })
	out := make([]event.Observation, len(arrivals))
	for i, a := range arrivals {
		out[i] = a.o
	}
	return out
}

// begin is the time of the first observation as JSON has it.
func (s written) begin() string {
	if len(s.observations) == 0 {
		return ""
	}
	return s.observations[0].Head().Time.Format(time.RFC3339Nano)
}

// check compares final sessions with what the story expects: each expectation
// met by a session of its own, and no session more, except the containers that
// ran before the story began.
func (s written) check(t *testing.T, got []session.Session) {
	t.Helper()
	objects := make([]any, len(got))
	for i, g := range got {
		b, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &objects[i]); err != nil {
			t.Fatal(err)
		}
	}
	free := slices.Clone(objects)
	background := func(o any) bool { return o.(map[string]any)["started"].(string) < s.begin() }
	for n, want := range s.sessions {
		i := slices.IndexFunc(free, func(o any) bool { return story.Diff(want, o, "") == "" })
		if i >= 0 {
			free = slices.Delete(free, i, i+1)
			continue
		}
		nearest := "there is none left"
		if i := slices.IndexFunc(free, func(o any) bool { return !background(o) }); i >= 0 {
			nearest = story.Diff(want, free[i], "")
		}
		t.Errorf("no session is as the story says in line %d: %s", n+1, nearest)
	}
	if free = slices.DeleteFunc(free, background); len(free) > 0 && !t.Failed() {
		t.Errorf("%d sessions more than the story has", len(free))
	}
	if t.Failed() {
		for _, o := range objects {
			b, _ := json.MarshalIndent(o, "", "  ")
			t.Logf("session:\n%s", b)
		}
		t.Logf("the story:\n%s", s.comment)
	}
}
