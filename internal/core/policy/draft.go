package policy

import (
	"strings"
	"text/template"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/policy/source"
)

// draft is a rule as it stands in its file.
type draft struct {
	r    *source.Reader
	node *yaml.Node
	keys map[string]*yaml.Node
	rule *rule
}

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
