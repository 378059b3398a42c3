package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/nearest"
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
		r.errorf(seq, "put the condition into its steps", "a sequence stands alone")
		return
	case seq == nil && when == nil:
		r.errorf(d.node, "`when: true` asks nothing", "no condition")
		return
	case (seq != nil || count != nil) && (len(x.Effects) != 1 || x.Effects[0] != effect.Alert):
		r.errorf(d.node, "", "what happened before can only alert: the effect of a count or a sequence is alert alone")
		return
	}
	if when != nil {
		x.When = strings.TrimSpace(when.Value)
		x.when = l.condition(r, when, x)
		x.compares = x.when != nil && x.onlyCompares(namespacePath)
	}
	if count != nil {
		x.count = l.count(r, count)
	}
	if seq != nil {
		x.sequence = l.sequence(r, seq, x)
	}
}

// condition compiles a condition and notes what it reads.
func (l *loader) condition(r *reader, n *yaml.Node, x *rule) *condition {
	checked := l.check(r, n)
	if checked == nil {
		return nil
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		r.errorf(n, "", "a condition is true or false, this one is %s", checked.OutputType())
		return nil
	}
	c, err := newCondition(l.env, l.planner, checked)
	var p prober
	if err == nil {
		p, err = newProber(l.env, checked)
	}
	if err != nil {
		r.errorf(n, "", "%v", err)
		return nil
	}
	x.uses = append(x.uses, fieldPaths(c.ast)...)
	x.probers = append(x.probers, p)
	return c
}

// check parses and type-checks an expression.
func (l *loader) check(r *reader, n *yaml.Node) *cel.Ast {
	text := r.text(n)
	if strings.TrimSpace(text) == "" {
		r.errorf(n, "", "want an expression")
		return nil
	}
	if len(text) > conditionMax {
		r.errorf(n, "", "more than %d bytes", conditionMax)
		return nil
	}
	checked, issues := l.env.Compile(text)
	if issues == nil || issues.Err() == nil {
		return checked
	}
	for _, e := range issues.Errors() {
		line, column := r.place(n, e.Location.Line(), e.Location.Column())
		message, hint := l.explain(text, e.Message)
		r.at(line, column, hint, "%s", message)
	}
	return nil
}

var (
	undefinedField     = regexp.MustCompile(`^undefined field '(.*)'$`)
	undeclared         = regexp.MustCompile(`^undeclared reference to '(.*?)'`)
	noMatchingOverload = regexp.MustCompile(`^found no matching overload for '(.*)' applied to '(.*)'$`)
)

// explain turns what the library says into what a writer of rules can use.
func (l *loader) explain(text, message string) (string, string) {
	if m := undefinedField.FindStringSubmatch(message); m != nil {
		return l.explainField(text, m[1])
	}
	if m := undeclared.FindStringSubmatch(message); m != nil {
		known := []string{"session", "request", "lists", "values", "has", "size", "like", "ilike", "commandLike", "within", "basename"}
		return fmt.Sprintf("unknown name %q", m[1]), nearest.Suggestion(m[1], known)
	}
	if m := noMatchingOverload.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%s does not go with %s", strings.Trim(m[1], "_@"), m[2]), "compare and call with values of one type"
	}
	return message, ""
}

// explainField finds in whose fields a name was looked for.
func (l *loader) explainField(text, name string) (string, string) {
	for chain := range chains(text) {
		typ, rest := l.variable(chain[0]), chain[1:]
		for typ != "" && len(rest) > 0 {
			f, ok := l.types.types[typ][rest[0]]
			if !ok && rest[0] == name {
				return l.noField(typ, chain[0], name)
			}
			if !ok {
				break
			}
			typ, rest = f.Type.TypeName(), rest[1:]
		}
	}
	var all []string
	for _, t := range []string{"Process", "Program", "Evidence", "Actor", "Identity", "Carried", "HostAccess", "Settings"} {
		all = append(all, l.types.fields[t]...)
	}
	return fmt.Sprintf("unknown field %q", name), nearest.Suggestion(name, all)
}

func (l *loader) variable(name string) string {
	return map[string]string{
		"session": sessionType.TypeName(), "request": requestType.TypeName(),
		"lists": listsType.TypeName(), "values": valuesType.TypeName(),
	}[name]
}

func (l *loader) noField(typ, variable, name string) (string, string) {
	known := l.types.fieldNames(typ)
	if typ == requestType.TypeName() && slices.Contains(l.types.fields[sessionType.TypeName()], name) {
		return fmt.Sprintf("a request has no %q: it is known only when the command has run", name), "write session." + name
	}
	if typ == listsType.TypeName() || typ == valuesType.TypeName() {
		hint := nearest.Suggestion(name, known)
		if hint == "" {
			hint = fmt.Sprintf("set it under `%s:` in one of the files", variable)
		}
		return fmt.Sprintf("no %q among the %s", name, variable), hint
	}
	return fmt.Sprintf("unknown field %q of %s", name, typ), nearest.Suggestion(name, known)
}

var chainText = regexp.MustCompile(`[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)+`)

// chains yields the chains of names in a text that could not be compiled.
func chains(text string) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		for _, c := range chainText.FindAllString(text, -1) {
			parts := strings.Split(c, ".")
			for i := range parts {
				parts[i] = strings.TrimSpace(parts[i])
			}
			if !yield(parts) {
				return
			}
		}
	}
}
