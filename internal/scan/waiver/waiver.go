// Package waiver holds the findings that somebody has decided to live with: which, who
// decided it, why, and until when.
//
// A waived finding stays in the report, and does not count. A waiver that has expired
// waives nothing, and is a finding of its own, as is one that no finding fits: both
// are decisions that nobody looks after. The package reads no clock: it is told the time.
package waiver

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/pattern"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Waiver says that findings do not count until a day.
type Waiver struct {
	// Rule and Object are patterns, with * for any text: of the finding's rule, and of
	// its subject.
	Rule   string `json:"rule"`
	Object string `json:"object"`
	Owner  string `json:"owner"`
	Reason string `json:"reason"`
	// Expires is the last day, as it is written: 2027-01-31. It ends with the day, in UTC.
	Expires string `json:"expires"`
	// At is where it stands.
	At inventory.Origin `json:"at"`

	rule, object *pattern.Stars
	until        time.Time
}

// Covers reports whether a finding is one that the waiver is about, expired or not.
func (w *Waiver) Covers(f *finding.Finding) bool {
	return w.rule.Match(f.Rule) && w.object.Match(f.Subject)
}

// Expired reports whether the waiver's last day is over.
func (w *Waiver) Expired(now time.Time) bool { return !now.Before(w.until) }

// Family is how the ids of the rules about waivers themselves begin.
const Family = "SP-WVR-"

var (
	expired = posture.Rule{
		ID: Family + "001", Severity: finding.Low, Title: "A waiver has expired",
		Remedy: "Do what the finding says, or decide again and write a new date",
	}
	unused = posture.Rule{
		ID: Family + "002", Severity: finding.Info, Title: "A waiver waives nothing",
		Remedy: "Remove it, or correct its rule or object",
	}
)

// Rules lists the rules about waivers themselves.
func Rules() []posture.Rule { return []posture.Rule{expired, unused} }

// Apply returns, for each finding of a report, the waiver by which it does not count,
// nil where there is none, and adds what is to be said of the waivers themselves to
// the report's findings. Those are never waived.
func Apply(list []Waiver, r *checks.Report, i *inventory.Inventory, now time.Time) []*Waiver {
	out := make([]*Waiver, len(r.Found))
	fits := make([]int, len(list))
	for n := range r.Found {
		for k := range list {
			w := &list[k]
			if !w.Covers(&r.Found[n].Finding) {
				continue
			}
			fits[k]++
			if out[n] == nil && !w.Expired(now) {
				out[n] = w
			}
		}
	}
	for k := range list {
		switch w := &list[k]; {
		case w.Expired(now):
			r.Found = append(r.Found, w.finding(&expired, i, "ended on "+w.Expires+again(fits[k])))
		case fits[k] == 0 && len(i.Unread)+len(i.Skipped) > 0:
			r.Found = append(r.Found, w.finding(&unused, i, "fits no finding; not everything was read, so that there may be one"))
		case fits[k] == 0:
			r.Found = append(r.Found, w.finding(&unused, i, "fits no finding"))
		}
	}
	return append(out, make([]*Waiver, len(r.Found)-len(out))...)
}

// again says how many findings count that an expired waiver is about.
func again(n int) string {
	switch n {
	case 0:
		return ", and fits no finding"
	case 1:
		return ": 1 finding counts again"
	}
	return fmt.Sprintf(": %d findings count again", n)
}

// finding is about the waiver itself. Its subject has no line, and so stays the same.
func (w *Waiver) finding(rule *posture.Rule, i *inventory.Inventory, says string) checks.Found {
	subject := "waiver " + w.Rule + " " + w.Object
	f := finding.Finding{
		Subject: subject, Time: i.Time, Target: &finding.Target{Object: subject},
		Message:  fmt.Sprintf("The waiver of %s for %s by %s %s", w.Rule, w.Object, w.Owner, says),
		Evidence: []finding.Evidence{{Source: w.At.String(), What: "reason: " + w.Reason}},
	}
	rule.Complete(&f)
	found := checks.Settled(f)
	found.At = w.At
	return found
}
