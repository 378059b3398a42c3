package policy

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/replay"
)

// corpus returns every session that the stories of corpus/ come to.
func corpus(t testing.TB) []session.Session {
	t.Helper()
	files, err := filepath.Glob("../../../corpus/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var out []session.Session
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input := func(yield func(event.Observation, error) bool) {
			for line := range bytes.Lines(bytes.TrimSpace(txtar.Parse(data).Files[0].Data)) {
				if o, err := event.Unmarshal(line); !yield(o, err) || err != nil {
					return
				}
			}
		}
		result, err := replay.Play(input, correlate.Options{}, nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, result.Sessions...)
	}
	return out
}

// No session has a field of which the catalogue says that its channel never
// has it: such a rule would be refused, or called blind, though it is not.
func TestNeverIsTrue(t *testing.T) {
	sessions, checked := corpus(t), map[string]int{}
	for path := range unknowns {
		set := load(t, withCondition("has(session."+path+")"))
		for _, s := range sessions {
			if supplies(s.Channel, path) {
				continue
			}
			checked[path]++
			if a := judge(set, &s); a.yes && !falseFlag(path) {
				t.Errorf("%s: a session of %s has session.%s, kind %s", s.ID, s.Channel, path, s.Kind)
			}
		}
	}
	if len(checked) < 10 {
		t.Errorf("only %d fields are never there: %v", len(checked), checked)
	}
}

// falseFlag reports whether a field is a flag: those have a value always.
func falseFlag(path string) bool { return path == "privileged" || strings.HasSuffix(path, ".deputy") }

// The catalogue's channels and those of sessions are known to enums.
func TestCorpusSpeaksOfKnownValues(t *testing.T) {
	known := enums(channels())
	for _, s := range corpus(t) {
		for field, v := range map[string]string{
			"kind": string(s.Kind), "channel": string(s.Channel), "state": string(s.State), "attribution.level": string(s.Attribution.Level),
		} {
			if !strings.Contains(" "+strings.Join(known[field], " ")+" ", " "+v+" ") {
				t.Errorf("%s %q", field, v)
			}
		}
	}
}

// Rules of every kind can be asked about everything that the engine makes.
func TestCorpusCanBeReviewed(t *testing.T) {
	var text strings.Builder
	text.WriteString("version: 1\ndefault: allow\nlists: {spaces: [prod], admins: [x]}\nrules:\n")
	for i, c := range conditions {
		text.WriteString("  - {id: r" + string(rune('a'+i)) + ", effect: alert, severity: low, when: '" + c + "'}\n")
	}
	e := NewEngine(load(t, text.String()))
	n := 0
	for _, s := range corpus(t) {
		n += len(e.Observe(s))
	}
	n += len(e.Flush())
	if errs := e.Stats().Errors; n == 0 || len(errs) > 0 {
		t.Errorf("%d findings, errors %v", n, errs)
	}
}
