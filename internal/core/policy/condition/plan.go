package condition

import (
	"cmp"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
	"cel.dev/cel-go/parser"
)

// planner makes nodes of the conditions of one language, so that equal parts of
// different conditions are one node with one place where its value is kept.
//
// What conditions are mostly made of has nodes of its own, which know the other
// side of a comparison beforehand; all else is a leaf, that the library
// evaluates. TestPlan holds that the answers are the library's own.
type planner struct {
	lists   map[string][]string
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

func newPlanner(env *cel.Env, p *provider, lists map[string][]string) (*planner, error) {
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
		lists: lists, types: p, parts: map[string]shared{},
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
	reads Given // the one field that it reads; 0 when it is another, or not one
}

// conjunction plans the parts of a && b && c, those that are cheap before others.
func (p *planning) conjunction(e ast.Expr) ([]part, error) {
	var out []part
	for _, x := range conjunction(e) {
		n, err := p.flag(x)
		if err != nil {
			return nil, err
		}
		out = append(out, part{n, givenBy(onlyPath(x))})
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
