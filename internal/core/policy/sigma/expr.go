package sigma

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/attack"
)

// expr is what a rule asks of one event.
type expr struct {
	op   op
	args []*expr
	// Of a test:
	cel  string
	atom bool // ! may stand before cel as it is
	dear int  // what asking costs, more or less
	// holds says whether it is so of a request; nil when that does not tell.
	holds func(attack.APIRequest) bool
}

type op uint8

const (
	test op = iota
	not
	and
	or
)

// The costs of tests, by which they are put in order: the names of most programs
// rule a condition out before its long texts are looked at.
const (
	cheap = iota
	usual
	long
	regular
)

func negated(e *expr) *expr {
	if e.op == not {
		return e.args[0]
	}
	return &expr{op: not, args: []*expr{e}, dear: e.dear}
}

// joined puts expressions together, those that cost less first: the order means
// nothing to Sigma.
func joined(o op, list []*expr) *expr {
	var all []*expr
	for _, e := range list {
		if e.op == o {
			all = append(all, e.args...)
		} else {
			all = append(all, e)
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	slices.SortStableFunc(all, func(a, b *expr) int { return a.dear - b.dear })
	e := &expr{op: o, args: all}
	for _, a := range all {
		e.dear = max(e.dear, a.dear)
	}
	return e
}

// String writes the expression in CEL.
func (e *expr) String() string {
	switch e.op {
	case test:
		return e.cel
	case not:
		if a := e.args[0]; a.op == test && a.atom {
			return "!" + a.cel
		}
		return "!(" + e.args[0].String() + ")"
	case and, or:
	}
	parts := make([]string, len(e.args))
	for i, a := range e.args {
		parts[i] = a.String()
		if a.op == and || a.op == or {
			parts[i] = "(" + parts[i] + ")"
		}
	}
	if e.op == and {
		return strings.Join(parts, " && ")
	}
	return strings.Join(parts, " || ")
}

// truth is what is known of an expression when only the request is.
type truth int8

const (
	no truth = iota - 1
	maybe
	yes
)

func (e *expr) of(r attack.APIRequest) truth {
	switch e.op {
	case test:
		switch {
		case e.holds == nil:
			return maybe
		case e.holds(r):
			return yes
		}
		return no
	case not:
		return -e.args[0].of(r)
	case and, or:
	}
	out := e.args[0].of(r)
	for _, a := range e.args[1:] {
		if e.op == and {
			out = min(out, a.of(r))
		} else {
			out = max(out, a.of(r))
		}
	}
	return out
}

// possible reports whether some request can be one that the expression is about.
func (e *expr) possible(all []attack.APIRequest) bool {
	return slices.ContainsFunc(all, func(r attack.APIRequest) bool {
		return slices.ContainsFunc(r.Verbs, func(verb string) bool {
			one := r
			one.Verbs = []string{verb}
			return e.of(one) != no
		})
	})
}
