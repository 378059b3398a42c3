package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestSuffix is how the names of files of rule tests end: "x.test.yaml" holds
// tests of the rules in "x.yaml".
const TestSuffix = ".test.yaml"

// Result is what came of one rule test.
type Result struct {
	File string   `json:"file"`
	Line int      `json:"line"`
	Name string   `json:"name"`
	Rule []string `json:"rules"` // that took part
	// Found lists the rules that found something, or decided, in order.
	Found []string `json:"found,omitempty"`
	// Wrong says what is not as expected; empty when the test passed.
	Wrong []string `json:"wrong,omitempty"`
}

// RunTests runs files of rule tests over files of rules. Read returns the
// sessions in a file that a test names, by its path beside the test's. The error
// is Errors when a file of either kind cannot be used; then nothing was run.
func RunTests(rules, tests []File, read func(name string) ([]session.Session, error)) ([]Result, error) {
	set, err := Load(rules)
	if err != nil {
		return nil, err
	}
	var errs Errors
	var all []ruleTest
	for _, f := range tests {
		all = append(all, parseTests(f, rules, set, read, &errs)...)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	out := make([]Result, 0, len(all))
	for _, t := range all {
		out = append(out, t.run())
	}
	return out, nil
}

// ruleTest is one test.
type ruleTest struct {
	Result
	set      *Set
	request  bool
	sessions []session.Session
	// observations are heard before the sessions; only rules about witnesses ask
	// about them.
	observations []event.Observation
	// What is expected; nil or "" when the test does not say.
	decision effect.Effect
	by       *string
	record   *bool
	message  string
	findings *[]string
}

// parseTests reads a file of tests of rules, of which set is what they come to with
// their own lists and values.
func parseTests(f File, rules []File, set *Set, read func(string) ([]session.Session, error), errs *Errors) []ruleTest {
	r, top := openOne(f.Name, f.Data, errs)
	if top == nil {
		return nil
	}
	keys := r.mapping(top, "version", "rules", "lists", "values", "tests")
	if v := keys["version"]; v == nil || v.Value != fmt.Sprint(Version) {
		r.errorf(top, fmt.Sprintf("begin the file with `version: %d`", Version), "no version, or one that this sallyport does not read")
	}
	if keys["lists"] != nil || keys["values"] != nil {
		set = retuned(r, keys, rules)
	}
	if set = chosen(r, keys, set); set == nil {
		return nil
	}
	var out []ruleTest
	for _, n := range r.items(keys["tests"]) {
		t := ruleTest{Result: Result{File: f.Name, Line: n.Line, Rule: set.ids()}, set: set}
		t.parse(r, n, read)
		out = append(out, t)
	}
	return out
}

func (s *Set) ids() []string {
	var out []string
	for _, r := range s.rules {
		out = append(out, r.ID)
	}
	return out
}

// retuned returns the rules with the lists and values that a file of tests sets; nil
// when they do not go with those.
func retuned(r *reader, keys map[string]*yaml.Node, rules []File) *Set {
	l := newLoader()
	l.overrides = &tunables{lists: map[string][]string{}, values: map[string]any{}}
	for name, v := range r.mapping(keys["lists"]) {
		l.overrides.lists[name] = r.texts(v)
	}
	for name, v := range r.mapping(keys["values"]) {
		l.overrides.values[name] = r.scalar(v)
	}
	set, err := l.load(rules)
	if err != nil {
		r.at(1, 1, "", "with the lists and values of this file: %v", err)
	}
	return set
}

// chosen returns the rules of a set that the tests of a file are about: those it
// names, else those of the file beside it. Nil when there are none.
func chosen(r *reader, keys map[string]*yaml.Node, set *Set) *Set {
	if set == nil {
		return nil
	}
	wanted := r.texts(keys["rules"])
	for _, id := range wanted {
		if !slices.Contains(set.ids(), id) {
			r.errorf(keys["rules"], nearest.Suggestion(id, set.ids()), "no rule %q", id)
		}
	}
	beside := strings.TrimSuffix(path.Base(r.file), TestSuffix)
	set = set.only(func(x *rule) bool {
		if wanted != nil {
			return slices.Contains(wanted, x.ID)
		}
		return path.Dir(x.File) == path.Dir(r.file) && (path.Base(x.File) == beside+".yaml" || path.Base(x.File) == beside+".yml")
	})
	if len(set.rules) == 0 {
		r.at(1, 1, "name the rules under `rules:`", "no rules in %s.yaml", beside)
		return nil
	}
	return set
}

// only returns the set with some of its rules.
func (s *Set) only(keep func(*rule) bool) *Set {
	out := *s
	out.rules = slices.DeleteFunc(slices.Clone(s.rules), func(r *rule) bool { return !keep(r) })
	out.index = newIndex(&out)
	return &out
}

func (t *ruleTest) parse(r *reader, n *yaml.Node, read func(string) ([]session.Session, error)) {
	keys := r.mapping(n, "name", "session", "sessions", "sessions_from", "observations", "request", "decision", "rule", "record", "message", "findings")
	t.Name = r.text(keys["name"])
	if t.Name == "" {
		r.errorf(n, "", "a test without name")
	}
	var nodes []*yaml.Node
	if s := keys["session"]; s != nil {
		nodes = append(nodes, s)
	}
	nodes = append(nodes, r.items(keys["sessions"])...)
	if s := keys["request"]; s != nil {
		t.request = true
		nodes = append(nodes, s)
	}
	for i, s := range nodes {
		t.sessions = append(t.sessions, r.session(s, i))
	}
	if from := keys["sessions_from"]; from != nil {
		kept, err := read(path.Join(path.Dir(r.file), r.text(from)))
		if err != nil {
			r.errorf(from, "", "%v", err)
		}
		t.sessions = append(t.sessions, kept...)
	}
	for _, o := range r.items(keys["observations"]) {
		t.observations = append(t.observations, r.observation(o))
	}
	if len(t.sessions)+len(t.observations) == 0 {
		r.errorf(n, "session:, sessions:, request:, sessions_from: or observations:", "a test without sessions")
	}
	t.expect(r, n, keys)
}

func (t *ruleTest) expect(r *reader, n *yaml.Node, keys map[string]*yaml.Node) {
	if d := keys["decision"]; d != nil {
		e, err := effect.Parse(r.text(d))
		if err != nil || !e.Decides() {
			r.errorf(d, "allow, deny or approve", "decision %q", d.Value)
		}
		t.decision = e
	}
	if v := keys["rule"]; v != nil {
		id := v.Value // "" means the default
		t.by = &id
		if id != "" && !slices.Contains(t.set.ids(), id) {
			r.errorf(v, nearest.Suggestion(id, t.set.ids()), "no rule %q takes part", id)
		}
	}
	if v := keys["record"]; v != nil {
		yes := r.text(v) == "true"
		t.record = &yes
	}
	t.message = r.text(keys["message"])
	if v := keys["findings"]; v != nil {
		ids := []string{}
		for _, id := range r.texts(v) {
			ids = append(ids, id)
			if !slices.Contains(t.set.ids(), id) {
				r.errorf(v, nearest.Suggestion(id, t.set.ids()), "no rule %q takes part", id)
			}
		}
		t.findings = &ids
	}
	if t.decision == "" && t.by == nil && t.record == nil && t.message == "" && t.findings == nil {
		r.errorf(n, "decision:, rule:, record:, message: or findings:", "a test that expects nothing")
	}
	if t.request && t.findings != nil {
		r.errorf(keys["findings"], "give a session instead", "of a request there are decisions, no findings")
	}
}

// run runs the test and compares.
func (t *ruleTest) run() Result {
	e := NewEngine(t.set)
	var found []finding.Finding
	var d Decision
	for _, o := range t.observations {
		found = append(found, e.Hear(o)...)
	}
	for _, s := range t.sessions {
		if t.request {
			d = t.set.Decide(&s)
			continue
		}
		d = t.set.Review(&s)
		found = append(found, e.Observe(s)...)
	}
	found = append(found, e.Flush()...)
	t.Found = slices.Compact(idsOf(found))
	if d.Rule != "" && !slices.Contains(t.Found, d.Rule) {
		t.Found = append(t.Found, d.Rule)
	}
	wrong := func(what string, got, want any) {
		if !reflect.DeepEqual(got, want) {
			t.Wrong = append(t.Wrong, fmt.Sprintf("%s: got %v, want %v", what, got, want))
		}
	}
	if t.decision != "" {
		wrong("decision", d.Effect, t.decision)
	}
	if t.by != nil {
		wrong("rule", d.Rule, *t.by)
	}
	if t.record != nil {
		wrong("record", d.Record, *t.record)
	}
	if t.findings != nil {
		wrong("findings", idsOf(found), slices.Sorted(slices.Values(*t.findings)))
	}
	if t.message != "" && !slices.ContainsFunc(append(messages(found), d.Message), func(m string) bool { return strings.Contains(m, t.message) }) {
		t.Wrong = append(t.Wrong, fmt.Sprintf("message: %q is in none of %q", t.message, append(messages(found), d.Message)))
	}
	return t.Result
}

// idsOf returns the rules of findings, sorted, each as often as it found.
func idsOf(found []finding.Finding) []string {
	var out []string
	for _, f := range found {
		out = append(out, f.Rule)
	}
	slices.Sort(out)
	return out
}

func messages(found []finding.Finding) []string {
	var out []string
	for _, f := range found {
		out = append(out, f.Message)
	}
	return out
}

// testEpoch is when the first session of a test starts, unless it says so
// itself; each further one starts a second later.
var testEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// session reads a session as a test writes it: the JSON form, of which whatever
// a reader can guess may be left out.
func (r *reader) session(n *yaml.Node, i int) session.Session {
	var s session.Session
	before := len(*r.errs)
	r.fields(n, reflect.TypeFor[session.Session]())
	if len(*r.errs) > before {
		return s
	}
	var v map[string]any
	if err := n.Decode(&v); err != nil {
		r.errorf(n, "", "%v", err)
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
		r.errorf(n, "docs/reference/session.schema.json has the types", "%v", err)
	}
	complete(&s, i)
	known := field.Enums()
	for _, c := range []struct{ name, value string }{{"kind", string(s.Kind)}, {"channel", string(s.Channel)}} {
		if !slices.Contains(known[c.name], c.value) {
			r.errorf(n, nearest.Suggestion(c.value, known[c.name]), "%s %q", c.name, c.value)
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

// fields reports keys that a type's JSON form does not have.
func (r *reader) fields(n *yaml.Node, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			r.fields(c, t.Elem())
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode && t != reflect.TypeFor[time.Time]():
		known := jsonFields(t)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i].Value
			if _, ok := known[k]; !ok {
				r.errorf(n.Content[i], nearest.Suggestion(k, slices.Collect(maps.Keys(known))), "unknown field %q", k)
				continue
			}
			r.fields(n.Content[i+1], known[k])
		}
	}
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
