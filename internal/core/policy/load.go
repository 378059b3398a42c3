package policy

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/policy/sigma"
	"github.com/sallyport/sallyport/internal/core/policy/source"
)

// Version is the version of the format of files of rules.
const Version = 1

// Bounds of a set of rules.
const (
	rulesMax  = 2000
	settleMax = time.Hour
	windowMax = 24 * time.Hour
	countMax  = 1000
	stepsMax  = 8
)

// File is a file of rules, with the name that errors give it.
type File struct {
	Name string
	Data []byte
}

// Load reads rules from files, in the order in which they are to be asked, and
// checks all of it. The error is source.Errors, and then there is no set: half of the
// rules is not what anybody wrote.
func Load(files []File) (*Set, error) { return newLoader().load(files) }

// LoadWith is Load with other values for some lists and values (int64, string, bool
// or time.Duration): what the rules would be if the files set those.
func LoadWith(files []File, lists map[string][]string, values map[string]any) (*Set, error) {
	l := newLoader()
	l.overrides = tunables{lists, values}
	return l.load(files)
}

func newLoader() *loader {
	return &loader{
		tunables: tunables{lists: map[string][]string{}, values: map[string]any{}}, ids: map[string]*rule{}, names: map[string]string{},
	}
}

func (l *loader) load(files []File) (*Set, error) {
	for _, f := range files {
		l.files = append(l.files, f.Name)
		l.file(f)
	}
	if l.def == "" && !l.own && l.theirs {
		l.def = effect.Allow // Sigma rules decide nothing
	}
	if l.def == "" && !l.broken {
		l.errs = append(l.errs, &source.Error{
			File: nameOf(files), Message: "no file says what holds when no rule decides",
			Suggestion: "write `default: allow` or `default: deny` in one of them",
		})
	}
	if l.broken {
		return nil, l.errs
	}
	maps.Copy(l.lists, l.overrides.lists)
	maps.Copy(l.values, l.overrides.values)
	if err := l.compile(); err != nil {
		return nil, err
	}
	return l.set, nil
}

func nameOf(files []File) string {
	if len(files) == 0 {
		return "rules"
	}
	return files[0].Name
}

// loader is one Load.
type loader struct {
	tunables
	files []string
	errs  source.Errors
	// broken says that a file could not be read at all.
	broken   bool
	own      bool // there is a document of the language's own
	theirs   bool // there is a Sigma rule
	def      effect.Effect
	defAt    string
	names    map[string]string // of lists and values, with where they are set
	rules    []draft
	ids      map[string]*rule
	suppress []suppression
	places   []*source.Reader // of suppressions
	// overrides replaces lists and values: tests bring their own.
	overrides tunables
	lang      *condition.Language
	set       *Set
}

// tunables is what users set without touching rules: named lists of texts and
// named values.
type tunables struct {
	lists  map[string][]string
	values map[string]any // int64, string, bool or time.Duration
}

// draft is a rule as it stands in its file.
type draft struct {
	r    *source.Reader
	node *yaml.Node
	keys map[string]*yaml.Node
	rule *rule
}

func (l *loader) file(f File) {
	before := len(l.errs)
	r, docs := source.Open(f.Name, f.Data, &l.errs)
	if docs == nil {
		l.broken = l.broken || len(l.errs) > before
		return
	}
	for _, top := range docs {
		if sigma.Is(top) {
			l.theirs = true
			l.sigma(r, top)
		} else {
			l.document(r, top)
		}
	}
}

// document reads a document of the language's own.
func (l *loader) document(r *source.Reader, top *yaml.Node) {
	l.own = true
	keys := r.Mapping(top, "version", "default", "lists", "values", "rules", "suppressions")
	switch v := keys["version"]; {
	case v == nil:
		r.Errorf(top, fmt.Sprintf("begin the file with `version: %d`", Version), "no version")
	case v.Value != fmt.Sprint(Version):
		r.Errorf(v, "", "version %s: this sallyport reads version %d", v.Value, Version)
	}
	l.setDefault(r, keys["default"])
	for _, kv := range l.tunablesOf(r, keys["lists"]) {
		l.lists[kv.name] = r.Texts(kv.node)
	}
	for _, kv := range l.tunablesOf(r, keys["values"]) {
		l.values[kv.name] = r.Scalar(kv.node)
	}
	for _, n := range r.Items(keys["rules"]) {
		l.draft(r, n)
	}
	for _, n := range r.Items(keys["suppressions"]) {
		l.suppression(r, n, "")
	}
}

func (l *loader) setDefault(r *source.Reader, n *yaml.Node) {
	if n == nil {
		return
	}
	e, err := effect.Parse(r.Text(n))
	switch {
	case err != nil || e != effect.Allow && e != effect.Deny:
		r.Errorf(n, "allow or deny", "default %q", n.Value)
	case l.def != "":
		r.Errorf(n, "", "the default is already set in %s", l.defAt)
	}
	l.def, l.defAt = e, fmt.Sprintf("%s:%d", r.File, n.Line)
}

type named struct {
	name string
	node *yaml.Node
}

// tunablesOf returns what a mapping of lists or values sets.
func (l *loader) tunablesOf(r *source.Reader, n *yaml.Node) []named {
	all := r.Mapping(n)
	var out []named
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v := all[name]
		switch at, set := l.names[name]; {
		case !writable.MatchString(name):
			r.Errorf(v, "", "%q: want a name of letters, digits and _", name)
		case set:
			r.Errorf(v, "", "%q is already set in %s", name, at)
		default:
			l.names[name] = fmt.Sprintf("%s:%d", r.File, v.Line)
			out = append(out, named{name, v})
		}
	}
	return out
}

// writable is a name that conditions can write.
var writable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)

var ruleKeys = []string{
	"id", "title", "when", "effect", "severity", "attack", "cis", "message", "remedy", "unknown", "settle", "count", "sequence", "blind", "suppressions",
}

// draft reads everything of a rule that needs no other file.
func (l *loader) draft(r *source.Reader, n *yaml.Node) {
	keys := r.Mapping(n, ruleKeys...)
	if n.Kind != yaml.MappingNode {
		return
	}
	x := &rule{at: position{n.Line, n.Column}}
	x.ID = r.Name(keys["id"])
	x.File, x.Line = r.File, n.Line
	if x.ID == "" {
		if keys["id"] == nil {
			r.Errorf(n, "", "a rule without id")
		}
		return
	}
	r.Rule = x.ID
	defer func() { r.Rule = "" }()
	if !l.enter(r, keys["id"], x) {
		return
	}
	x.Title, x.Remedy = r.Text(keys["title"]), r.Text(keys["remedy"])
	if x.Title == "" {
		x.Title = x.ID
	}
	x.Effects = effects(r, n, keys["effect"])
	x.Severity = severity(r, n, keys["severity"], x)
	x.Attack, x.CIS = techniques(r, keys["attack"]), r.Texts(keys["cis"])
	x.Message, x.message = message(r, keys["message"], keys["blind"] != nil)
	x.Unknown = unknownChoice(r, keys["unknown"], x)
	x.Settle = r.Duration(keys["settle"], settleMax)
	for _, s := range r.Items(keys["suppressions"]) {
		l.suppression(r, s, x.ID)
	}
	copied := *r
	l.rules = append(l.rules, draft{&copied, n, keys, x})
}

// enter gives a rule its place among the others.
func (l *loader) enter(r *source.Reader, id *yaml.Node, x *rule) bool {
	if other := l.ids[x.ID]; other != nil {
		r.Errorf(id, "", "there is another rule of this id in %s:%d", other.File, other.Line)
		return false
	}
	if len(l.ids) >= rulesMax {
		r.Errorf(id, "", "more than %d rules", rulesMax)
		return false
	}
	l.ids[x.ID] = x
	return true
}

func effects(r *source.Reader, rule, n *yaml.Node) []effect.Effect {
	var out []effect.Effect
	decides := 0
	for _, s := range r.Texts(n) {
		e, err := effect.Parse(s)
		if err != nil {
			r.Errorf(n, nearest.Suggestion(s, []string{"allow", "deny", "approve", "record", "alert"}), "unknown effect %q", s)
			continue
		}
		if e.Decides() {
			decides++
		}
		out = append(out, e)
	}
	switch {
	case n == nil:
		r.Errorf(rule, "allow, deny, approve, record or alert", "no effect")
	case decides > 1:
		r.Errorf(n, "", "a rule says one of allow, deny and approve")
	}
	return out
}

func severity(r *source.Reader, in, n *yaml.Node, x *rule) finding.Severity {
	if n == nil {
		if x.Has(effect.Alert) || x.Has(effect.Deny) || x.Has(effect.Approve) {
			r.Errorf(in, "info, low, medium, high or critical", "no severity")
		}
		return finding.Info
	}
	s, err := finding.ParseSeverity(n.Value)
	if err != nil {
		r.Errorf(n, nearest.Suggestion(n.Value, []string{"info", "low", "medium", "high", "critical"}), "%v", err)
	}
	return s
}

func techniques(r *source.Reader, n *yaml.Node) []attack.Technique {
	var out []attack.Technique
	for _, s := range r.Texts(n) {
		t := attack.Technique(s)
		if t.Name() == "" {
			known := make([]string, 0)
			for _, k := range attack.Techniques() {
				known = append(known, string(k))
			}
			r.Errorf(n, nearest.Suggestion(s, known), "no technique %q in the vocabulary", s)
			continue
		}
		out = append(out, t)
	}
	return out
}

func message(r *source.Reader, n *yaml.Node, blind bool) (string, *template.Template) {
	text := r.Text(n)
	if text == "" {
		return "", nil
	}
	about, fields := subject(&rule{}, example()), "fields are those of Subject: .Rule, .Session, .Request, .Actor, .Target, .Command"
	if blind {
		about, fields = Subject{Witness: "audit"}, "of a witness there are .Rule, .Witness, .Node, .Since, .Reason"
	}
	t, err := newMessage(text, about)
	if err != nil {
		r.Errorf(n, fields, "%s", strings.TrimPrefix(err.Error(), "template: "))
		return text, nil
	}
	return text, t
}

func unknownChoice(r *source.Reader, n *yaml.Node, x *rule) Unknown {
	normal := UnknownPass
	if x.Has(effect.Deny) || x.Has(effect.Approve) || x.Has(effect.Record) {
		normal = UnknownMatch
	}
	if n == nil {
		return normal
	}
	switch u := Unknown(r.Text(n)); {
	case u != UnknownMatch && u != UnknownPass:
		r.Errorf(n, "match or pass", "unknown: %q", n.Value)
	case u == UnknownMatch && x.Has(effect.Allow):
		r.Errorf(n, "ask with has() what must be known", "a rule cannot allow what it cannot tell")
	default:
		return u
	}
	return normal
}

func (l *loader) suppression(r *source.Reader, n *yaml.Node, rule string) {
	known := []string{"rule", "owner", "reason", "expires", "actor", "workload", "argv_hash"}
	if rule != "" {
		known = known[1:]
	}
	keys := r.Mapping(n, known...)
	for _, k := range known {
		if keys[k] == nil {
			r.Errorf(n, "it is keyed on actor, workload and argv_hash together; `sallyport rules explain` prints them for a session",
				"a suppression without %s", k)
			return
		}
	}
	x := suppression{Suppression{
		Rule: rule, File: r.File, Line: n.Line, Owner: r.Text(keys["owner"]), Reason: r.Text(keys["reason"]),
		Expires: r.Day(keys["expires"]), Actor: r.Text(keys["actor"]), Workload: r.Text(keys["workload"]),
		ArgvHash: strings.ToLower(r.Text(keys["argv_hash"])),
	}, n.Column}
	if rule == "" {
		x.Rule = r.Name(keys["rule"])
	}
	if !isHash(x.ArgvHash) {
		r.Errorf(keys["argv_hash"], "", "want the SHA-256 of the argument list, 64 hex digits")
		return
	}
	copied := *r
	l.suppress, l.places = append(l.suppress, x), append(l.places, &copied)
}

func isHash(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// compile checks the conditions of all rules and puts the set together.
func (l *loader) compile() error {
	var err error
	if l.lang, err = condition.New(l.lists, l.values); err != nil {
		return err
	}
	l.set = &Set{def: l.def, channels: field.Channels()}
	for _, d := range l.rules {
		l.conditions(d)
		l.set.rules = append(l.set.rules, d.rule)
	}
	l.set.slots = l.lang.Shared()
	for i, x := range l.suppress {
		target := l.ids[x.Rule]
		if target == nil {
			l.places[i].At(x.Line, x.column, nearest.Suggestion(x.Rule, slices.Collect(maps.Keys(l.ids))), "a suppression for rule %q, which there is not", x.Rule)
			continue
		}
		target.suppressions = append(target.suppressions, &x)
		l.set.suppressions = append(l.set.suppressions, x.Suppression)
	}
	if len(l.errs) > 0 {
		l.sortErrors()
		return l.errs
	}
	l.set.index = newIndex(l.set)
	for i, r := range l.set.rules {
		r.onUnknown, r.onExec = l.set.index.channels[event.ChannelUnknown].has(i), l.set.index.channels[event.ChannelDockerExec].has(i)
	}
	return l.impossible()
}

// sortErrors puts the errors in the order of files and lines.
func (l *loader) sortErrors() {
	slices.SortStableFunc(l.errs, func(a, b *source.Error) int {
		return cmp.Or(cmp.Compare(slices.Index(l.files, a.File), slices.Index(l.files, b.File)),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
