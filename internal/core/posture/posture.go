// Package posture says what the checks of a scan have in common, whatever they look
// at: a rule, the finding that it gives, and that it could not be decided.
//
// The rules themselves are in checks, containerrules, controlplane and hostrules; checks.Rules lists
// them all. The package is pure.
package posture

import (
	"cmp"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/finding"
)

// Rule is a check with what does not depend on what it finds. Its ID stays what it
// is, and is never used again.
type Rule struct {
	ID string
	// Severity is that of its findings; not set where they are Weighed.
	Severity finding.Severity
	// Weighed says that the severity of each finding is worked out of what it leads to.
	Weighed bool
	Title   string // in a few words
	Remedy  string // what to do, in general
	Attack  []attack.Technique
	CIS     []string // recommendations of CIS Benchmarks: Docker 1.6, Kubernetes 1.12
}

// With returns the rule at another severity.
func (r Rule) With(s finding.Severity) *Rule {
	r.Severity = s
	return &r
}

// Complete fills in what a finding repeats of its rule. The finding has its subject, a
// key that is stable from run to run, and a severity where the rule is Weighed. Where
// it has no message of its own it says the title, and the rule's remedy where it has none.
func (r *Rule) Complete(f *finding.Finding) {
	f.ID, f.Rule, f.Title, f.Attack, f.CIS = finding.NewID(r.ID, f.Subject), r.ID, r.Title, r.Attack, r.CIS
	f.Message, f.Remedy = cmp.Or(f.Message, r.Title), cmp.Or(f.Remedy, r.Remedy)
	if !r.Weighed {
		f.Severity = r.Severity
	}
}

// Open is a check that could not be decided: neither a finding nor a pass.
type Open struct {
	Rule    string `json:"rule"`
	Subject string `json:"subject"` // as a finding's would be
	Why     string `json:"why"`
}

// Open says that the rule could not be decided about a subject.
func (r *Rule) Open(subject, why string) Open { return Open{Rule: r.ID, Subject: subject, Why: why} }
