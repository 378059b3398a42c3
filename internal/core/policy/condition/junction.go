package condition

import (
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// junction joins the values of the parts of && or || in the library's way.
type junction struct {
	first *types.Unknown
	more  []*types.Unknown
	err   ref.Val
}

// add takes a value and reports whether it decides.
func (j *junction) add(v ref.Val, decisive types.Bool) bool {
	switch v := v.(type) {
	case types.Bool:
		return v == decisive
	case *types.Unknown:
		j.join(v)
	case *unsure:
		j.join(v.Unknown)
		for _, u := range v.more {
			j.join(u)
		}
	default:
		if j.err == nil {
			j.err = errorOf(v)
		}
	}
	return false
}

// result returns what the values come to, none of which decided.
func (j *junction) result(decisive types.Bool) ref.Val {
	switch {
	case j.more != nil:
		return &unsure{j.first, j.more}
	case j.first != nil:
		return j.first
	case j.err != nil:
		return j.err
	}
	return !decisive
}

func (j *junction) join(v *types.Unknown) {
	switch {
	case j.first == nil:
		j.first = v
	case j.first != v && !slices.Contains(j.more, v):
		j.more = append(j.more, v)
	}
}

// unsure is a value that is unknown for several fields. The library has such
// values, too, and takes longer to join them.
type unsure struct {
	*types.Unknown
	more []*types.Unknown
}

// errorOf returns the error that a value is, or that there is where it is no
// flag.
func errorOf(v ref.Val) ref.Val {
	if types.IsError(v) {
		return v
	}
	return types.MaybeNoSuchOverloadErr(v)
}

// unanswered is the answer to a question about a value of which it cannot be asked:
// unknown where nobody knows the value, else an error.
func unanswered(v ref.Val) ref.Val {
	if types.IsUnknown(v) {
		return v
	}
	return errorOf(v)
}
