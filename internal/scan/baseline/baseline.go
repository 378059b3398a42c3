// Package baseline holds what an earlier report of a scan found, so that a later one
// can say what is new, and what is gone.
package baseline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Known is a finding of an earlier report.
type Known struct {
	ID       finding.ID       `json:"id"`
	Rule     string           `json:"rule"`
	Subject  string           `json:"subject"`
	Severity finding.Severity `json:"severity"`
	Waived   bool             `json:"-"` // it did not count
}

// Baseline is an earlier report.
type Baseline struct {
	findings []Known
	index    map[finding.ID]int
	unread   map[inventory.Part]bool
}

// Change is what became of a finding since the baseline.
type Change string

// The changes.
const (
	New   Change = "new"
	Worse Change = "worse" // graver than then, or waived then and no more
	Same  Change = "same"
)

// Bounds of a report that is read.
const (
	maxLine     = 4 << 20
	maxFindings = 1_000_000
)

func newBaseline() *Baseline {
	return &Baseline{index: map[finding.ID]int{}, unread: map[inventory.Part]bool{}}
}

// add takes in a finding. Of two of one id, as when a host was read twice, the one
// that counted less is kept: what counts more is worse.
func (b *Baseline) add(k Known) {
	i, twice := b.index[k.ID]
	if !twice {
		b.index[k.ID] = len(b.findings)
		b.findings = append(b.findings, k)
		return
	}
	old := &b.findings[i]
	old.Severity, old.Waived = min(old.Severity, k.Severity), old.Waived || k.Waived
}

// Of returns a report as a baseline.
func Of(r *checks.Report) *Baseline {
	b := newBaseline()
	for n := range r.Found {
		f := &r.Found[n]
		b.add(Known{ID: f.ID, Rule: f.Rule, Subject: f.Subject, Severity: f.Severity})
	}
	for _, g := range r.Gaps {
		b.unread[g.What] = true
	}
	return b
}

// line is what is read of a line of a report: a finding, what a command gets in a
// container, which is no finding, or the last one.
type line struct {
	Known
	Severity *finding.Severity `json:"severity"`
	Waived   json.RawMessage   `json:"waived"`
	Gets     json.RawMessage   `json:"gets"`
	Coverage *struct {
		NotRead []inventory.Unread `json:"not_read"`
	} `json:"coverage"`
}

// errNoReport says what a baseline is.
var errNoReport = errors.New("want what sallyport scan --format json printed: a finding to a line, and what was not read in the last")

// Parse reads what sallyport scan --format json printed. Errors name file and line. A
// report without its last line was cut short and is refused.
func Parse(file string, r io.Reader) (*Baseline, error) {
	b, ended := newBaseline(), false
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	n := 0
	for in.Scan() {
		n++
		text := bytes.TrimSpace(in.Bytes())
		if len(text) == 0 {
			continue
		}
		bad := func(err error) error { return fmt.Errorf("%s:%d: %w", file, n, err) }
		if ended {
			return nil, bad(errors.New("there is more after the last line of a report: name one report"))
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, bad(fmt.Errorf("%w (%v)", errNoReport, err))
		}
		if l.Coverage != nil {
			ended = true
			for _, u := range l.Coverage.NotRead {
				b.unread[u.What] = true
			}
			continue
		}
		if l.Gets != nil {
			continue
		}
		if err := b.take(&l); err != nil {
			return nil, bad(err)
		}
	}
	switch err := in.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("%s:%d: %w: the line has more than %d bytes", file, n+1, errNoReport, maxLine)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", file, err)
	case !ended:
		return nil, fmt.Errorf("%s: its last line is missing: it was cut short, or is no report (%w)", file, errNoReport)
	}
	return b, nil
}

func (b *Baseline) take(l *line) error {
	k := l.Known
	switch {
	case k.Rule == "" || k.Subject == "" || l.Severity == nil:
		return errNoReport
	case k.ID != finding.NewID(k.Rule, k.Subject) && !strings.ContainsRune(k.Subject, utf8.RuneError): // which stands for bytes that JSON cannot have
		return fmt.Errorf("the id %q is not that of %s and %q", k.ID, k.Rule, k.Subject)
	case len(b.findings) == maxFindings:
		return fmt.Errorf("more than %d findings", maxFindings)
	}
	k.Severity, k.Waived = *l.Severity, len(l.Waived) > 0 && string(l.Waived) != "null"
	b.add(k)
	return nil
}

// Compare says what became of each finding of a report since the baseline; waived tells
// which of them do not count now. gone are those of the baseline that are not there any
// more and counted then.
func (b *Baseline) Compare(found []checks.Found, waived func(n int) bool) (out []Change, gone []Known) {
	there := map[finding.ID]bool{}
	for n := range found {
		f := &found[n]
		there[f.ID] = true
		i, ok := b.index[f.ID]
		switch {
		case !ok:
			out = append(out, New)
		case f.Severity > b.findings[i].Severity, b.findings[i].Waived && !waived(n):
			out = append(out, Worse)
		default:
			out = append(out, Same)
		}
	}
	for _, k := range b.findings {
		if !there[k.ID] && !k.Waived {
			gone = append(gone, k)
		}
	}
	return out, gone
}

// ReadThen lists the parts that were read for the baseline and not for an inventory:
// what they would tell of seems gone, and need not be.
func (b *Baseline) ReadThen(i *inventory.Inventory) []inventory.Part {
	var out []inventory.Part
	seen := map[inventory.Part]bool{}
	for _, u := range i.Unread {
		if !b.unread[u.What] && !seen[u.What] {
			seen[u.What] = true
			out = append(out, u.What)
		}
	}
	return out
}
