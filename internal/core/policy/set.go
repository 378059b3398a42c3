package policy

import (
	"math/bits"
	"time"

	"cel.dev/cel-go/interpreter"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Set is a checked set of rules. It never changes and is safe for concurrent
// use.
type Set struct {
	rules        []*rule
	def          effect.Effect
	vals         tunableVals
	suppressions []Suppression
	index        *index
	channels     []event.Channel // that there are
}

// Rules returns the rules in the order in which they are asked.
func (s *Set) Rules() []Rule {
	out := make([]Rule, len(s.rules))
	for i, r := range s.rules {
		out[i] = r.Rule
	}
	return out
}

// Default returns what holds when no rule decides: effect.Allow or effect.Deny.
func (s *Set) Default() effect.Effect { return s.def }

// Suppressions returns all suppressions, expired ones among them.
func (s *Set) Suppressions() []Suppression { return append([]Suppression(nil), s.suppressions...) }

// Decision is what the rules say of one request or session.
type Decision struct {
	// Effect is allow, deny or approve.
	Effect effect.Effect `json:"effect"`
	// Rule is the rule that decided; absent when it was the default.
	Rule     string           `json:"rule,omitempty"`
	Severity finding.Severity `json:"severity"`
	// Message is for whoever asked.
	Message string `json:"message,omitempty"`
	// Record says that a rule wants the streams recorded.
	Record bool `json:"record,omitempty"`
	// Matches lists every rule that was taken to hold, in order: of those that
	// decide, only the first.
	Matches []Match `json:"matches,omitempty"`
}

// Match is a rule that was taken to hold.
type Match struct {
	Rule string `json:"rule"`
	// Unknown lists the fields that are unknown and without which the rule's
	// condition cannot be told.
	Unknown []string `json:"unknown,omitempty"`
	// Error says why the condition could not be evaluated.
	Error string `json:"error,omitempty"`

	r *rule
}

// Decide says what the rules want of a request, before it runs. The session is
// what is known of it: identity, target, what is asked for. Rules about several
// sessions take no part, and suppressed rules do not hold.
func (s *Set) Decide(request *session.Session) Decision { return s.decide(request, true) }

// Review says what the rules want of a session that was seen: what Decide would
// have said, had it known as much, and what is to be alerted of.
func (s *Set) Review(seen *session.Session) Decision { return s.decide(seen, false) }

func (s *Set) decide(about *session.Session, before bool) Decision {
	d := Decision{Effect: s.def}
	decided := false
	a := asking{set: s, about: about, before: before}
	defer a.close()
	a.each(func(r *rule) {
		does := r.Decides()
		if r.windowed() || decided && does != "" && len(r.Effects) == 1 {
			return
		}
		got := a.ask(r)
		if !r.holds(got) || r.suppressed(about) {
			return
		}
		if does != "" && !decided {
			decided = true
			d.Effect, d.Rule, d.Severity, d.Message = does, r.ID, r.Severity, r.say(about)
		}
		d.Record = d.Record || r.Has(effect.Record)
		d.Matches = append(d.Matches, match(r, got))
	})
	return d
}

func match(r *rule, got answer) Match {
	m := Match{Rule: r.ID, r: r}
	if got.err != nil {
		m.Error = got.err.Error()
	}
	if got.unknown != nil {
		m.Unknown = unknownPaths(got.unknown)
	}
	return m
}

// say returns the rule's message about a session; its title when it has none.
func (r *rule) say(s *session.Session) string {
	if r.message == nil {
		return r.Title
	}
	text, err := render(r.message, subject(r, s))
	if err != nil {
		return r.Title
	}
	return text
}

// asking is one session that is being asked about. View and frame are made when
// the first rule asks: of most sessions none does.
type asking struct {
	set    *Set
	about  *session.Session
	before bool
	view   *view
	frame  *interpreter.ExecutionFrame
	found  found
}

func (a *asking) open() {
	if a.view == nil {
		a.view = newView(a.about, a.before, a.set.vals.lists, a.set.vals.values)
		a.found = a.set.index.found(a.about)
		a.frame, _ = interpreter.NewExecutionFrame(a.view) // fails only for what is no activation
	}
}

func (a *asking) close() {
	if a.frame != nil {
		a.frame.Close()
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

// Window returns the longest time over which rules look at several sessions; 0
// when none does.
func (s *Set) Window() time.Duration {
	var most time.Duration
	for _, r := range s.rules {
		if r.count != nil {
			most = max(most, r.count.within)
		}
		if r.sequence != nil {
			most = max(most, r.sequence.within)
		}
	}
	return most
}
