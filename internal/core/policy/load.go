package policy

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
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
