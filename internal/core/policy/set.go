package policy

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Set is a checked set of rules. It never changes and is safe for concurrent
// use.
type Set struct {
	rules        []*rule
	def          effect.Effect
	suppressions []Suppression
	index        *index
	channels     []event.Channel // that there are
	slots        int             // of parts that conditions share
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

// Only returns the set with some of its rules.
func (s *Set) Only(keep func(Rule) bool) *Set {
	out := *s
	out.rules = slices.DeleteFunc(slices.Clone(s.rules), func(r *rule) bool { return !keep(r.Rule) })
	out.index = newIndex(&out)
	return &out
}

// Decision is what the rules say of one request or session.
type Decision struct {
	// Effect is allow, deny or approve.
	Effect effect.Effect `json:"effect"`
	// Rule is the rule that decided; absent when it was the default.
	Rule string `json:"rule,omitempty"`
	// Named says that the rule that decided asks for the channel: of a session
	// that came in by another one it cannot hold.
	Named    bool             `json:"named,omitempty"`
	Severity finding.Severity `json:"severity"`
	// Message is for whoever asked.
	Message string `json:"message,omitempty"`
	// Record says that a rule wants the streams recorded.
	Record bool `json:"record,omitempty"`
	// Matches lists every rule that was taken to hold, in order: of those that
	// decide, only the first.
	Matches []Match `json:"matches,omitempty"`
}

// Verdict is what a guard makes of a decision.
type Verdict struct {
	// Decision is what the rules say; its message is for whoever asked.
	Decision
	// Stopped says that the request is not carried out. One that is not allowed, has
	// no approver and is not stopped is only observed.
	Stopped bool
	// Approver is the second person who said yes, or no.
	Approver string
	// Elsewhere says that it was let through before, at another door.
	Elsewhere bool
}

// Match is a rule that was taken to hold.
type Match struct {
	Rule string `json:"rule"`
	// Unknown lists the fields that are unknown and without which the rule's
	// condition cannot be told.
	Unknown []string `json:"unknown,omitempty"`
	// Error says why the condition could not be evaluated.
	Error string `json:"error,omitempty"`
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
			d.Named = r.names(about.Channel)
		}
		d.Record = d.Record || r.Has(effect.Record)
		d.Matches = append(d.Matches, match(r, got))
	})
	return d
}

// names reports whether a rule asks for a channel: it cannot hold for a session
// of another that has nothing in common with it.
func (r *rule) names(c event.Channel) bool {
	if c == event.ChannelUnknown {
		return !r.onExec
	}
	return !r.onUnknown
}

func match(r *rule, got condition.Answer) Match {
	m := Match{Rule: r.ID}
	if got.Err() != nil {
		m.Error = got.Err().Error()
	}
	if got.Unknown() {
		m.Unknown = got.Fields()
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

// Window returns the longest time over which rules look at several sessions; 0
// when none does.
func (s *Set) Window() time.Duration {
	var most time.Duration
	for _, r := range s.rules {
		if r.count != nil {
			most = max(most, r.count.Within)
		}
		if r.sequence != nil {
			most = max(most, r.sequence.within)
		}
	}
	return most
}
