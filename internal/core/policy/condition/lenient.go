package condition

import (
	"fmt"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/sallyport/sallyport/internal/core/policy/value"
)

// lenient makes every question about nothing (a field that is not there) false,
// and everything computed from it nothing: without it "startsWith" of a missing
// namespace would be an error and not simply no.
func lenient(a *ast.AST) interpreter.InterpretableDecoratorV2 {
	return func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		call, ok := i.(interpreter.InterpretableCall)
		if !ok || allConst(call.Args()) {
			return i, nil
		}
		switch call.Function() {
		case "_==_", "_!=_":
			if a.GetType(call.Args()[0].ID()).Kind() == types.ListKind {
				return &listsEqual{call, call.Args()}, nil
			}
			return i, nil
		case "@in", "_&&_", "_||_", "!_", "@not_strictly_false", "_?_:_":
			return i, nil
		case "ilike", "commandLike":
			if fast, ok := newPatternCall(call); ok {
				return fast, nil
			}
		case "matches":
			if c, ok := call.Args()[1].(interpreter.InterpretableConst); ok {
				compiled, err := interpreter.MatchesRegexOptimization.Factory(call, fmt.Sprint(c.Value().Value()))
				if err != nil {
					return nil, err
				}
				call = compiled
			}
		}
		l := &lenientCall{InterpretableV2: call, args: call.Args(), instead: value.Absent}
		if a.GetType(call.ID()).Kind() == types.BoolKind {
			l.instead = types.False
		}
		return l, nil
	}
}

func allConst(args []interpreter.InterpretableV2) bool {
	for _, a := range args {
		if _, ok := a.(interpreter.InterpretableConst); !ok {
			return false
		}
	}
	return true
}

type lenientCall struct {
	interpreter.InterpretableV2
	args    []interpreter.InterpretableV2
	instead ref.Val
}

// Exec implements interpreter.InterpretableV2.
func (l *lenientCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	v := l.InterpretableV2.Exec(frame)
	if !types.IsError(v) {
		return v
	}
	for _, a := range l.args {
		if a.Exec(frame) == value.Absent {
			return l.instead
		}
	}
	return v
}

// Eval implements interpreter.Interpretable.
func (l *lenientCall) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, l.Exec)
}

// listsEqual compares lists, of which one may not be known to its end: the
// library's own would find that their lengths differ.
type listsEqual struct {
	interpreter.InterpretableV2
	args []interpreter.InterpretableV2
}

// Exec implements interpreter.InterpretableV2.
func (e *listsEqual) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	for _, a := range e.args {
		if l, ok := a.Exec(frame).(*value.List); ok && l.Rest != nil {
			return l.Rest
		}
	}
	return e.InterpretableV2.Exec(frame)
}

// Eval implements interpreter.Interpretable.
func (e *listsEqual) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, e.Exec)
}
