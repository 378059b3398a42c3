package policy

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/sallyport/sallyport/internal/core/pattern"
)

// patternLike is ilike and commandLike where the patterns are not written in the
// condition: they are read anew each time.
func patternLike(of, patterns ref.Val) ref.Val {
	set, rest := patternsOf(patterns)
	got := fitsPattern(of, set)
	if rest != nil && got == types.False {
		return rest
	}
	return got
}

// patternsOf returns the patterns in a text or in a list of texts, and what is
// not known of the list.
func patternsOf(v ref.Val) (*pattern.Set, ref.Val) {
	if s, ok := v.(types.String); ok {
		return pattern.NewSet(string(s)), nil
	}
	var all []string
	var rest ref.Val
	for it := v.(traits.Lister).Iterator(); it.HasNext() == types.True; {
		switch p := it.Next().(type) {
		case types.String:
			all = append(all, string(p))
		case *types.Unknown:
			rest = p
		}
	}
	return pattern.NewSet(all...), rest
}

// fitsPattern asks a text, or the command line of a program.
func fitsPattern(v ref.Val, set *pattern.Set) ref.Val {
	switch v := v.(type) {
	case types.String:
		return types.Bool(set.Match(string(v)))
	case *object:
		if p, ok := v.it.(*program); ok {
			return p.commandLike(set)
		}
	case *nothing:
		return types.False
	case *types.Unknown, *types.Err:
		return v
	}
	return types.MaybeNoSuchOverloadErr(v)
}

// patternCall is a call of ilike or commandLike of which the patterns are written
// in the condition: they are read once.
type patternCall struct {
	interpreter.InterpretableV2 // the call
	of                          interpreter.InterpretableV2
	set                         *pattern.Set
}

// newPatternCall returns false when the patterns are not constant.
func newPatternCall(call interpreter.InterpretableCall) (interpreter.InterpretableV2, bool) {
	c, ok := call.Args()[1].(interpreter.InterpretableConst)
	if !ok {
		return nil, false
	}
	set, rest := patternsOf(c.Value())
	return &patternCall{call, call.Args()[0], set}, rest == nil
}

// Exec implements interpreter.InterpretableV2.
func (c *patternCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return fitsPattern(c.of.Exec(frame), c.set)
}

// Eval implements interpreter.Interpretable.
func (c *patternCall) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, c.Exec)
}
