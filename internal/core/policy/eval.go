package policy

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/sallyport/sallyport/internal/core/session"
)

// costMax is what one evaluation of one condition may cost, in the units of
// CEL's cost model: about one for a field or a comparison, more for long texts.
// It is a few milliseconds.
const costMax = 200_000

// ErrCost says that a condition would have cost more than it may.
var ErrCost = errors.New("the condition costs more than it may")

// condition is a checked CEL expression, ready to be asked.
type condition struct {
	text    string
	ast     *ast.AST
	program cel.Program
	// bounded says that no input can make it exceed costMax, so that nobody
	// needs to count.
	bounded bool
}

// newCondition plans a checked expression.
func newCondition(env *cel.Env, checked *cel.Ast) (*condition, error) {
	c := &condition{text: checked.Source().Content(), ast: checked.NativeRep()}
	estimate, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return nil, err
	}
	c.bounded = estimate.Max <= costMax
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(lenient(c.ast))}
	if !c.bounded {
		options = append(options, cel.CostLimit(costMax))
	}
	c.program, err = env.Program(checked, options...)
	return c, err
}

// sizes bounds the inputs of conditions for the estimate of their cost.
type sizes struct{}

// The bounds: names and paths are short; a command is as long as somebody likes.
const (
	nameSize    = 4 << 10
	commandSize = 4 << 20
	listSize    = 64 << 10
)

// EstimateSize implements cost.Estimator.
func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	p := n.Path()
	size := uint64(nameSize)
	switch n.Type().Kind() {
	case types.ListKind, types.MapKind:
		size = listSize
	case types.StringKind:
		if strings.Contains(strings.Join(p, "."), "argv") || len(p) > 0 && (p[len(p)-1] == "command" || p[len(p)-1] == "path") {
			size = commandSize
		}
	default:
		return nil
	}
	return &cost.SizeEstimate{Max: size}
}

// EstimateCallCost implements cost.Estimator: the functions of this package look
// at every byte of every pattern.
func (sizes) EstimateCallCost(function, _ string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	if function != "like" && function != "within" {
		return nil
	}
	n := uint64(nameSize)
	for _, a := range args {
		if a.Type().Kind() == types.ListKind {
			n *= 16
		}
	}
	return &cost.CallEstimate{CostEstimate: cost.CostEstimate{Max: n / 10}}
}

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
		case "matches":
			if c, ok := call.Args()[1].(interpreter.InterpretableConst); ok {
				compiled, err := interpreter.MatchesRegexOptimization.Factory(call, fmt.Sprint(c.Value().Value()))
				if err != nil {
					return nil, err
				}
				call = compiled
			}
		}
		l := &lenientCall{InterpretableV2: call, args: call.Args(), instead: absent}
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
		if a.Exec(frame) == absent {
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
		if l, ok := a.Exec(frame).(*list); ok && l.rest != nil {
			return l.rest
		}
	}
	return e.InterpretableV2.Exec(frame)
}

// Eval implements interpreter.Interpretable.
func (e *listsEqual) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, e.Exec)
}

// answer is what a condition says: yes, no, unknown or an error.
type answer struct {
	yes     bool
	unknown *types.Unknown
	err     error
}

// ask evaluates the condition.
func (c *condition) ask(v *view, frame *interpreter.ExecutionFrame) answer {
	var in any = v
	if c.bounded && frame != nil {
		in = frame
	}
	out, _, err := c.program.Eval(in)
	if err != nil {
		var cancelled interpreter.EvalCancelledError
		if errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
			err = ErrCost
		}
		if strings.Contains(err.Error(), "ref.Val is *types.Unknown") {
			// The library takes the length of every list for known where an index
			// is computed. Of a list that is not known to its end it is not.
			return answer{unknown: unknownOf("processes")}
		}
		return answer{err: err}
	}
	switch out := out.(type) {
	case types.Bool:
		return answer{yes: bool(out)}
	case *types.Unknown:
		return answer{unknown: out}
	case *nothing:
		return answer{} // a flag that is not there is not set
	}
	return answer{err: fmt.Errorf("the condition gave %T", out)}
}

// candidatesMax is how many candidates for the actor a condition is asked about.
const candidatesMax = 16

// judge evaluates the condition and, where it cannot be told because one of
// several people may be the actor, asks about each of them: what holds of all is
// known.
func (c *condition) judge(v *view, frame *interpreter.ExecutionFrame) answer {
	a := c.ask(v, frame)
	s := v.s
	if a.unknown == nil || s.Attribution.Level != session.LevelSet || len(s.Attribution.Candidates) == 0 ||
		len(s.Attribution.Candidates) > candidatesMax {
		return a
	}
	defer v.setActor(&s.Actor, known(&s.Actor))
	var all answer
	for i := range s.Attribution.Candidates {
		who := &s.Attribution.Candidates[i]
		v.setActor(who, known(who))
		one := c.ask(v, nil)
		if one.err != nil || one.unknown != nil || i > 0 && one.yes != all.yes {
			return a
		}
		all = one
	}
	return all
}
