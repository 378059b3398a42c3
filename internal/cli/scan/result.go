package scan

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/atmost"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/scan"
	"github.com/sallyport/sallyport/internal/scan/baseline"
	"github.com/sallyport/sallyport/internal/scan/waiver"
)

// result is a report as all formats tell it: what was found, what of it is waived, and
// what is new since a baseline.
type result struct {
	checks.Report
	inventory *inventory.Inventory
	analysis  *exposure.Analysis // nil without a cluster
	waived    []*waiver.Waiver   // by finding; nil where it is not
	limit     finding.Severity   // the least severity to fail on

	before  *baseline.Baseline // nil without one
	since   string             // its name
	changes []baseline.Change  // by finding, with a baseline
	gone    []baseline.Known
	readNow []inventory.Part // parts that were read for the baseline and not now
}

// newResult runs the checks of an inventory, and applies waivers and a baseline, each of
// which may be absent.
func newResult(i *inventory.Inventory, a *exposure.Analysis, waivers []waiver.Waiver, before *baseline.Baseline, now time.Time) *result {
	r := &result{Report: checks.Run(i, a), inventory: i, analysis: a, before: before}
	r.waived = waiver.Apply(waivers, &r.Report, i, now)
	if before != nil {
		r.changes, r.gone = before.Compare(r.Found, func(n int) bool { return r.waived[n] != nil })
		r.readNow = before.ReadThen(i)
	}
	return r
}

// counts reports whether a finding is one to fail on, whatever its severity: nobody has
// waived it, and it is not what the baseline had.
func (r *result) counts(n int) bool {
	return r.waived[n] == nil && r.change(n) != baseline.Same
}

// failed reports whether a finding counts that is grave enough.
func (r *result) failed() bool {
	for n := range r.Found {
		if r.counts(n) && r.Found[n].Severity >= r.limit {
			return true
		}
	}
	return false
}

// change says what became of a finding since the baseline; "" without one.
func (r *result) change(n int) baseline.Change {
	if r.before == nil {
		return ""
	}
	return r.changes[n]
}

// state says in few words what became of a finding.
func (r *result) state(n int) string {
	if w := r.waived[n]; w != nil {
		return "waived until " + w.Expires
	}
	if c := r.change(n); c != baseline.Same {
		return string(c)
	}
	return ""
}

// number counts the findings of which something is so.
func (r *result) number(is func(n int) bool) (out int) {
	for n := range r.Found {
		if is(n) {
			out++
		}
	}
	return out
}

// summary says in one line how much was found.
func (r *result) summary() string {
	out := fmt.Sprintf("%s in %s", wording.Plural(len(r.Found), "finding"), contents(r.inventory))
	if n := r.number(func(n int) bool { return r.waived[n] != nil }); n > 0 {
		out += fmt.Sprintf(", %d waived", n)
	}
	for _, c := range []baseline.Change{baseline.New, baseline.Worse} {
		if n := r.number(func(n int) bool { return r.change(n) == c && r.waived[n] == nil }); n > 0 {
			out += fmt.Sprintf(", %d %s", n, c)
		}
	}
	if r.before != nil {
		out += fmt.Sprintf(", %d gone since %s", len(r.gone), printable.Text(r.since))
	}
	return out + "."
}

// paths returns the steps of the findings that are about a pod that leads on.
func (r *result) paths() map[int][]exposure.Step {
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

// scanRules lists every rule by which a scan reports.
func scanRules() []posture.Rule {
	out := append(checks.Rules(), waiver.Rules()...)
	slices.SortFunc(out, func(a, b posture.Rule) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// readWaivers reads a file of waivers; none when it has no name.
func readWaivers(file string, now time.Time) ([]waiver.Waiver, error) {
	if file == "" {
		return nil, nil
	}
	data, err := atmost.ReadFile(file, waiver.MaxSize+1)
	if err != nil {
		return nil, exit.Fail(exit.Usage, "", "--waivers: %w", err)
	}
	var ids []string
	for _, r := range checks.Rules() {
		ids = append(ids, r.ID)
	}
	list, err := waiver.Parse(file, data, ids, now)
	if err != nil {
		return nil, exit.Fail(exit.Usage, "docs/guide/scan-reports.md has the form of waivers", "waivers cannot be used:\n%s", eachError(err))
	}
	return list, nil
}

// eachError writes joined errors one to a line.
func eachError(err error) string {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	lines := make([]string, len(list))
	for n, e := range list {
		lines[n] = printable.Text(e.Error())
	}
	return strings.Join(lines, "\n")
}

// readBaseline reads a report in JSON, or a snapshot, of which one is made; nil when it
// has no name.
func readBaseline(ctx context.Context, env *terminal.Env, file string, s *sources) (*baseline.Baseline, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, exit.Fail(exit.Usage, "", "--baseline: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if beginning, _ := in.Peek(4); !scan.Is(beginning) {
		b, err := baseline.Parse(file, in)
		if err != nil {
			return nil, exit.Fail(exit.Usage, "sallyport scan --format json > FILE, or a snapshot of sallyport scan collect", "--baseline: %w", err)
		}
		return b, nil
	}
	quiet, one := *env, *s // what a snapshot does not hold was said when it was made
	quiet.Stderr, one.from, one.images = io.Discard, []string{file}, nil
	i, err := gather(ctx, &quiet, &one)
	if err != nil {
		return nil, err
	}
	report := checks.Run(i, analyse(i))
	return baseline.Of(&report), nil
}

// ending is a check with how it ended, and the number of its finding; -1 without one.
type ending struct {
	checks.Outcome
	n int
}

// outcomes lists how all checks ended.
func (r *result) outcomes() []ending {
	number := map[*checks.Found]int{}
	for n := range r.Found {
		number[&r.Found[n]] = n
	}
	var out []ending
	for _, o := range r.Outcomes(r.inventory) {
		n := -1
		if o.Found != nil {
			n = number[o.Found]
		}
		out = append(out, ending{o, n})
	}
	return out
}

// waivedText says by whom a finding is waived, why and until when.
func waivedText(w *waiver.Waiver) string {
	return fmt.Sprintf("waived by %s until %s: %s (%s)", w.Owner, w.Expires, w.Reason, w.At.String())
}

// evidenceText says a piece of evidence in one line.
func evidenceText(e *finding.Evidence) string {
	out := e.Source + ": " + e.What
	if e.Detail != "" {
		out += ", " + e.Detail
	}
	return out
}
