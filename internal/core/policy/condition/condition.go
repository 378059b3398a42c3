package condition

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/policy/value"
)

// Condition is a checked CEL expression, ready to be asked.
type Condition struct {
	// parts is what has to hold, all of it; nil when the library answers.
	parts []part
	// program is the library's. Where there are parts, too, it answers for sessions
	// that are not usual; it is nil when the parts answer for every session.
	program cel.Program
	// leaves says that the library takes part.
	leaves bool
	// dear says that even an input that is not large can exceed costMax.
	dear bool
	// counted is the same program, with its cost counted and limited; nil when
	// no input can make it exceed costMax.
	counted cel.Program

	ast    *ast.AST
	uses   []Use  // where it reads a field
	prober prober // asks it about sessions of which little is known
}

// plan plans a checked expression.
func (l *Language) plan(checked *cel.Ast) (*Condition, error) {
	c := &Condition{ast: checked.NativeRep()}
	p := planning{planner: l.planner, ast: c.ast}
	var err error
	if c.parts, err = p.conjunction(c.ast.Expr()); err != nil {
		return nil, err
	}
	c.leaves = p.most > 0
	if p.usual > leafMax {
		c.parts = nil
	}
	if c.parts == nil || p.most > leafMax {
		err = c.library(l.env, checked)
	}
	if err == nil {
		c.uses = fieldPaths(c.ast)
		c.prober, err = newProber(l.env, checked)
	}
	return c, err
}

// library makes the library's programs.
func (c *Condition) library(env *cel.Env, checked *cel.Ast) error {
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

// Answer is what a condition says: yes, no, unknown or an error.
type Answer struct {
	Yes bool
	// why it is neither yes nor no: *types.Unknown, *unsure or an error; nil when it
	// is one. One value for all three keeps answers in registers.
	why any
}

// Unknown reports whether it is neither yes nor no, because fields are unknown.
func (a Answer) Unknown() bool { return a.why != nil && a.Err() == nil }

// Err says why the condition could not be evaluated; nil when it could.
func (a Answer) Err() error {
	if a.why == nil {
		return nil
	}
	err, _ := a.why.(error)
	return err
}

// Fields names the fields that made it unknown, in order.
func (a Answer) Fields() []string {
	switch why := a.why.(type) {
	case *types.Unknown:
		return field.Paths(why)
	case *unsure:
		return field.Paths(append([]*types.Unknown{why.Unknown}, why.more...)...)
	}
	return nil
}

// Ask evaluates the condition without the parts that a given field makes true.
func (c *Condition) Ask(s *Scope, known Given) (a Answer) {
	if c.program != nil && (c.parts == nil || !s.usual()) {
		return c.askLibrary(s)
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
		return Answer{why: ErrCost}
	}
	return conclude(out, nil)
}

func (c *Condition) eval(s *Scope, known Given) ref.Val {
	if len(c.parts) == 1 && known&c.parts[0].reads == 0 {
		return c.parts[0].eval(s)
	}
	var j junction
	for i := range c.parts {
		p := &c.parts[i]
		if known&p.reads != 0 {
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

func (c *Condition) askLibrary(s *Scope) Answer {
	program := c.program
	if c.counted != nil && (c.dear || !s.usual()) {
		program = c.counted
	}
	out, _, err := program.Eval(&s.v)
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
		err = ErrCost
	}
	return conclude(out, err)
}

// absentIndex is how the library's error about an index ends that is an absent field.
var absentIndex = fmt.Sprintf("invalid qualifier type: %T", value.Absent)

var errIndex = errors.New("the index is a field that is not there")

// conclude makes an answer of what a condition came to.
func conclude(out ref.Val, err error) Answer {
	if failed, ok := out.(*types.Err); ok && err == nil {
		err = failed
	}
	if err != nil {
		if strings.Contains(err.Error(), "ref.Val is *types.Unknown") {
			// The library takes the length of every list for known where an index
			// is computed. Of a list that is not known to its end it is not.
			return Answer{why: field.Unknown("processes")}
		}
		if strings.HasSuffix(err.Error(), absentIndex) {
			err = errIndex
		}
		return Answer{why: err}
	}
	switch out := out.(type) {
	case types.Bool:
		return Answer{Yes: bool(out)}
	case *types.Unknown:
		return Answer{why: out}
	case *unsure:
		return Answer{why: out}
	case *value.Nothing:
		return Answer{} // a flag that is not there is not set
	}
	return Answer{why: fmt.Errorf("the condition gave %T", out)}
}

// Given says which of a session's fields an index looked up. A part of a
// conjunction that reads one of these and nothing else is either true or false
// for the value; had it been false, the index would have left the condition out.
type Given uint8

// The fields.
const (
	GivenChannel Given = 1 << iota
	GivenKind
	GivenNamespace
)

// givenBy returns the field of a path, 0 when an index does not look it up.
func givenBy(path string) Given {
	switch path {
	case "channel":
		return GivenChannel
	case "kind":
		return GivenKind
	case "target.namespace":
		return GivenNamespace
	}
	return 0
}
