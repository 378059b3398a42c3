package field

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/sample"
)

func corpus(t *testing.T) []session.Session { return sample.Corpus(t, "../../../../corpus") }

// No session has a field of which the catalogue says that its channel never
// has it: such a rule would be refused, or called blind, though it is not.
func TestNeverIsTrue(t *testing.T) {
	sessions, checked := corpus(t), map[string]int{}
	for path := range unknowns {
		for _, s := range sessions {
			if Supplies(s.Channel, path) {
				continue
			}
			checked[path]++
			if has(&s, path) && !falseFlag(path) {
				t.Errorf("%s: a session of %s has session.%s, kind %s", s.ID, s.Channel, path, s.Kind)
			}
		}
	}
	if len(checked) < 10 {
		t.Errorf("only %d fields are never there: %v", len(checked), checked)
	}
}

// has is has() of a field of a session.
func has(s *session.Session, path string) bool {
	v := &View{}
	v.Begin(s, &s.Actor, false)
	at, all := v.Self(), All()
	names := strings.Split(path, ".")
	for i, name := range names {
		object, ok := at.(*value.Object)
		if !ok {
			return false
		}
		fields := all[object.Kind]
		f := fields[slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })]
		if i == len(names)-1 {
			return f.HasValue(object.It)
		}
		at = f.Read(object.It)
	}
	return false
}

// falseFlag reports whether a field is a flag: those have a value always.
func falseFlag(path string) bool { return path == "privileged" || strings.HasSuffix(path, ".deputy") }

// The catalogue's channels and those of sessions are known to Enums.
func TestCorpusSpeaksOfKnownValues(t *testing.T) {
	known := Enums()
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
