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
	ast *ast.AST
	// parts is what has to hold, all of it; nil when the library answers.
	parts []part
	// leaves says that the library takes part.
	leaves bool
	// program is the library's. Where there are parts, too, it answers for sessions
	// that are not usual; it is nil when the parts answer for every session.
	program cel.Program
	// counted is the same program, with its cost counted and limited; nil when
	// no input can make it exceed costMax.
	counted cel.Program
	// dear says that even an input that is not large can.
	dear bool
}

// newCondition plans a checked expression.
func newCondition(env *cel.Env, planner *planner, checked *cel.Ast) (*condition, error) {
	c := &condition{ast: checked.NativeRep()}
	p := planning{planner: planner, ast: c.ast}
	var err error
	if c.parts, err = p.conjunction(c.ast.Expr()); err != nil {
		return nil, err
	}
	c.leaves = p.most > 0
	if p.usual > leafMax {
		c.parts = nil
	}
	if c.parts == nil || p.most > leafMax {
		err = c.library(env, checked)
	}
	return c, err
}

// library makes the library's programs.
func (c *condition) library(env *cel.Env, checked *cel.Ast) error {
	most, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return err
	}
	usual, err := env.EstimateCost(checked, sizes{usual: true})
	if err != nil {
		return err
	}
	c.dear = usual.Max > costMax
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(lenient(c.ast))}
	if c.program, err = env.Program(checked, options...); err == nil && most.Max > costMax {
		c.counted, err = env.Program(checked, append(options, cel.CostLimit(costMax))...)
	}
	return err
}

// sizes bounds the inputs of conditions for the estimate of their cost: of those
// that are usual, as view.usual has it, or of all.
type sizes struct {
	usual  bool
	locals []source // variables of comprehensions around what is estimated
}

// The bounds: names and paths are short; a command is as long as somebody likes.
const (
	nameSize    = 4 << 10
	commandSize = 4 << 20
	listSize    = 64 << 10

	usualName    = 256
	usualCommand = 2 << 10
	usualList    = 32
)

// EstimateSize implements cost.Estimator.
func (z sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	name, command, list := uint64(nameSize), uint64(commandSize), uint64(listSize)
	if z.usual {
		name, command, list = usualName, usualCommand, usualList
	}
	p := n.Path()
	for _, l := range z.locals {
		if len(p) > 0 && p[0] == l.name {
			p = append([]string{l.path}, p[1:]...)
		}
	}
	switch n.Type().Kind() {
	case types.ListKind, types.MapKind:
		return &cost.SizeEstimate{Max: list}
	case types.StringKind:
		if strings.Contains(strings.Join(p, "."), "argv") || len(p) > 0 && (p[len(p)-1] == "command" || p[len(p)-1] == "path") {
			return &cost.SizeEstimate{Max: command}
		}
		return &cost.SizeEstimate{Max: name}
	default:
		return nil
	}
}

// EstimateCallCost implements cost.Estimator: the functions of this package look
// at every byte of every pattern.
func (z sizes) EstimateCallCost(function, _ string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	switch function {
	case "like", "within", "ilike", "commandLike":
	default:
		return nil
	}
	n := uint64(nameSize)
	if z.usual {
		n = usualName
	}
	for _, a := range args {
		if a.Type().Kind() == types.ListKind {
			n *= 16
		}
	}
	return &cost.CallEstimate{CostEstimate: cost.Estimate{Max: n / 10}}
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
	more    []*types.Unknown // that it is unknown for, too
	err     error
}

// ask evaluates the condition, without what the index found to be true.
func (c *condition) ask(s *scope, known found) (a answer) {
	if c.program != nil && (c.parts == nil || !s.v.usual()) {
		return c.askLibrary(&s.v)
	}
	if c.leaves {
		defer func() {
			if r := recover(); r != nil {
				a = conclude(nil, fmt.Errorf("internal error: %v", r)) // as the library says of its own functions
			}
		}()
	}
	s.spent, s.vars = 0, s.vars[:0]
	out := c.eval(s, known)
	if s.over() {
		return answer{err: ErrCost}
	}
	return conclude(out, nil)
}

func (c *condition) eval(s *scope, known found) ref.Val {
	if len(c.parts) == 1 && !known.has(c.parts[0].path) {
		return c.parts[0].eval(s)
	}
	var j junction
	for i := range c.parts {
		p := &c.parts[i]
		if known.has(p.path) {
			continue
		}
		if j.add(p.eval(s), types.False) {
			return types.False
		}
		if s.over() {
			break
		}
	}
	return j.result(types.False)
}

func (c *condition) askLibrary(v *view) answer {
	program := c.program
	if c.counted != nil && (c.dear || !v.usual()) {
		program = c.counted
	}
	out, _, err := program.Eval(v)
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
		err = ErrCost
	}
	return conclude(out, err)
}

// conclude makes an answer of what a condition came to.
func conclude(out ref.Val, err error) answer {
	if failed, ok := out.(*types.Err); ok && err == nil {
		err = failed
	}
	if err != nil {
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
	case *unsure:
		return answer{unknown: out.Unknown, more: out.more}
	case *nothing:
		return answer{} // a flag that is not there is not set
	}
	return answer{err: fmt.Errorf("the condition gave %T", out)}
}

// candidatesMax is how many candidates for the actor a condition is asked about.
const candidatesMax = 16

// judge evaluates a condition and, where it cannot be told because one of
// several people may be the actor, asks about each of them: what holds of all is
// known.
func (a *asking) judge(c *condition, known found) answer {
	got := c.ask(a.scope, known)
	who := a.about.Attribution.Candidates
	if got.unknown == nil || a.about.Attribution.Level != session.LevelSet || len(who) == 0 || len(who) > candidatesMax {
		return got
	}
	var all answer
	for i := range who {
		one := c.ask(a.candidate(i), known)
		if one.err != nil || one.unknown != nil || i > 0 && one.yes != all.yes {
			return got
		}
		all = one
	}
	return all
}
