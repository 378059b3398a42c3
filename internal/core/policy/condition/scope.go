package condition

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Scope is what the conditions of one language see of one session, and what they
// already found out about it. The zero value wants Begin.
type Scope struct {
	v     field.View
	about *session.Session
	size  int8 // 0: not looked at; see usual
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

// Begin makes the scope one of a session of which somebody is the actor; before
// says that it is a request which has not run. Shared is the language's. A scope
// that is done with another session can be used again.
func (s *Scope) Begin(shared int, about *session.Session, who *session.Actor, before bool) {
	s.v.Begin(about, who, before)
	s.about, s.size = about, 0
	s.vars, s.spent = s.vars[:0], 0
	if len(s.kept) != shared {
		s.kept = make([]kept, shared)
		return
	}
	clear(s.kept)
}

// Close ends the use of a scope for its session; of nil it does nothing.
func (s *Scope) Close() {
	if s != nil && s.frame != nil {
		s.frame.Close()
		s.frame = nil
	}
}

// over reports whether a condition has cost more than it may.
func (s *Scope) over() bool { return s.spent > costMax }

// ResolveName implements cel.Activation.
func (s *Scope) ResolveName(name string) (any, bool) {
	for i := len(s.vars) - 1; i >= 0; i-- {
		if s.vars[i].name == name {
			return s.vars[i].val, true
		}
	}
	return s.v.ResolveName(name)
}

// Parent implements cel.Activation.
func (s *Scope) Parent() cel.Activation { return nil }
