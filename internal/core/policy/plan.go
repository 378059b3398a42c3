package policy

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
	"cel.dev/cel-go/parser"

	"github.com/sallyport/sallyport/internal/core/pattern"
)

// planner makes nodes of the conditions of one set, so that equal parts of
// different conditions are one node with one place where its value is kept.
//
// What conditions are mostly made of has nodes of its own, which know the other
// side of a comparison beforehand; all else is a leaf, that the library
// evaluates. TestPlan holds that the answers are the library's own.
type planner struct {
	tunes   *tunables
	types   *provider
	library interpreter.Interpreter
	parts   map[string]shared // by their text
	slots   int               // of those that several have
}

// shared is a part that several conditions may have, and what its dearest leaf
// may cost.
type shared struct {
	node        *keep
	usual, most uint64
}

func newPlanner(env *cel.Env, p *provider, t *tunables) (*planner, error) {
	dispatcher := interpreter.NewDispatcher()
	for _, f := range env.Functions() {
		bindings, err := f.Bindings()
		if err != nil {
			return nil, err
		}
		if err := dispatcher.Add(bindings...); err != nil {
			return nil, err
		}
	}
	attributes := interpreter.NewAttributeFactory(env.Container, env.CELTypeAdapter(), env.CELTypeProvider())
	return &planner{
		tunes: t, types: p, parts: map[string]shared{},
		library: interpreter.NewInterpreter(dispatcher, env.Container, env.CELTypeProvider(), env.CELTypeAdapter(), attributes),
	}, nil
}

// planning is the making of nodes of one condition.
type planning struct {
	*planner
	ast    *ast.AST
	locals []source // variables of the comprehensions around, the innermost last
	// usual and most are what the dearest leaf may cost, of sessions that are
	// usual and of all.
	usual, most uint64
}

// source is a variable of a comprehension, and the field whose elements it is.
type source struct{ name, path string }

// part is a part of a condition, all of which have to hold.
type part struct {
	node
	// path is the one field of a session that it reads; "" when it is another
	// number of them.
	path string
}

// conjunction plans the parts of a && b && c, those that are cheap before others.
func (p *planning) conjunction(e ast.Expr) ([]part, error) {
	var out []part
	for _, x := range conjunction(e) {
		n, err := p.flag(x)
		if err != nil {
			return nil, err
		}
		out = append(out, part{n, onlyPath(x)})
	}
	slices.SortStableFunc(out, func(a, b part) int { return cmp.Compare(dearness(a.node), dearness(b.node)) })
	return out, nil
}

// dearness orders nodes by what it costs to ask them.
func dearness(n node) int {
	most := func(all []node) int {
		d := 0
		for _, x := range all {
			d = max(d, dearness(x))
		}
		return d
	}
	switch n := n.(type) {
	case *keep:
		return dearness(n.node)
	case *not:
		return dearness(n.node)
	case *logic:
		return most(n.parts)
	case *textual:
		return 1 + int(min(n.weight/20, 2))
	case *patterned:
		return 2
	case *leaf:
		if n.loops {
			return 6
		}
		return 4
	case *loop:
		return 5 + dearness(n.body)
	}
	return 0
}

// flag plans an expression that is true or false.
func (p *planning) flag(e ast.Expr) (node, error) {
	switch e.Kind() {
	case ast.CallKind:
		return p.call(e)
	case ast.ComprehensionKind:
		return p.keep(e, p.loop)
	case ast.SelectKind:
		if of := p.operand(e); of != nil && e.AsSelect().IsTestOnly() {
			return &has{of.of, of.field}, nil
		}
		if n := p.value(e); n != nil {
			return n, nil
		}
	}
	return p.keep(e, p.leaf)
}

func (p *planning) call(e ast.Expr) (node, error) {
	args := e.AsCall().Args()
	switch e.AsCall().FunctionName() {
	case operators.LogicalAnd:
		return p.logic(types.False, conjunction(e))
	case operators.LogicalOr:
		return p.logic(types.True, args)
	case operators.LogicalNot:
		n, err := p.flag(args[0])
		return &not{n}, err
	}
	return p.keep(e, func(e ast.Expr) (node, error) {
		if n, err := p.question(e); n != nil || err != nil {
			return n, err
		}
		return p.leaf(e)
	})
}

func (p *planning) logic(decisive types.Bool, args []ast.Expr) (node, error) {
	l := &logic{decisive: decisive}
	for _, a := range args {
		n, err := p.flag(a)
		if err != nil {
			return nil, err
		}
		l.parts = append(l.parts, n)
	}
	slices.SortStableFunc(l.parts, func(a, b node) int { return cmp.Compare(dearness(a), dearness(b)) })
	return l, nil
}

// keep plans an expression once, however many rules have it. One that depends on
// a variable of a comprehension has another value each time.
func (p *planning) keep(e ast.Expr, plan func(ast.Expr) (node, error)) (node, error) {
	text, err := parser.Unparse(e, p.ast.SourceInfo())
	if err != nil || p.depends(e) {
		return plan(e)
	}
	if k, ok := p.parts[text]; ok {
		p.usual, p.most = max(p.usual, k.usual), max(p.most, k.most)
		if k.node.slot == unshared {
			k.node.slot, p.slots = p.slots, p.slots+1
		}
		return k.node, nil
	}
	usual, most := p.usual, p.most
	p.usual, p.most = 0, 0
	n, err := plan(e)
	if err != nil {
		return nil, err
	}
	k := &keep{n, unshared}
	p.parts[text] = shared{k, p.usual, p.most}
	p.usual, p.most = max(p.usual, usual), max(p.most, most)
	return k, nil
}

// depends reports whether an expression names a variable of a comprehension
// around it.
func (p *planning) depends(e ast.Expr) bool {
	found := false
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.IdentKind && slices.ContainsFunc(p.locals, func(s source) bool { return s.name == x.AsIdent() }) {
			found = true
		}
	}))
	return found
}

// operand plans what a field is selected from; nil when that is nothing that has
// nodes.
func (p *planning) operand(e ast.Expr) *get {
	of := e.AsSelect().Operand()
	f, ok := p.types.byName[p.ast.GetType(of.ID()).TypeName()][e.AsSelect().FieldName()]
	if n := p.value(of); ok && n != nil {
		return &get{n, f}
	}
	return nil
}

// value plans a field, a variable, an element of a list or a basename; nil when
// it is something else.
func (p *planning) value(e ast.Expr) node {
	switch e.Kind() {
	case ast.IdentKind:
		for i := len(p.locals) - 1; i >= 0; i-- {
			if p.locals[i].name == e.AsIdent() {
				return variable(i)
			}
		}
		if name := e.AsIdent(); name == "session" || name == "request" {
			return root{}
		}
	case ast.SelectKind:
		if g := p.operand(e); g != nil && !e.AsSelect().IsTestOnly() {
			return g
		}
	case ast.CallKind:
		args := e.AsCall().Args()
		switch e.AsCall().FunctionName() {
		case operators.Index:
			i, ok := integer(args[1])
			if l := p.list(args[0]); ok && l != nil {
				return &element{l, i}
			}
		case "basename":
			if n := p.text(args[0]); n != nil {
				return &base{n}
			}
		}
	}
	return nil
}

// named plans an expression whose value names something.
func (p *planning) named(e ast.Expr) (node, error) {
	if n := p.value(e); n != nil {
		return n, nil
	}
	return p.keep(e, p.leaf)
}

// text plans a value that is a text.
func (p *planning) text(e ast.Expr) node {
	if p.ast.GetType(e.ID()).IsExactType(types.StringType) {
		return p.value(e)
	}
	return nil
}

// number plans a field that is a whole number.
func (p *planning) number(e ast.Expr) node {
	if e.Kind() == ast.SelectKind && p.ast.GetType(e.ID()).IsExactType(types.IntType) {
		return p.value(e)
	}
	return nil
}

// list plans a field that is a list.
func (p *planning) list(e ast.Expr) node {
	if e.Kind() != ast.SelectKind || p.ast.GetType(e.ID()).Kind() != types.ListKind {
		return nil
	}
	return p.value(e)
}

// loop plans exists() and all(); other comprehensions are leaves.
func (p *planning) loop(e ast.Expr) (node, error) {
	c := e.AsComprehension()
	step, init := c.LoopStep(), c.AccuInit()
	over := p.list(c.IterRange())
	l := &loop{over: over, name: c.IterVar()}
	switch {
	case over == nil || c.HasIterVar2() || step.Kind() != ast.CallKind || init.Kind() != ast.LiteralKind ||
		c.Result().Kind() != ast.IdentKind || c.Result().AsIdent() != c.AccuVar():
		return p.leaf(e)
	case step.AsCall().FunctionName() == operators.LogicalOr && init.AsLiteral() == types.False:
		l.decisive = types.True
	case step.AsCall().FunctionName() == operators.LogicalAnd && init.AsLiteral() == types.True:
		l.decisive = types.False
	default:
		return p.leaf(e)
	}
	_, path := selectPath(c.IterRange())
	p.locals = append(p.locals, source{l.name, path})
	var err error
	l.body, err = p.flag(step.AsCall().Args()[1])
	p.locals = p.locals[:len(p.locals)-1]
	return l, err
}

// leaf plans an expression as the library does.
func (p *planning) leaf(e ast.Expr) (node, error) {
	checked := ast.NewCheckedAST(ast.NewAST(e, p.ast.SourceInfo()), p.ast.TypeMap(), p.ast.ReferenceMap())
	i, err := p.library.NewInterpretable(checked, interpreter.Optimize(), interpreter.CompileRegexConstants(interpreter.MatchesRegexOptimization),
		interpreter.RegexProgramSizeLimit(regexMax), interpreter.CustomDecoratorV2(lenient(p.ast)))
	if err != nil {
		return nil, err
	}
	l := &leaf{InterpretableV2: i}
	p.estimate(e, l)
	return l, nil
}

// estimate notes what a leaf may cost.
func (p *planning) estimate(e ast.Expr, l *leaf) {
	checked := ast.NewCheckedAST(ast.NewAST(e, p.ast.SourceInfo()), p.ast.TypeMap(), p.ast.ReferenceMap())
	usual, err := cost.Cost(checked, sizes{usual: true, locals: p.locals})
	most, err2 := cost.Cost(checked, sizes{locals: p.locals})
	if err != nil || err2 != nil {
		usual.Max, most.Max = costMax, costMax
	}
	p.usual, p.most = max(p.usual, usual.Max), max(p.most, most.Max, 1)
	l.cost = max(leafCost, usual.Max/20)
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(x ast.Expr) { l.loops = l.loops || x.Kind() == ast.ComprehensionKind }))
}

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
	if !p.ast.GetType(of.ID()).IsExactType(programType) {
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
			all, ok := p.tunes.lists[name]
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
