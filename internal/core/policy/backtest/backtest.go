// Package backtest says what rules would have done to sessions that were kept,
// before anybody enforces them, and what other rules say otherwise.
//
// It decides and finds as package policy does; what it keeps grows with the number
// of rules and not with that of sessions.
package backtest

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Trial plays kept sessions to rules and says what those would have done. It
// is not safe for concurrent use.
type Trial struct {
	set     *policy.Set
	engine  *policy.Engine
	against *policy.Set // nil: nothing to compare with
	// alertNow and alertBefore are the rules of both sets that alert.
	alertNow, alertBefore map[string]bool
	examples              int
	out                   Outcome
	rules                 map[string]*RuleOutcome
}

// Outcome is what rules would have done.
type Outcome struct {
	Sessions int `json:"sessions"`
	// First and Last are when the first and the last session started.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Decisions counts sessions by what would have been decided.
	Decisions map[effect.Effect]int `json:"decisions"`
	Recorded  int                   `json:"recorded"`
	Findings  int                   `json:"findings"`
	Rules     []RuleOutcome         `json:"rules"` // in order; those that did something
	// Changed lists sessions of which the other rules say something else; at
	// most ChangedMax of ChangedTotal.
	Changed      []Change     `json:"changed,omitempty"`
	ChangedTotal int          `json:"changed_total"`
	Stats        policy.Stats `json:"stats"`
}

// ChangedMax bounds Outcome.Changed.
const ChangedMax = 100

// RuleOutcome is what one rule would have done.
type RuleOutcome struct {
	Rule    string `json:"rule"`
	Decided int    `json:"decided"` // sessions that it decided
	Found   int    `json:"found"`   // findings
	Unknown int    `json:"unknown"` // sessions of which it could not tell and was taken to hold
	Errors  int    `json:"errors"`  // sessions of which it could not be evaluated
	// Examples are the first few sessions.
	Examples []session.ID `json:"examples,omitempty"`
}

// Change is a session that would be treated otherwise.
type Change struct {
	Session  session.ID    `json:"session"`
	Was      effect.Effect `json:"was"`
	WasRule  string        `json:"was_rule,omitempty"`
	Now      effect.Effect `json:"now"`
	NowRule  string        `json:"now_rule,omitempty"`
	NewFinds []string      `json:"new_findings,omitempty"` // rules that would alert now
	OldFinds []string      `json:"old_findings,omitempty"` // rules that alerted before
}

// New returns a back-test of a set of rules, compared with another one
// when that is not nil. Of each rule it keeps that many examples.
func New(set, against *policy.Set, examples int) *Trial {
	return &Trial{
		set: set, engine: policy.NewEngine(set), against: against, examples: examples,
		alertNow: alerting(set), alertBefore: alerting(against),
		out: Outcome{Decisions: map[effect.Effect]int{}}, rules: map[string]*RuleOutcome{},
	}
}

// Observe takes the last state of a session, in order of start. It returns the
// decision and the findings.
func (b *Trial) Observe(s session.Session) (policy.Decision, []finding.Finding) {
	if b.out.Sessions == 0 {
		b.out.First = s.Started
	}
	b.out.Sessions++
	b.out.Last = s.Started
	d := b.set.Review(&s)
	b.out.Decisions[d.Effect]++
	if d.Record {
		b.out.Recorded++
	}
	if d.Rule != "" {
		r := b.rule(d.Rule)
		r.Decided++
		b.example(r, s.ID)
	}
	for _, m := range d.Matches {
		r := b.rule(m.Rule)
		if len(m.Unknown) > 0 {
			r.Unknown++
		}
		if m.Error != "" {
			r.Errors++
		}
		b.example(r, s.ID)
	}
	found := b.engine.Observe(s)
	b.count(found)
	b.compare(&s, d)
	return d, found
}

func (b *Trial) count(found []finding.Finding) {
	b.out.Findings += len(found)
	for _, f := range found {
		r := b.rule(f.Rule)
		r.Found++
		b.example(r, f.Session)
	}
}

func (b *Trial) rule(id string) *RuleOutcome {
	if b.rules[id] == nil {
		b.rules[id] = &RuleOutcome{Rule: id}
	}
	return b.rules[id]
}

func (b *Trial) example(r *RuleOutcome, id session.ID) {
	if len(r.Examples) < b.examples && !slices.Contains(r.Examples, id) {
		r.Examples = append(r.Examples, id)
	}
}

// compare notes what the other rules say otherwise. Rules about several sessions
// are left out: what they say depends on more than this one.
func (b *Trial) compare(s *session.Session, now policy.Decision) {
	if b.against == nil {
		return
	}
	was := b.against.Review(s)
	c := Change{Session: s.ID, Was: was.Effect, WasRule: was.Rule, Now: now.Effect, NowRule: now.Rule}
	before, after := alerts(was, b.alertBefore), alerts(now, b.alertNow)
	c.NewFinds = slices.DeleteFunc(slices.Clone(after), func(r string) bool { return slices.Contains(before, r) })
	c.OldFinds = slices.DeleteFunc(slices.Clone(before), func(r string) bool { return slices.Contains(after, r) })
	if c.Was == c.Now && len(c.NewFinds)+len(c.OldFinds) == 0 {
		return
	}
	b.out.ChangedTotal++
	if len(b.out.Changed) < ChangedMax {
		b.out.Changed = append(b.out.Changed, c)
	}
}

// alerting returns the rules of a set that alert; of none, nil.
func alerting(set *policy.Set) map[string]bool {
	if set == nil {
		return nil
	}
	out := map[string]bool{}
	for _, r := range set.Rules() {
		out[r.ID] = r.Has(effect.Alert)
	}
	return out
}

// alerts lists those of some rules that are taken to hold, in order.
func alerts(d policy.Decision, of map[string]bool) []string {
	var out []string
	for _, m := range d.Matches {
		if of[m.Rule] {
			out = append(out, m.Rule)
		}
	}
	return out
}

// Outcome ends the back-test.
func (b *Trial) Outcome() Outcome {
	b.count(b.engine.Flush())
	for _, r := range b.set.Rules() {
		if x := b.rules[r.ID]; x != nil {
			b.out.Rules = append(b.out.Rules, *x)
		}
	}
	b.out.Stats = b.engine.Stats()
	return b.out
}
