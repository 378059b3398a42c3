package condition

import (
	"path"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/sallyport/sallyport/internal/core/pattern"
	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/policy/value"
)

// node is a part of a condition that is ready to be asked. Its values are those
// of the library: true, false, unknown, an error, or absent.
type node interface {
	eval(s *Scope) ref.Val
}

// keep asks its part once for each scope, where several conditions have it.
type keep struct {
	node
	slot int // unshared as long as one condition has it
}

const unshared = -1

func (k *keep) eval(s *Scope) ref.Val {
	if k.slot == unshared {
		return k.node.eval(s)
	}
	if known := &s.kept[k.slot]; known.val != nil {
		s.spent += known.cost
		return known.val
	}
	before := s.spent
	s.spent = 0
	v := k.node.eval(s)
	s.kept[k.slot] = kept{v, s.spent}
	s.spent += before
	return v
}

// logic is && or ||: of several parts, one that is decisive (false of &&, true
// of ||) decides, whatever the others are; else what is unknown makes it unknown,
// and then what is an error makes it one.
type logic struct {
	decisive types.Bool
	parts    []node
}

func (l *logic) eval(s *Scope) ref.Val {
	var j junction
	for _, p := range l.parts {
		if j.add(p.eval(s), l.decisive) {
			return l.decisive
		}
		if s.over() {
			break
		}
	}
	return j.result(l.decisive)
}

// not is !.
type not struct{ node }

func (n *not) eval(s *Scope) ref.Val {
	switch v := n.node.eval(s).(type) {
	case types.Bool:
		return !v
	case *types.Unknown:
		return v
	case *unsure:
		return v
	default:
		return errorOf(v)
	}
}

// variable is a variable of a comprehension, by its place among those around it.
type variable int

func (v variable) eval(s *Scope) ref.Val { return s.vars[v].val }

// root is the session or request itself.
type root struct{}

func (root) eval(s *Scope) ref.Val { return s.v.Self() }

// get reads a field.
type get struct {
	of    node
	field field.Field
}

func (g *get) eval(s *Scope) ref.Val { return g.field.Read(g.of.eval(s).Value()) }

// begin returns what a chain of fields begins with.
func begin(n node) node {
	for {
		g, ok := n.(*get)
		if !ok {
			return n
		}
		n = g.of
	}
}

// has is has() of a field.
type has get

func (h *has) eval(s *Scope) ref.Val {
	of := h.of.eval(s)
	if types.IsUnknown(of) {
		if v, ok := begin(h.of).(variable); ok && types.IsUnknown(v.eval(s)) {
			return of // an element that nobody knows
		}
	}
	return types.Bool(h.field.HasValue(of.Value()))
}

// element is an element of a list at a constant place.
type element struct {
	of node
	i  int
}

func (e *element) eval(s *Scope) ref.Val {
	of := e.of.eval(s)
	if l, ok := of.(*value.List); ok {
		return l.Nth(e.i)
	}
	return unanswered(of)
}

// base is basename().
type base struct{ of node }

func (b *base) eval(s *Scope) ref.Val {
	switch v := b.of.eval(s).(type) {
	case types.String:
		return types.String(path.Base(string(v)))
	default:
		return v
	}
}

// textual is a question about one text, the other side of which is known when
// rules are loaded.
type textual struct {
	of     node
	test   func(string) bool
	weight uint64 // cost for each hundred bytes of the text
	// nothing is the answer when there is no text.
	nothing types.Bool
}

func (t *textual) eval(s *Scope) ref.Val {
	switch v := t.of.eval(s).(type) {
	case types.String:
		s.spent += 1 + uint64(len(v))*t.weight/100
		return types.Bool(t.test(string(v)))
	case *value.Nothing:
		return t.nothing
	default:
		return unanswered(v)
	}
}

// numeric compares a number with a constant one.
type numeric struct {
	of   node
	test func(int) bool
	// nothing is the answer when there is no number.
	nothing types.Bool
}

func (n *numeric) eval(s *Scope) ref.Val {
	s.spent++
	switch v := n.of.eval(s).(type) {
	case types.Int:
		return types.Bool(n.test(int(v)))
	case *value.Nothing:
		return n.nothing
	default:
		return unanswered(v)
	}
}

// patterned asks whether a program's executable or command line fits one of some
// patterns. Both are put into lower case once for all rules.
type patterned struct {
	of       node
	line     bool // the command line
	set      *pattern.Set
	patterns uint64
}

func (p *patterned) eval(s *Scope) ref.Val {
	switch v := p.of.eval(s).(type) {
	case *value.Object:
		x := v.It.(*field.Program)
		text, fits := x.Exe(), x.ExeLike
		if p.line {
			text, fits = x.CommandLine(), x.CommandLike
		}
		s.spent += 1 + p.patterns*(1+uint64(len(text))/64)
		return fits(p.set)
	case *value.Nothing:
		return types.False
	default:
		return unanswered(v)
	}
}

// sized compares the length of a list with a number.
type sized struct {
	of   node
	test func(int) bool
	// nothing is the answer when there is no list.
	nothing types.Bool
}

func (z *sized) eval(s *Scope) ref.Val {
	s.spent++
	switch l := z.of.eval(s).(type) {
	case *value.List:
		if l.Rest != nil {
			return l.Rest
		}
		return types.Bool(z.test(l.N))
	case *value.Nothing:
		return z.nothing
	default:
		return unanswered(l)
	}
}

// loop is exists() or all(): || or && over the elements of a list, the unknown
// rest of it among them.
type loop struct {
	over     node
	name     string
	decisive types.Bool // true of exists, false of all
	body     node
}

func (l *loop) eval(s *Scope) ref.Val {
	over := l.over.eval(s)
	elements, ok := over.(*value.List)
	if !ok {
		return unanswered(over)
	}
	var j junction
	place := len(s.vars)
	s.vars = append(s.vars, local{name: l.name})
	decided := l.each(s, elements, &j)
	s.vars = s.vars[:place]
	if decided {
		return l.decisive
	}
	return j.result(l.decisive)
}

// each asks about the elements in turn, the last variable of the scope, and
// reports whether one of them decides.
func (l *loop) each(s *Scope, elements *value.List, j *junction) bool {
	it := &s.vars[len(s.vars)-1].val
	for i := range elements.N {
		s.spent++
		*it = elements.At(i)
		if j.add(l.body.eval(s), l.decisive) {
			return true
		}
		if s.over() {
			return false
		}
		it = &s.vars[len(s.vars)-1].val // a loop within may have moved them
	}
	if elements.Rest == nil {
		return false
	}
	*it = elements.Rest
	return j.add(l.body.eval(s), l.decisive)
}

// leaf is a part that the library evaluates.
type leaf struct {
	interpreter.InterpretableV2
	loops bool // it goes through lists
	cost  uint64
}

// leafCost is what asking a leaf costs at least; those that may cost more than
// leafMax by the library's own estimate are not planned.
const (
	leafCost = 10
	leafMax  = 1000
)

func (l *leaf) eval(s *Scope) ref.Val {
	s.spent += l.cost
	if s.frame == nil {
		s.frame, _ = interpreter.NewExecutionFrame(s) // fails only for what is no activation
	}
	return l.Exec(s.frame)
}
