package condition

import (
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/sallyport/sallyport/internal/core/pattern"
	"github.com/sallyport/sallyport/internal/core/policy/field"
)

// question plans a question about one text or about the length of a list, whose
// other side is constant; nil when it is something else.
func (p *planning) question(e ast.Expr) (node, error) {
	c := e.AsCall()
	args := c.Args()
	if c.IsMemberFunction() {
		args = append([]ast.Expr{c.Target()}, args...)
	}
	if len(args) != 2 {
		return nil, nil
	}
	if n := p.length(c.FunctionName(), args); n != nil {
		return n, nil
	}
	texts, ok := p.constants(args[1])
	if !ok {
		return nil, nil
	}
	if n := p.patterned(c.FunctionName(), args[0], texts); n != nil {
		return n, nil
	}
	of := p.text(args[0])
	if of == nil {
		return nil, nil
	}
	t, err := question(c.FunctionName(), texts, args[1].Kind() == ast.LiteralKind)
	if t == nil || err != nil {
		return nil, err
	}
	t.of = of
	if b, ok := of.(*base); ok { // saves a value for each basename
		test := t.test
		t.of, t.test = b.of, func(s string) bool { return test(path.Base(s)) }
	}
	return t, nil
}

// patterned plans ilike of a program's executable and commandLike; nil when it is
// something else.
func (p *planning) patterned(function string, of ast.Expr, patterns []string) node {
	n := &patterned{patterns: uint64(len(patterns)), line: function == "commandLike"}
	switch {
	case function == "ilike" && of.Kind() == ast.SelectKind && of.AsSelect().FieldName() == "exe":
		of = of.AsSelect().Operand()
	case !n.line:
		return nil
	}
	if !p.ast.GetType(of.ID()).IsExactType(field.ProgramType) {
		return nil
	}
	if n.of = p.value(of); n.of == nil {
		return nil
	}
	n.set = pattern.NewSet(patterns...)
	return n
}

// question returns a question by its function, and what it compares with: one
// text, or a list of them.
func question(function string, with []string, single bool) (*textual, error) {
	one := ""
	if single {
		one = with[0]
	}
	t := &textual{weight: 1}
	var err error
	switch {
	case function == operators.Equals && single:
		t.test = func(s string) bool { return s == one }
	case function == operators.NotEquals && single:
		t.test, t.nothing = func(s string) bool { return s != one }, types.True
	case function == "contains" && single:
		t.test = func(s string) bool { return strings.Contains(s, one) }
	case function == "startsWith" && single:
		t.test = func(s string) bool { return strings.HasPrefix(s, one) }
	case function == "endsWith" && single:
		t.test = func(s string) bool { return strings.HasSuffix(s, one) }
	case function == "matches" && single:
		t.weight += uint64(2 * len(one))
		t.test, err = matches(one)
	case function == operators.In && !single:
		t.test = oneOf(with)
	case function == "like":
		t.weight = uint64(len(with))
		t.test = pattern.NewStars(with...).Match
	case function == "ilike":
		t.weight = 2 * uint64(len(with))
		t.test = pattern.NewSet(with...).Match
	case function == "within":
		t.weight = uint64(len(with))
		if t.test, err = withinRanges(with); err != nil {
			return nil, nil // an error of its own each time that it is asked
		}
	default:
		return nil, nil
	}
	return t, err
}

// constants returns the texts that an expression always is: one, or a list of
// them.
func (p *planning) constants(e ast.Expr) ([]string, bool) {
	switch e.Kind() {
	case ast.LiteralKind:
		s, ok := e.AsLiteral().(types.String)
		return []string{string(s)}, ok
	case ast.ListKind:
		var out []string
		for _, x := range e.AsList().Elements() {
			s, ok := p.constants(x)
			if !ok || x.Kind() != ast.LiteralKind {
				return nil, false
			}
			out = append(out, s...)
		}
		return out, len(out) > 0 // nothing is in [], by the library, also what is unknown
	case ast.SelectKind:
		if root, name := selectPath(e); root == "lists" && !slices.ContainsFunc(p.locals, func(s source) bool { return s.name == root }) {
			all, ok := p.lists[name]
			return all, ok
		}
	}
	return nil, false
}

// length plans a comparison of a number or a length with a constant number.
func (p *planning) length(function string, args []ast.Expr) node {
	n, ok := integer(args[1])
	compare := comparisons[function]
	if of := p.number(args[0]); ok && compare != nil && of != nil {
		return &numeric{of, func(got int) bool { return compare(got, n) }, types.Bool(function == operators.NotEquals)}
	}
	if !ok || compare == nil || args[0].Kind() != ast.CallKind || args[0].AsCall().FunctionName() != "size" {
		return nil
	}
	c := args[0].AsCall()
	of := c.Target()
	if !c.IsMemberFunction() {
		of = c.Args()[0]
	}
	test, nothing := func(got int) bool { return compare(got, n) }, types.Bool(function == operators.NotEquals)
	if l := p.list(of); l != nil {
		return &sized{l, test, nothing}
	}
	if t := p.text(of); t != nil {
		return &textual{of: t, test: func(s string) bool { return test(utf8.RuneCountInString(s)) }, weight: 1, nothing: nothing}
	}
	return nil
}

var comparisons = map[string]func(a, b int) bool{
	operators.Equals:        func(a, b int) bool { return a == b },
	operators.NotEquals:     func(a, b int) bool { return a != b },
	operators.Less:          func(a, b int) bool { return a < b },
	operators.LessEquals:    func(a, b int) bool { return a <= b },
	operators.Greater:       func(a, b int) bool { return a > b },
	operators.GreaterEquals: func(a, b int) bool { return a >= b },
}

// integer returns the number that an expression always is.
func integer(e ast.Expr) (int, bool) {
	if e.Kind() != ast.LiteralKind {
		return 0, false
	}
	n, ok := e.AsLiteral().(types.Int)
	return int(n), ok
}
