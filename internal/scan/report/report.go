// Package report tells what a scan found: with what of it is waived and what is new since a
// baseline, as JSON, SARIF, JUnit's XML or a page of HTML.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/scan/baseline"
	"github.com/sallyport/sallyport/internal/scan/waiver"
)

// Result is a report as all formats tell it: what was found, what of it is waived, and
// what is new since a baseline.
type Result struct {
	checks.Report
	Inventory *inventory.Inventory
	analysis  *exposure.Analysis // nil without a cluster
	Waived    []*waiver.Waiver   // by finding; nil where it is not
	Limit     finding.Severity   // the least severity to fail on

	before  *baseline.Baseline // nil without one
	Since   string             // its name
	changes []baseline.Change  // by finding, with a baseline
	Gone    []baseline.Known
	ReadNow []inventory.Part // parts that were read for the baseline and not now
}

// New runs the checks of an inventory, and applies waivers and a baseline, each of
// which may be absent.
func New(i *inventory.Inventory, a *exposure.Analysis, waivers []waiver.Waiver, before *baseline.Baseline, now time.Time) *Result {
	r := &Result{Report: checks.Run(i, a), Inventory: i, analysis: a, before: before}
	r.Waived = waiver.Apply(waivers, &r.Report, i, now)
	if before != nil {
		r.changes, r.Gone = before.Compare(r.Found, func(n int) bool { return r.Waived[n] != nil })
		r.ReadNow = before.ReadThen(i)
	}
	return r
}

// Counts reports whether a finding is one to fail on, whatever its severity: nobody has
// waived it, and it is not what the baseline had.
func (r *Result) Counts(n int) bool {
	return r.Waived[n] == nil && r.Change(n) != baseline.Same
}

// Failed reports whether a finding counts that is grave enough.
func (r *Result) Failed() bool {
	for n := range r.Found {
		if r.Counts(n) && r.Found[n].Severity >= r.Limit {
			return true
		}
	}
	return false
}

// Change says what became of a finding since the baseline; "" without one.
func (r *Result) Change(n int) baseline.Change {
	if r.before == nil {
		return ""
	}
	return r.changes[n]
}

// State says in few words what became of a finding.
func (r *Result) State(n int) string {
	if w := r.Waived[n]; w != nil {
		return "waived until " + w.Expires
	}
	if c := r.Change(n); c != baseline.Same {
		return string(c)
	}
	return ""
}

// Number counts the findings of which something is so.
func (r *Result) Number(is func(n int) bool) (out int) {
	for n := range r.Found {
		if is(n) {
			out++
		}
	}
	return out
}

// Summary says in one line how much was found.
func (r *Result) Summary() string {
	out := fmt.Sprintf("%s in %s", wording.Plural(len(r.Found), "finding"), Contents(r.Inventory))
	if n := r.Number(func(n int) bool { return r.Waived[n] != nil }); n > 0 {
		out += fmt.Sprintf(", %d waived", n)
	}
	for _, c := range []baseline.Change{baseline.New, baseline.Worse} {
		if n := r.Number(func(n int) bool { return r.Change(n) == c && r.Waived[n] == nil }); n > 0 {
			out += fmt.Sprintf(", %d %s", n, c)
		}
	}
	if r.before != nil {
		out += fmt.Sprintf(", %d gone since %s", len(r.Gone), printable.Text(r.Since))
	}
	return out + "."
}

// Paths returns the steps of the findings that are about a pod that leads on.
func (r *Result) Paths() map[int][]exposure.Step {
	out := map[int][]exposure.Step{}
	if r.analysis == nil {
		return out
	}
	leads := r.analysis.Leads()
	for n := range r.Found {
		if via := r.Found[n].Path(leads); len(via) > 0 {
			out[n] = via
		}
	}
	return out
}

// Rules lists every rule by which a scan reports.
func Rules() []posture.Rule {
	out := append(checks.Rules(), waiver.Rules()...)
	slices.SortFunc(out, func(a, b posture.Rule) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Ending is a check with how it ended, and the number of its finding; -1 without one.
type Ending struct {
	checks.Outcome
	N int
}

// Endings lists how all checks ended.
func (r *Result) Endings() []Ending {
	number := map[*checks.Found]int{}
	for n := range r.Found {
		number[&r.Found[n]] = n
	}
	var out []Ending
	for _, o := range r.Outcomes(r.Inventory) {
		n := -1
		if o.Found != nil {
			n = number[o.Found]
		}
		out = append(out, Ending{o, n})
	}
	return out
}

// Waived says by whom a finding is waived, why and until when.
func Waived(w *waiver.Waiver) string {
	return fmt.Sprintf("waived by %s until %s: %s (%s)", w.Owner, w.Expires, w.Reason, w.At.String())
}

// Evidence says a piece of evidence in one line.
func Evidence(e *finding.Evidence) string {
	out := e.Source + ": " + e.What
	if e.Detail != "" {
		out += ", " + e.Detail
	}
	return out
}

// Contents says in few words what an inventory holds.
func Contents(i *inventory.Inventory) string {
	var out []string
	if len(i.Hosts) > 0 || i.Cluster == nil {
		out = append(out, wording.Plural(len(i.Hosts), "host"))
	}
	if c := i.Cluster; c != nil {
		out = append(out, wording.Plural(len(c.Pods), "pod"), wording.Plural(len(c.Roles), "role"), wording.Plural(len(c.Bindings), "binding"))
	}
	return strings.Join(out, ", ")
}

// Where says where what a finding is about stands; its subject, where that is no file.
func Where(f *checks.Found) string {
	if f.At.Line == 0 {
		return f.Subject
	}
	return f.At.String()
}

// ListParts names parts of an inventory.
func ListParts(parts []inventory.Part) string {
	out := make([]string, len(parts))
	for n, p := range parts {
		out[n] = string(p)
	}
	return strings.Join(out, ", ")
}
