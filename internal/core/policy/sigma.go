package policy

import (
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy/sigma"
	"github.com/sallyport/sallyport/internal/core/policy/source"
)

// sigma reads a Sigma rule. It alerts, and what it cannot tell passes, as for
// every rule that alerts.
func (l *loader) sigma(r *source.Reader, top *yaml.Node) {
	got := sigma.Translate(top, func(n *yaml.Node, offset int, suggestion, message string) {
		line, column := r.Place(n, 1, offset)
		r.At(line, column, suggestion, "%s", message)
	})
	if got == nil {
		return
	}
	x := &rule{at: position{top.Line, top.Column}}
	x.Rule = Rule{
		ID: got.ID, File: r.File, Line: top.Line, Title: got.Title, Effects: []effect.Effect{effect.Alert},
		Attack: got.Attack, Unknown: UnknownPass, Sigma: &got.Source,
	}
	if x.Title == "" {
		x.Title = x.ID
	}
	x.Severity, _ = finding.ParseSeverity(got.Severity)
	r.Rule = x.ID
	defer func() { r.Rule = "" }()
	if !l.enter(r, got.IDNode, x) {
		return
	}
	x.credit(got)
	copied := *r
	when := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: got.When, Line: got.Condition.Line, Column: got.Condition.Column}
	l.rules = append(l.rules, draft{&copied, top, map[string]*yaml.Node{"when": &when}, x})
}

// credit names the author in what is said of a session: the licence of the
// public rules wants him named with every match.
func (x *rule) credit(s *sigma.Rule) {
	if s.Author == "" {
		return
	}
	text := strings.ReplaceAll(x.Title+" (Sigma rule by "+s.Author+")", "{{", `{{"{{"}}`)
	if t, err := newMessage(text, subject(&rule{}, example())); err == nil {
		x.Message, x.message = text, t
	}
}
