package sigma

import (
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// detection reads the selections and the condition over them.
func (t *translator) detection(r *Rule, p *pair) {
	selections := map[string]*expr{}
	names := []string{}
	var condition *yaml.Node
	for _, s := range t.pairs(p.value) {
		switch name := s.key.Value; name {
		case "condition":
			condition = s.value
		case "timeframe":
			t.errorf(s.key, 0, "write it as a rule with `count:` or `sequence:` (docs/guide/rules.md)", "timeframe is not supported")
		default:
			selections[name] = t.selection(s.value)
			names = append(names, name)
		}
	}
	switch {
	case condition == nil:
		t.errorf(p.key, 0, "", "a detection without condition")
		return
	case condition.Kind == yaml.SequenceNode:
		t.errorf(condition, 0, "write one rule for each, or join them with `or`", "several conditions are not supported")
		return
	case condition.Kind != yaml.ScalarNode:
		t.errorf(condition, 0, "", "want a condition")
		return
	}
	c := &parser{t: t, node: condition, selections: selections, names: names}
	e := c.parse()
	if t.wrong || e == nil {
		return
	}
	for _, name := range names {
		if !c.used[name] && !strings.HasPrefix(name, "_") {
			t.notef("%s is in no condition", name)
		}
	}
	if all := t.source.requests; all != nil && !e.possible(all) {
		t.errorf(condition, 0, "docs/guide/sigma.md says of which", "it can never hold: no session is made of such requests")
		return
	}
	r.When, r.Condition = t.source.scope(e.String()), condition
}

// selection reads a map, all of which has to hold, or a list of them, of which
// one has to.
func (t *translator) selection(n *yaml.Node) *expr {
	switch n.Kind {
	case yaml.MappingNode:
		var all []*expr
		for _, p := range t.pairs(n) {
			if e := t.item(p); e != nil {
				all = append(all, e)
			}
		}
		if len(all) > 0 {
			return joined(and, all)
		}
	case yaml.SequenceNode:
		var all []*expr
		for _, c := range n.Content {
			if c.Kind == yaml.ScalarNode {
				t.keywords(c)
				return nil
			}
			if e := t.selection(c); e != nil {
				all = append(all, e)
			}
		}
		if len(all) > 0 {
			return joined(or, all)
		}
	case yaml.ScalarNode:
		t.keywords(n)
		return nil
	}
	if !t.wrong {
		t.errorf(n, 0, "", "a selection without fields")
	}
	return nil
}

// named returns the selections that a name with wildcards stands for, or all.
func (p *parser) named(of string) []string {
	var out []string
	for _, name := range p.names {
		fits, err := path.Match(of, name)
		if of == "them" {
			fits, err = !strings.HasPrefix(name, "_"), nil
		}
		if fits && err == nil {
			out = append(out, name)
		}
	}
	return out
}

func (p *parser) known() []string { return slices.Sorted(maps.Keys(p.selections)) }
