package condition

import (
	"fmt"
	"net/netip"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/sallyport/sallyport/internal/core/pattern"
	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/policy/value"
)

// likeOne reports whether a text fits a pattern in which each * stands for any
// text, also none.
func likeOne(s, p ref.Val) ref.Val {
	return types.Bool(pattern.NewStars(string(p.(types.String))).Match(string(s.(types.String))))
}

func likeAny(s, patterns ref.Val) ref.Val {
	return anyOf(patterns, func(p ref.Val) ref.Val { return likeOne(s, p) })
}

// withinOne reports whether an address, with or without a port, lies in a range
// ("10.0.0.0/8" or one address). Text that is no address lies in none.
func withinOne(address, in ref.Val) ref.Val {
	a, ok := parseAddress(string(address.(types.String)))
	if !ok {
		return types.False
	}
	r, err := parseRange(string(in.(types.String)))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(r.Contains(a))
}

func withinAny(address, ranges ref.Val) ref.Val {
	return anyOf(ranges, func(r ref.Val) ref.Val { return withinOne(address, r) })
}

func parseAddress(s string) (netip.Addr, bool) {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

func parseRange(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a range such as 10.0.0.0/8", s)
	}
	return p.Masked(), nil
}

// anyOf asks a question about each element of a list until one says yes.
func anyOf(of ref.Val, ask func(ref.Val) ref.Val) ref.Val {
	answer := ref.Val(types.False)
	for it := of.(traits.Lister).Iterator(); it.HasNext() == types.True; {
		switch v := it.Next().(type) {
		case *types.Unknown:
			answer = v
		case types.String:
			if got := ask(v); got != types.False {
				return got
			}
		}
	}
	return answer
}

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
	case *value.Object:
		if p, ok := v.It.(*field.Program); ok {
			return p.CommandLike(set)
		}
	case *value.Nothing:
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
