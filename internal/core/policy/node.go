package policy

import (
	"path"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/sallyport/sallyport/internal/core/pattern"
	"github.com/sallyport/sallyport/internal/core/session"
)

// node is a part of a condition that is ready to be asked. Its values are those
// of the library: true, false, unknown, an error, or absent.
type node interface {
	eval(s *scope) ref.Val
}

// scope is what the nodes of one set see of one session, and what they already
// found out about it.
type scope struct {
	v     view
	vars  []local
	kept  []kept                      // by the slots of keep
	spent uint64                      // in units of costMax, since it was last set to 0
	frame *interpreter.ExecutionFrame // for leaves; nil until one is asked
}

// local is a variable of a comprehension.
type local struct {
	name string
	val  ref.Val
}

// kept is what came of a part that several rules may share, with what it cost:
// each of them pays for it, so that what a rule costs depends on no other.
type kept struct {
	val  ref.Val
	cost uint64
}

// begin makes the scope one of a session. A scope that is done with another one
// can be used again.
func (s *scope) begin(set *Set, about *session.Session, who *session.Actor, before bool) {
	s.v.begin(about, who, before)
	s.vars, s.spent = s.vars[:0], 0
	if len(s.kept) != set.slots {
		s.kept = make([]kept, set.slots)
		return
	}
	clear(s.kept)
}

func (s *scope) close() {
	if s != nil && s.frame != nil {
		s.frame.Close()
		s.frame = nil
	}
}

// over reports whether a condition has cost more than it may.
func (s *scope) over() bool { return s.spent > costMax }

// ResolveName implements cel.Activation.
func (s *scope) ResolveName(name string) (any, bool) {
	for i := len(s.vars) - 1; i >= 0; i-- {
		if s.vars[i].name == name {
			return s.vars[i].val, true
		}
	}
	return s.v.ResolveName(name)
}

// Parent implements cel.Activation.
func (s *scope) Parent() cel.Activation { return nil }

// keep asks its part once for each scope, where several conditions have it.
type keep struct {
	node
	slot int // unshared as long as one condition has it
}

const unshared = -1

func (k *keep) eval(s *scope) ref.Val {
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

func (l *logic) eval(s *scope) ref.Val {
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

// not is !.
type not struct{ node }

func (n *not) eval(s *scope) ref.Val {
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

func (v variable) eval(s *scope) ref.Val { return s.vars[v].val }

// root is the session or request itself.
type root struct{}

func (root) eval(s *scope) ref.Val { return &s.v.self }

// get reads a field.
type get struct {
	of    node
	field field
}

func (g *get) eval(s *scope) ref.Val { return read(g.field, g.of.eval(s).Value()) }

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

func (h *has) eval(s *scope) ref.Val {
	of := h.of.eval(s)
	if types.IsUnknown(of) {
		if v, ok := begin(h.of).(variable); ok && types.IsUnknown(v.eval(s)) {
			return of // an element that nobody knows
		}
	}
	return types.Bool(hasValue(h.field, of.Value()))
}

// element is an element of a list at a constant place.
type element struct {
	of node
	i  int
}

func (e *element) eval(s *scope) ref.Val {
	of := e.of.eval(s)
	if l, ok := of.(*list); ok {
		return l.get(e.i)
	}
	return unanswered(of)
}

// base is basename().
type base struct{ of node }

func (b *base) eval(s *scope) ref.Val {
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

func (t *textual) eval(s *scope) ref.Val {
	switch v := t.of.eval(s).(type) {
	case types.String:
		s.spent += 1 + uint64(len(v))*t.weight/100
		return types.Bool(t.test(string(v)))
	case *nothing:
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

func (n *numeric) eval(s *scope) ref.Val {
	s.spent++
	switch v := n.of.eval(s).(type) {
	case types.Int:
		return types.Bool(n.test(int(v)))
	case *nothing:
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

func (p *patterned) eval(s *scope) ref.Val {
	switch v := p.of.eval(s).(type) {
	case *object:
		x := v.it.(*program)
		text, fits := x.exe, x.exeLike
		if p.line {
			text, fits = x.commandLine(), x.commandLike
		}
		s.spent += 1 + p.patterns*(1+uint64(len(text))/64)
		return fits(p.set)
	case *nothing:
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

func (z *sized) eval(s *scope) ref.Val {
	s.spent++
	switch l := z.of.eval(s).(type) {
	case *list:
		if l.rest != nil {
			return l.rest
		}
		return types.Bool(z.test(l.n))
	case *nothing:
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

func (l *loop) eval(s *scope) ref.Val {
	over := l.over.eval(s)
	elements, ok := over.(*list)
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
func (l *loop) each(s *scope, elements *list, j *junction) bool {
	it := &s.vars[len(s.vars)-1].val
	for i := range elements.n {
		s.spent++
		*it = elements.at(i)
		if j.add(l.body.eval(s), l.decisive) {
			return true
		}
		if s.over() {
			return false
		}
		it = &s.vars[len(s.vars)-1].val // a loop within may have moved them
	}
	if elements.rest == nil {
		return false
	}
	*it = elements.rest
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

func (l *leaf) eval(s *scope) ref.Val {
	s.spent += l.cost
	if s.frame == nil {
		s.frame, _ = interpreter.NewExecutionFrame(s) // fails only for what is no activation
	}
	return l.Exec(s.frame)
}
