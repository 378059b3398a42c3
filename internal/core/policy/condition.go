package policy

import (
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/policy/source"
)

// conditions compiles what a rule asks.
func (l *loader) conditions(d draft) {
	x, r := d.rule, d.r
	when, count, seq := d.keys["when"], d.keys["count"], d.keys["sequence"]
	switch {
	case d.keys["blind"] != nil:
		l.blind(d)
		return
	case seq != nil && (when != nil || count != nil):
		r.Errorf(seq, "put the condition into its steps", "a sequence stands alone")
		return
	case seq == nil && when == nil:
		r.Errorf(d.node, "`when: true` asks nothing", "no condition")
		return
	case (seq != nil || count != nil) && (len(x.Effects) != 1 || x.Effects[0] != effect.Alert):
		r.Errorf(d.node, "", "what happened before can only alert: the effect of a count or a sequence is alert alone")
		return
	}
	if when != nil {
		x.When = strings.TrimSpace(when.Value)
		x.when = l.condition(r, when, x)
		x.compares = x.when != nil && x.when.OnlyCompares(namespacePath)
	}
	if count != nil {
		x.count = l.count(r, count)
	}
	if seq != nil {
		x.sequence = l.sequence(r, seq, x)
	}
}

// condition compiles a condition and notes what it reads.
func (l *loader) condition(r *source.Reader, n *yaml.Node, x *rule) *condition.Condition {
	c, wrong := l.lang.Condition(r.Text(n))
	mistakes(r, n, wrong)
	if c != nil {
		x.uses = append(x.uses, c.Uses()...)
	}
	return c
}

// mistakes notes what is wrong with an expression that a scalar is.
func mistakes(r *source.Reader, n *yaml.Node, all []condition.Mistake) {
	for _, m := range all {
		line, column := n.Line, n.Column
		if m.Line != 0 {
			line, column = r.Place(n, m.Line, m.Column)
		}
		r.At(line, column, m.Hint, "%s", m.Message)
	}
}
