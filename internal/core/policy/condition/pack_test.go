package condition

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/sample"
)

// ruleFile is what a file of rules has of conditions.
type ruleFile struct {
	Lists  map[string][]string
	Values map[string]any
	Rules  []struct {
		When     string
		Sequence struct{ Steps []struct{ When string } }
	}
}

// testFile is what a file of rule tests has of sessions.
type testFile struct {
	Tests []struct {
		Session, Request map[string]any
		Sessions         []map[string]any
	}
}

// TestPlan: a plan says what the library says, of each condition of the pack,
// about each session that the stories of corpus/ come to and each of the pack's
// own tests.
func TestPlan(t *testing.T) {
	l, texts, sessions := pack(t)
	all := bothWays(t, l, texts)
	planned := 0
	for _, b := range all {
		if b.planned.parts != nil {
			planned++
		}
	}
	if planned < len(all)*9/10 {
		t.Errorf("of %d conditions only %d are planned", len(all), planned)
	}
	sessions = append(sessions, sample.Corpus(t, "../../../../corpus")...)
	if len(all) < 60 || len(sessions) < 300 {
		t.Fatalf("%d conditions, %d sessions", len(all), len(sessions))
	}
	for i := range sessions {
		for _, b := range all {
			b.compare(t, &sessions[i])
		}
	}
}

// pack returns the conditions of the shipped pack and the sessions of its tests.
func pack(t *testing.T) (l *Language, texts []string, sessions []session.Session) {
	t.Helper()
	lists, values := map[string][]string{}, map[string]any{}
	for _, name := range packNames(t) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".test.yaml") {
			sessions = append(sessions, tested(t, data)...)
			continue
		}
		var f ruleFile
		if err := yaml.Load(data, &f); err != nil {
			t.Fatal(name, err)
		}
		maps.Copy(lists, f.Lists)
		for name, v := range f.Values {
			values[name] = tunable(v)
		}
		for _, r := range f.Rules {
			if r.When != "" {
				texts = append(texts, r.When)
			}
			for _, step := range r.Sequence.Steps {
				texts = append(texts, step.When)
			}
		}
	}
	return language(t, lists, values), texts, sessions
}

// tested returns the sessions of a file of rule tests.
func tested(t *testing.T, data []byte) []session.Session {
	t.Helper()
	var f testFile
	if err := yaml.Load(data, &f); err != nil {
		t.Fatal(err)
	}
	var out []session.Session
	for _, test := range f.Tests {
		for _, v := range append(test.Sessions, test.Session, test.Request) {
			if v != nil {
				out = append(out, written(t, v))
			}
		}
	}
	return out
}

func packNames(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"../../../../rules/*.yaml", "../../../../rules/procedures/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatal(pattern, err)
		}
		out = append(out, names...)
	}
	return out
}

// tunable returns a value as the language takes it.
func tunable(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case string:
		if d, err := time.ParseDuration(v); err == nil {
			return d
		}
	}
	return v
}

// written returns a session as a test writes it, with the least of what tests
// leave out.
func written(t *testing.T, v map[string]any) session.Session {
	t.Helper()
	s := session.Session{
		ID: "aaaaaaaaaaaaaaaa", Kind: session.KindExec, State: session.StateEnded, Started: sample.At, ArgvSource: "request",
		Attribution: session.Attribution{Level: session.LevelExact},
	}
	body, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}
