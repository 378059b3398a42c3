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
	// counted is the same program, with its cost counted and limited; nil when
	// no input can make it exceed costMax.
	counted cel.Program
	// dear says that even an input that is not large can.
	dear bool
}

// newCondition plans a checked expression.
func newCondition(env *cel.Env, checked *cel.Ast) (*condition, error) {
	c := &condition{text: checked.Source().Content(), ast: checked.NativeRep()}
	most, err := env.EstimateCost(checked, sizes{false})
	if err != nil {
		return nil, err
	}
	usual, err := env.EstimateCost(checked, sizes{true})
	if err != nil {
		return nil, err
	}
	c.dear = usual.Max > costMax
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(lenient(c.ast))}
	if c.program, err = env.Program(checked, options...); err == nil && most.Max > costMax {
		c.counted, err = env.Program(checked, append(options, cel.CostLimit(costMax))...)
	}
	return c, err
}

// sizes bounds the inputs of conditions for the estimate of their cost: of those
// that are usual, as view.usual has it, or of all.
type sizes struct{ usual bool }

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

// usual reports whether a session's lists and texts are as short as nearly all
// are: then conditions that are only dear for long ones need no counting.
func (v *view) usual() bool {
	if v.size == 0 {
		v.size = 1
		if small(v.s) {
			v.size = 2
		}
	}
	return v.size == 2
}

func small(s *session.Session) bool {
	short := func(all ...string) bool {
		for _, t := range all {
			if len(t) > usualName {
				return false
			}
		}
		return true
	}
	argv := func(a []string) bool {
		n := 0
		for _, t := range a {
			n += len(t) + 1
		}
		return len(a) <= usualList && n <= usualCommand
	}
	t, a := &s.Target, &s.Actor
	if !argv(s.Argv) || !argv(a.Argv) || len(s.Path) > usualCommand || len(s.Processes) > usualList/2 || len(s.Evidence) > usualList ||
		len(s.Attribution.Candidates) > usualList || len(a.Groups) > usualList || len(t.Labels) > usualList || len(a.Extra) > 0 ||
		a.Impersonator != nil || len(s.Gaps) > usualList || len(a.Doubts) > usualList ||
		!short(a.User, a.LoginUser, a.Exe, a.Address, a.UserAgent, t.ContainerName, t.Image, t.Namespace, t.Pod, t.Workload, s.User) ||
		!short(a.Groups...) || !short(s.Gaps...) || !short(a.Doubts...) {
		return false
	}
	for k, v := range t.Labels {
		if !short(k, v) {
			return false
		}
	}
	for i := range s.Attribution.Candidates {
		if c := &s.Attribution.Candidates[i]; len(c.Groups) > usualList || !short(c.User, c.LoginUser, c.Exe, c.Address, c.UserAgent) || !short(c.Groups...) {
			return false
		}
	}
	for i := range s.Evidence {
		if !short(s.Evidence[i].What, s.Evidence[i].Detail) {
			return false
		}
	}
	for i := range s.Processes {
		p := &s.Processes[i]
		if !argv(p.Argv) || !short(p.Exe, p.Filename) || len(p.Execs) > 1 {
			return false
		}
		for _, e := range p.Execs {
			if !argv(e.Argv) || !short(e.Exe) {
				return false
			}
		}
	}
	return true
}

// EstimateCallCost implements cost.Estimator: the functions of this package look
// at every byte of every pattern.
func (z sizes) EstimateCallCost(function, _ string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	if function != "like" && function != "within" {
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
	program := c.program
	switch {
	case c.counted != nil && (c.dear || !v.usual()):
		program = c.counted
	case frame != nil:
		in = frame
	}
	out, _, err := program.Eval(in)
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
