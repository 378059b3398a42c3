// Package ruletest runs the tests that people write beside their rules: sessions,
// requests and observations in; decisions, findings and messages out.
//
// A test says only what matters for it: what a reader of it can guess, the session
// has, too. The package reads no files; what Run needs of them it is given.
package ruletest

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Suffix is how the names of files of rule tests end: "x.test.yaml" holds
// tests of the rules in "x.yaml".
const Suffix = ".test.yaml"

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

// Run runs files of rule tests over files of rules. Read returns the
// sessions in a file that a test names, by its path beside the test's. The error
// is source.Errors when a file of either kind cannot be used; then nothing was run.
func Run(rules, tests []policy.File, read func(name string) ([]session.Session, error)) ([]Result, error) {
	set, err := policy.Load(rules)
	if err != nil {
		return nil, err
	}
	var errs source.Errors
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
	set      *policy.Set
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
func parseTests(f policy.File, rules []policy.File, set *policy.Set, read func(string) ([]session.Session, error), errs *source.Errors) []ruleTest {
	r, top := source.OpenOne(f.Name, f.Data, errs)
	if top == nil {
		return nil
	}
	keys := r.Mapping(top, "version", "rules", "lists", "values", "tests")
	if v := keys["version"]; v == nil || v.Value != fmt.Sprint(policy.Version) {
		r.Errorf(top, fmt.Sprintf("begin the file with `version: %d`", policy.Version), "no version, or one that this sallyport does not read")
	}
	if keys["lists"] != nil || keys["values"] != nil {
		set = retuned(r, keys, rules)
	}
	if set = chosen(r, keys, set); set == nil {
		return nil
	}
	var out []ruleTest
	for _, n := range r.Items(keys["tests"]) {
		t := ruleTest{Result: Result{File: f.Name, Line: n.Line, Rule: ids(set)}, set: set}
		t.parse(r, n, read)
		out = append(out, t)
	}
	return out
}

// retuned returns the rules with the lists and values that a file of tests sets; nil
// when they do not go with those.
func retuned(r *source.Reader, keys map[string]*yaml.Node, rules []policy.File) *policy.Set {
	lists, values := map[string][]string{}, map[string]any{}
	for name, v := range r.Mapping(keys["lists"]) {
		lists[name] = r.Texts(v)
	}
	for name, v := range r.Mapping(keys["values"]) {
		values[name] = r.Scalar(v)
	}
	set, err := policy.LoadWith(rules, lists, values)
	if err != nil {
		r.At(1, 1, "", "with the lists and values of this file: %v", err)
	}
	return set
}

func ids(set *policy.Set) []string {
	var out []string
	for _, r := range set.Rules() {
		out = append(out, r.ID)
	}
	return out
}

// chosen returns the rules of a set that the tests of a file are about: those it
// names, else those of the file beside it. Nil when there are none.
func chosen(r *source.Reader, keys map[string]*yaml.Node, set *policy.Set) *policy.Set {
	if set == nil {
		return nil
	}
	wanted := r.Texts(keys["rules"])
	for _, id := range wanted {
		if !slices.Contains(ids(set), id) {
			r.Errorf(keys["rules"], nearest.Suggestion(id, ids(set)), "no rule %q", id)
		}
	}
	beside := strings.TrimSuffix(path.Base(r.File), Suffix)
	set = set.Only(func(x policy.Rule) bool {
		if wanted != nil {
			return slices.Contains(wanted, x.ID)
		}
		return path.Dir(x.File) == path.Dir(r.File) && (path.Base(x.File) == beside+".yaml" || path.Base(x.File) == beside+".yml")
	})
	if len(set.Rules()) == 0 {
		r.At(1, 1, "name the rules under `rules:`", "no rules in %s.yaml", beside)
		return nil
	}
	return set
}

func (t *ruleTest) parse(r *source.Reader, n *yaml.Node, read func(string) ([]session.Session, error)) {
	keys := r.Mapping(n, "name", "session", "sessions", "sessions_from", "observations", "request", "decision", "rule", "record", "message", "findings")
	t.Name = r.Text(keys["name"])
	if t.Name == "" {
		r.Errorf(n, "", "a test without name")
	}
	var nodes []*yaml.Node
	if s := keys["session"]; s != nil {
		nodes = append(nodes, s)
	}
	nodes = append(nodes, r.Items(keys["sessions"])...)
	if s := keys["request"]; s != nil {
		t.request = true
		nodes = append(nodes, s)
	}
	for i, s := range nodes {
		t.sessions = append(t.sessions, readSession(r, s, i))
	}
	if from := keys["sessions_from"]; from != nil {
		kept, err := read(path.Join(path.Dir(r.File), r.Text(from)))
		if err != nil {
			r.Errorf(from, "", "%v", err)
		}
		t.sessions = append(t.sessions, kept...)
	}
	for _, o := range r.Items(keys["observations"]) {
		t.observations = append(t.observations, readObservation(r, o))
	}
	if len(t.sessions)+len(t.observations) == 0 {
		r.Errorf(n, "session:, sessions:, request:, sessions_from: or observations:", "a test without sessions")
	}
	t.expect(r, n, keys)
}

func (t *ruleTest) expect(r *source.Reader, n *yaml.Node, keys map[string]*yaml.Node) {
	if d := keys["decision"]; d != nil {
		e, err := effect.Parse(r.Text(d))
		if err != nil || !e.Decides() {
			r.Errorf(d, "allow, deny or approve", "decision %q", d.Value)
		}
		t.decision = e
	}
	if v := keys["rule"]; v != nil {
		id := v.Value // "" means the default
		t.by = &id
		if id != "" && !slices.Contains(ids(t.set), id) {
			r.Errorf(v, nearest.Suggestion(id, ids(t.set)), "no rule %q takes part", id)
		}
	}
	if v := keys["record"]; v != nil {
		yes := r.Text(v) == "true"
		t.record = &yes
	}
	t.message = r.Text(keys["message"])
	if v := keys["findings"]; v != nil {
		found := []string{}
		for _, id := range r.Texts(v) {
			found = append(found, id)
			if !slices.Contains(ids(t.set), id) {
				r.Errorf(v, nearest.Suggestion(id, ids(t.set)), "no rule %q takes part", id)
			}
		}
		t.findings = &found
	}
	if t.decision == "" && t.by == nil && t.record == nil && t.message == "" && t.findings == nil {
		r.Errorf(n, "decision:, rule:, record:, message: or findings:", "a test that expects nothing")
	}
	if t.request && t.findings != nil {
		r.Errorf(keys["findings"], "give a session instead", "of a request there are decisions, no findings")
	}
}

// run runs the test and compares.
func (t *ruleTest) run() Result {
	e := policy.NewEngine(t.set)
	var found []finding.Finding
	var d policy.Decision
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
