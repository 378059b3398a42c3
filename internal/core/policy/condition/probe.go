package condition

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/policy/value"
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
		if f.Test {
			paths[f.id] = f.Path
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
func (p prober) ask(known map[string]ref.Val) Answer {
	out, _, err := p.program.Eval(&field.Probe{Known: known})
	switch out := out.(type) {
	case types.Bool:
		return Answer{Yes: bool(out)}
	case *value.Nothing:
		return Answer{}
	case *types.Unknown:
		return Answer{why: out}
	}
	return Answer{why: err}
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
	root, ok := v.(*value.Object)
	if !ok {
		return field.Unknown(t.path)
	}
	return root.It.(*field.Probe).Has(t.path)
}

// Eval implements interpreter.Interpretable.
func (t testProbe) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, t.Exec)
}
