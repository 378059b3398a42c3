// Package sigma reads Sigma rules (sigmahq.io) and says what they ask in the
// language of package policy, of which it knows nothing but the text.
//
// Of Sigma it reads what the public rules of two log sources use: Kubernetes
// audit events and process creation on Linux. Everything else is refused by its
// name and place: a rule that is understood by half finds nothing, and nobody
// sees it. docs/guide/sigma.md has what is mapped to what. Source: the Sigma
// specification 2.1. The package is pure.
package sigma

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/nearest"
)

// Rule is a rule that was read.
type Rule struct {
	// ID is Sigma's id, or else the title with what is not a letter or digit
	// replaced.
	ID     string
	IDNode *yaml.Node // where it stands
	Title  string
	// Severity is "info", "low", "medium", "high" or "critical".
	Severity  string
	Attack    []attack.Technique
	When      string     // CEL
	Condition *yaml.Node // what it was made of
	Source
}

// Source is what stands in a Sigma rule that its licence wants kept, or that a
// reader wants to know and no rule of policy has a place for.
type Source struct {
	Author      string   `json:"author,omitempty"`
	License     string   `json:"license,omitempty"`
	Description string   `json:"description,omitempty"`
	References  []string `json:"references,omitempty"`
	// Notes says what was not taken over, and what became of it.
	Notes []string `json:"notes,omitempty"`
}

// Report is told what is wrong with a rule: at which node, how many bytes into
// its text, and what to do.
type Report func(n *yaml.Node, offset int, suggestion, message string)

// Is reports whether a document is a Sigma rule, or something else of Sigma's.
func Is(doc *yaml.Node) bool {
	if doc.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(doc.Content); i += 2 {
		switch doc.Content[i].Value {
		case "detection", "logsource", "correlation":
			return true
		}
	}
	return false
}

// Translate reads one document; nil when something is wrong with it, which was
// reported then.
func Translate(doc *yaml.Node, report Report) *Rule {
	t := &translator{report: report}
	r := t.rule(doc)
	if t.wrong {
		return nil
	}
	return r
}

// translator reads one rule.
type translator struct {
	report Report
	wrong  bool
	source *source
	notes  []string
}

func (t *translator) errorf(n *yaml.Node, offset int, suggestion, format string, args ...any) {
	t.wrong = true
	t.report(n, offset, suggestion, fmt.Sprintf(format, args...))
}

func (t *translator) notef(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// refused are the parts of Sigma that change what a rule means, and are not read.
var refused = map[string]string{
	"correlation": "write it as a rule with `count:` or `sequence:` (docs/guide/rules.md)",
	"filter":      "put `and not` into the rule's own condition, or suppress what it finds (docs/guide/rules.md)",
	"action":      "write each rule out",
}

func (t *translator) rule(doc *yaml.Node) *Rule {
	keys := t.mapping(doc)
	for _, k := range slices.Sorted(maps.Keys(refused)) {
		if n := keys[k]; n != nil {
			t.errorf(n.key, 0, refused[k], "Sigma's %q is not supported", k)
			return nil
		}
	}
	for _, k := range []string{"logsource", "detection"} {
		if keys[k] == nil {
			t.errorf(doc, 0, "", "a Sigma rule without %s", k)
			return nil
		}
	}
	r := &Rule{Title: t.text(keys["title"])}
	t.identify(r, doc, keys)
	t.describe(r, keys)
	r.Severity = t.level(keys["level"])
	t.tags(r, keys["tags"])
	if t.source = t.logsource(keys["logsource"]); t.source == nil {
		return nil
	}
	t.detection(r, keys["detection"])
	r.Notes = t.notes
	return r
}

func (t *translator) identify(r *Rule, doc *yaml.Node, keys map[string]*pair) {
	if id := t.text(keys["id"]); id != "" {
		r.ID, r.IDNode = id, keys["id"].value
	} else if r.Title != "" {
		r.ID, r.IDNode = slug(r.Title), keys["title"].value
	}
	if r.ID == "" || slug(r.ID) != strings.ToLower(r.ID) {
		n := doc
		if r.IDNode != nil {
			n = r.IDNode
		}
		t.errorf(n, 0, "give it an `id:` or a `title:`", "a Sigma rule without a usable id")
	}
}

// slug makes an id of a title.
func slug(title string) string {
	words := strings.FieldsFunc(strings.ToLower(title), func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') })
	id := strings.Join(words, "-")
	return strings.TrimRight(id[:min(len(id), 100)], "-")
}

func (t *translator) describe(r *Rule, keys map[string]*pair) {
	r.Author, r.License = t.text(keys["author"]), t.text(keys["license"])
	r.Description = strings.TrimSpace(t.text(keys["description"]))
	r.References = t.texts(keys["references"])
	if keys["falsepositives"] != nil {
		t.notef("falsepositives are prose and suppress nothing: a suppression names an actor, a workload and a command")
	}
	if n := keys["taxonomy"]; n != nil && t.text(n) != "sigma" {
		t.errorf(n.value, 0, "only Sigma's own taxonomy is read", "taxonomy %q is not supported", n.value.Value)
	}
	switch n := keys["status"]; t.text(n) {
	case "unsupported":
		t.errorf(n.value, 0, "", "the rule says of itself that it cannot be used: status unsupported")
	case "deprecated":
		t.notef("the rule is deprecated")
	}
}

var levels = map[string]string{"informational": "info", "low": "low", "medium": "medium", "high": "high", "critical": "critical"}

func (t *translator) level(n *pair) string {
	if n == nil {
		t.notef("no level: taken to be medium")
		return "medium"
	}
	text := t.text(n)
	if levels[text] == "" {
		t.errorf(n.value, 0, nearest.Suggestion(text, slices.Collect(maps.Keys(levels))), "unknown level %q", text)
	}
	return levels[text]
}

// tags keeps the techniques that the vocabulary has.
func (t *translator) tags(r *Rule, n *pair) {
	var left []string
	for _, tag := range t.texts(n) {
		name, ok := strings.CutPrefix(strings.ToLower(tag), "attack.t")
		if id := attack.Technique("T" + name); ok && id.Name() != "" {
			if !slices.Contains(r.Attack, id) {
				r.Attack = append(r.Attack, id)
			}
		} else if ok {
			left = append(left, "T"+name)
		}
	}
	if len(left) > 0 {
		t.notef("not in the vocabulary of techniques: %s", strings.Join(left, ", "))
	}
}

// pair is a key with its value.
type pair struct{ key, value *yaml.Node }

// mapping returns the pairs of a mapping by key. A key that comes twice is an
// error: of two values it is not known which is meant.
func (t *translator) mapping(n *yaml.Node) map[string]*pair {
	out := map[string]*pair{}
	for _, p := range t.pairs(n) {
		out[p.key.Value] = p
	}
	return out
}

// pairs is mapping in the order of the text.
func (t *translator) pairs(n *yaml.Node) []*pair {
	if n.Kind != yaml.MappingNode {
		t.errorf(n, 0, "", "want keys with values")
		return nil
	}
	var out []*pair
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if line, twice := seen[k.Value]; twice {
			t.errorf(k, 0, "", "%q is already set in line %d", k.Value, line)
			continue
		}
		seen[k.Value] = k.Line
		out = append(out, &pair{k, n.Content[i+1]})
	}
	return out
}

// text returns a scalar; "" for nil and null.
func (t *translator) text(p *pair) string {
	switch {
	case p == nil, isNull(p.value):
		return ""
	case p.value.Kind != yaml.ScalarNode:
		t.errorf(p.value, 0, "", "%s: want one text", p.key.Value)
		return ""
	}
	return p.value.Value
}

// texts returns a list of scalars; one scalar is a list of one.
func (t *translator) texts(p *pair) []string {
	if p == nil || isNull(p.value) {
		return nil
	}
	var out []string
	for _, n := range listed(p.value) {
		if n.Kind != yaml.ScalarNode {
			t.errorf(n, 0, "", "%s: want texts", p.key.Value)
			continue
		}
		out = append(out, n.Value)
	}
	return out
}

func listed(n *yaml.Node) []*yaml.Node {
	if n.Kind == yaml.SequenceNode {
		return n.Content
	}
	return []*yaml.Node{n}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
