package ruletest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/core/session"
)

// testEpoch is when the first session of a test starts, unless it says so
// itself; each further one starts a second later.
var testEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// readSession reads a session as a test writes it: the JSON form, of which whatever
// a reader can guess may be left out.
func readSession(r *source.Reader, n *yaml.Node, i int) session.Session {
	var s session.Session
	if !knownFields(r, n, reflect.TypeFor[session.Session]()) {
		return s
	}
	var v map[string]any
	if err := n.Decode(&v); err != nil {
		r.Errorf(n, "", "%v", err)
		return s
	}
	if _, set := v["started"]; !set {
		v["started"] = testEpoch.Add(time.Duration(i) * time.Second)
	}
	body, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	if err != nil {
		r.Errorf(n, "docs/reference/session.schema.json has the types", "%v", err)
	}
	complete(&s, i)
	known := field.Enums()
	for _, c := range []struct{ name, value string }{{"kind", string(s.Kind)}, {"channel", string(s.Channel)}} {
		if !slices.Contains(known[c.name], c.value) {
			r.Errorf(n, nearest.Suggestion(c.value, known[c.name]), "%s %q", c.name, c.value)
		}
	}
	return s
}

// complete fills in what a test leaves out.
func complete(s *session.Session, i int) {
	if s.ID == "" {
		s.ID = session.ID(fmt.Sprintf("session%09d", i+1))
	}
	if s.Kind == "" {
		s.Kind = session.KindExec
	}
	if s.State == "" {
		s.State = session.StateEnded
	}
	if s.Actor.Kind == "" {
		s.Actor.Kind = session.ActorNone
	}
	if s.Attribution.Level == "" {
		s.Attribution.Level = session.LevelExact
		if s.Actor.Kind == session.ActorNone {
			s.Attribution.Level = session.LevelNone
		}
	}
	if len(s.Argv) > 0 && s.ArgvSource == "" {
		s.ArgvSource = "request"
	}
	s.ProcessesTotal = max(s.ProcessesTotal, len(s.Processes))
	for j := range s.Processes {
		if s.Processes[j].Start.IsZero() {
			s.Processes[j].Start = s.Started
		}
	}
}

// knownFields notes keys that a type's JSON form does not have, and returns false
// when there are some.
func knownFields(r *source.Reader, n *yaml.Node, t reflect.Type) bool {
	ok := true
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			ok = knownFields(r, c, t.Elem()) && ok
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode && t != reflect.TypeFor[time.Time]():
		known := jsonFields(t)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i].Value
			if known[k] == nil {
				ok = false
				r.Errorf(n.Content[i], nearest.Suggestion(k, slices.Collect(maps.Keys(known))), "unknown field %q", k)
				continue
			}
			ok = knownFields(r, n.Content[i+1], known[k]) && ok
		}
	}
	return ok
}

// jsonFields returns the fields of a type's JSON form.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := make(map[string]reflect.Type)
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Name == "Argv":
			out["argv"] = f.Type
			out["argv_base64"] = f.Type
		case name == "-" || name == "":
		default:
			out[name] = f.Type
		}
	}
	if t == reflect.TypeFor[session.Process]() {
		out["start_boot"] = reflect.TypeFor[uint64]()
	}
	for _, name := range []string{"exe", "filename", "path"} {
		if _, ok := out[name]; ok {
			out[name+"_base64"] = reflect.TypeFor[string]()
		}
	}
	return out
}

// readObservation reads an observation of a rule test, in its wire form.
func readObservation(r *source.Reader, n *yaml.Node) event.Observation {
	var v map[string]any
	err := n.Decode(&v)
	var body []byte
	if err == nil {
		body, err = json.Marshal(v)
	}
	if err == nil {
		var o event.Observation
		if o, err = event.Unmarshal(body); err == nil {
			return o
		}
	}
	r.Errorf(n, "docs/reference/observation.schema.json has the form", "%v", err)
	return event.Tick{}
}
