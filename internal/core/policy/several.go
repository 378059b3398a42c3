package policy

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/core/policy/window"
)

// count is the part of a rule that holds when enough sessions come together:
// at least so many distinct values within a time, among sessions of one key.
type count struct {
	by       []*condition.Name
	distinct *condition.Name // nil: sessions are counted
	window.Count
}

// sequence is the part of a rule that holds when sessions of one key fulfil its
// steps one after the other, within a time.
type sequence struct {
	by     []*condition.Name
	steps  []*condition.Condition
	within time.Duration
}

func (l *loader) count(r *source.Reader, n *yaml.Node) *count {
	keys := r.Mapping(n, "by", "distinct", "at_least", "within")
	c := &count{by: l.keys(r, n, keys["by"])}
	c.Within = l.within(r, n, keys["within"])
	if d := keys["distinct"]; d != nil {
		c.distinct = l.value(r, d)
	}
	v := l.constant(r, n, keys["at_least"], "at_least")
	if i, ok := v.(int64); ok && i >= 2 && i <= countMax {
		c.AtLeast = int(i)
	} else if v != nil {
		r.Errorf(keys["at_least"], "", "at_least: want a whole number from 2 to %d", countMax)
	}
	return c
}

func (l *loader) sequence(r *source.Reader, n *yaml.Node, x *rule) *sequence {
	keys := r.Mapping(n, "by", "steps", "within")
	s := &sequence{by: l.keys(r, n, keys["by"]), within: l.within(r, n, keys["within"])}
	steps := r.Items(keys["steps"])
	if len(steps) < 2 || len(steps) > stepsMax {
		r.Errorf(n, "", "a sequence has from 2 to %d steps", stepsMax)
	}
	var texts []string
	for _, step := range steps {
		when := r.Mapping(step, "when")["when"]
		if when == nil {
			r.Errorf(step, "", "a step without `when`")
			continue
		}
		texts = append(texts, strings.TrimSpace(when.Value))
		s.steps = append(s.steps, l.condition(r, when, x))
	}
	x.When = strings.Join(texts, "\n")
	return s
}

// keys compiles the expressions that say which sessions belong together.
func (l *loader) keys(r *source.Reader, in, n *yaml.Node) []*condition.Name {
	nodes := []*yaml.Node{n}
	switch {
	case n == nil:
		r.Errorf(in, "for example by: session.actor.identity", "it does not say by what sessions belong together")
		return nil
	case n.Kind == yaml.SequenceNode:
		nodes = n.Content
	}
	var out []*condition.Name
	for _, k := range nodes {
		out = append(out, l.value(r, k))
	}
	return out
}

// value compiles an expression whose value names something.
func (l *loader) value(r *source.Reader, n *yaml.Node) *condition.Name {
	name, wrong := l.lang.Name(r.Text(n))
	mistakes(r, n, wrong)
	return name
}

// constant evaluates an expression of literals and tunables; nil after an error.
func (l *loader) constant(r *source.Reader, in, n *yaml.Node, name string) any {
	if n == nil {
		r.Errorf(in, "", "no %s", name)
		return nil
	}
	if n.ShortTag() == "!!int" {
		if v, ok := r.Scalar(n).(int64); ok {
			return v
		}
	}
	if d, err := time.ParseDuration(n.Value); err == nil {
		return d
	}
	v, wrong := l.lang.Constant(name, r.Text(n))
	mistakes(r, n, wrong)
	return v
}

func (l *loader) within(r *source.Reader, in, n *yaml.Node) time.Duration {
	v := l.constant(r, in, n, "within")
	d, ok := v.(time.Duration)
	if ok && d > 0 && d <= windowMax {
		return d
	}
	if v != nil {
		r.Errorf(n, "for example 5m", "within: want a duration up to %s", windowMax)
	}
	return 0
}
