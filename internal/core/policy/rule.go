package policy

import (
	"slices"
	"text/template"
	"time"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/policy/sigma"
)

// Rule is what is written about a rule, apart from what it asks.
type Rule struct {
	ID       string             `json:"id"`
	File     string             `json:"file"`
	Line     int                `json:"line"`
	Title    string             `json:"title"`
	When     string             `json:"when,omitempty"` // CEL; of a sequence its steps, one a line
	Effects  []effect.Effect    `json:"effects"`
	Severity finding.Severity   `json:"severity"`
	Attack   []attack.Technique `json:"attack,omitempty"`
	CIS      []string           `json:"cis,omitempty"`
	Message  string             `json:"message,omitempty"` // template
	Remedy   string             `json:"remedy,omitempty"`
	// Unknown says what the rule does when its condition cannot be told.
	Unknown Unknown `json:"unknown"`
	// Sigma is what stands in the Sigma rule that this one was made of; nil for
	// one of the language's own.
	Sigma *sigma.Source `json:"sigma,omitempty"`
	// Settle is how old a session must be, by the data's own time, before the
	// rule is asked about it; one that has ended is asked about at once.
	Settle time.Duration `json:"settle,omitempty"`
	// Blind is what a rule about witnesses asks; it asks nothing of sessions.
	Blind *Blind `json:"blind,omitempty"`
}

// Decides returns which of allow, deny and approve the rule says, "" for none.
func (r *Rule) Decides() effect.Effect {
	for _, e := range r.Effects {
		if e.Decides() {
			return e
		}
	}
	return ""
}

// Has reports whether an effect is among the rule's.
func (r *Rule) Has(e effect.Effect) bool {
	return slices.Contains(r.Effects, e)
}

// Unknown is what a rule does about a session of which its condition is neither
// true nor false, because a field that it asks for is unknown.
type Unknown string

// The choices.
const (
	// UnknownMatch takes the condition to hold: what for deny, approve and
	// record is meant when nothing is said.
	UnknownMatch Unknown = "match"
	// UnknownPass takes it not to hold: meant for alert, and the only one that
	// allow can have.
	UnknownPass Unknown = "pass"
)

// rule is a rule that is ready to be asked.
type rule struct {
	Rule
	when         *condition.Condition // of a sequence: nil
	compares     bool                 // it does nothing with namespaces but to compare them with texts
	count        *count
	sequence     *sequence
	message      *template.Template
	suppressions []*suppression
	uses         []condition.Use
	at           position
	// Whether it can hold for sessions of these two channels; see names.
	onUnknown, onExec bool
}

// position is where a rule stands in its file.
type position struct{ line, column int }

// windowed reports whether the rule is about several sessions.
func (r *rule) windowed() bool { return r.count != nil || r.sequence != nil }

// holds turns an answer into yes or no: what cannot be told is as the rule
// says, and what cannot be evaluated holds, unless that would allow something.
func (r *rule) holds(a condition.Answer) bool {
	switch {
	case a.Err() != nil:
		return r.Decides() != effect.Allow
	case a.Unknown():
		return r.Unknown == UnknownMatch
	}
	return a.Yes
}

// conditions returns what the rule asks: one condition, or the steps of a
// sequence.
func (r *rule) conditions() []*condition.Condition {
	switch {
	case r.sequence != nil:
		return r.sequence.steps
	case r.when == nil: // it asks nothing of sessions
		return nil
	}
	return []*condition.Condition{r.when}
}
