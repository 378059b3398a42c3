package policy

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// prober asks a condition what it says when only some fields are known. Where
// it says no, the condition cannot hold, whatever the others are.
type prober struct {
	program cel.Program
}

func newProber(env *cel.Env, checked *cel.Ast) (prober, error) {
	a := checked.NativeRep()
	paths := make(map[int64]string) // of the has() in it
	for _, f := range fieldPaths(a) {
		if f.test {
			paths[f.id] = f.path
		}
	}
	soft := lenient(a)
	p, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(
		func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
			if path, ok := paths[i.ID()]; ok {
				return testProbe{i, path}, nil
			}
			return soft(i)
		}))
	return prober{p}, err
}

// ask returns what the condition says when the fields in known are as given,
// absent among them, and all others unknown.
func (p prober) ask(known map[string]ref.Val) answer {
	out, _, err := p.program.Eval(&probing{probe{known: known}})
	switch out := out.(type) {
	case types.Bool:
		return answer{yes: bool(out)}
	case *nothing:
		return answer{}
	case *types.Unknown:
		return answer{unknown: out}
	}
	return answer{err: err}
}

// probing is the activation of a prober.
type probing struct{ root probe }

// ResolveName implements cel.Activation.
func (p *probing) ResolveName(name string) (any, bool) {
	switch name {
	case "session", "request":
		return &object{sessionType, &p.root}, true
	}
	return tunable(name)
}

// Parent implements cel.Activation.
func (p *probing) Parent() cel.Activation { return nil }

// probe stands for a session of which only some fields are known.
type probe struct {
	path  string // with a point at its end
	known map[string]ref.Val
}

// field returns the value of a field of a probe.
func (p *probe) field(f field) ref.Val {
	path := p.path + f.name
	switch v, ok := p.known[path]; {
	case v == absent:
		return noneOf(f.typ)
	case ok:
		return v
	}
	switch f.typ {
	case attributionType, actorType, targetType, hostAccessType, settingsType, unexplainedType, decisionType, apiType:
		return &object{f.typ, &probe{path: path + ".", known: p.known}}
	}
	return unknownOf(path)
}

// testProbe is has() in a probed condition: it can be unknown there, which the
// library's own cannot.
type testProbe struct {
	interpreter.InterpretableV2
	path string
}

// Exec implements interpreter.InterpretableV2.
func (t testProbe) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	v, _ := frame.ResolveName("session")
	root, ok := v.(*object)
	if !ok {
		return unknownOf(t.path)
	}
	switch got := root.it.(*probe).known[t.path].(type) {
	case nil:
		return unknownOf(t.path)
	case *nothing:
		return types.False
	case *list:
		return types.Bool(got.n > 0)
	default:
		return types.True
	}
}

// Eval implements interpreter.Interpretable.
func (t testProbe) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, t.Exec)
}

// use is one place where a condition reads a field of the session or request.
type use struct {
	id   int64
	path string // below the variable
	root string // "session" or "request"
	test bool   // has()
}

// fieldPaths returns the fields that an expression reads, each as the longest
// path that is written.
func fieldPaths(a *ast.AST) []use {
	var out []use
	inner := make(map[int64]bool) // operands of a longer path
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind || inner[e.ID()] {
			return
		}
		root, path := selectPath(e)
		for op := e.AsSelect().Operand(); op.Kind() == ast.SelectKind; op = op.AsSelect().Operand() {
			inner[op.ID()] = true
		}
		if root == "session" || root == "request" {
			out = append(out, use{e.ID(), path, root, e.AsSelect().IsTestOnly()})
		}
	}))
	return out
}

// selectPath returns the variable that a chain of selections begins with, and
// the names selected. A path ends where a list or a map begins.
func selectPath(e ast.Expr) (root, path string) {
	for e.Kind() == ast.SelectKind {
		s := e.AsSelect()
		if path != "" {
			path = "." + path
		}
		path = s.FieldName() + path
		e = s.Operand()
	}
	if e.Kind() != ast.IdentKind {
		return "", ""
	}
	return e.AsIdent(), path
}
