package policy

import (
	"cmp"
	"math/bits"

	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/session"
)

// asking is one session that is being asked about. What is needed for it is made
// when the first rule asks: of most sessions none does.
type asking struct {
	set    *Set
	about  *session.Session
	before bool
	spare  *condition.Scope // to be used again; may be nil
	scope  *condition.Scope
	others []*condition.Scope // for each candidate for the actor
	found  found
}

func (a *asking) open() {
	if a.scope == nil {
		a.scope = cmp.Or(a.spare, &condition.Scope{})
		a.scope.Begin(a.set.slots, a.about, &a.about.Actor, a.before)
		a.found = a.set.index.found(a.about)
	}
}

// candidate returns the session as it is when one of several people is the actor.
func (a *asking) candidate(i int) *condition.Scope {
	if a.others == nil {
		a.others = make([]*condition.Scope, len(a.about.Attribution.Candidates))
	}
	if a.others[i] == nil {
		a.others[i] = &condition.Scope{}
		a.others[i].Begin(a.set.slots, a.about, &a.about.Attribution.Candidates[i], a.before)
	}
	return a.others[i]
}

func (a *asking) close() {
	a.scope.Close()
	for _, s := range a.others {
		s.Close()
	}
}

// each calls f with every rule that can hold, in order.
func (a *asking) each(f func(*rule)) {
	it := a.set.index.candidates(a.about)
	for word := range a.set.index.all {
		for which := it.word(word); which != 0; which &= which - 1 {
			a.open()
			f(a.set.rules[word*64+bits.TrailingZeros64(which)])
		}
	}
}

// ask asks a rule that the index let through for what is left of its condition.
func (a *asking) ask(r *rule) condition.Answer { return a.judge(r.when, a.found.of(r)) }

// candidatesMax is how many candidates for the actor a condition is asked about.
const candidatesMax = 16

// judge evaluates a condition and, where it cannot be told because one of
// several people may be the actor, asks about each of them: what holds of all is
// known.
func (a *asking) judge(c *condition.Condition, given condition.Given) condition.Answer {
	got := c.Ask(a.scope, given)
	who := a.about.Attribution.Candidates
	if !got.Unknown() || a.about.Attribution.Level != session.LevelSet || len(who) == 0 || len(who) > candidatesMax {
		return got
	}
	var all condition.Answer
	for i := range who {
		one := c.Ask(a.candidate(i), given)
		if one.Err() != nil || one.Unknown() || i > 0 && one.Yes != all.Yes {
			return got
		}
		all = one
	}
	return all
}
