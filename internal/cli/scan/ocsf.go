package scan

import (
	"io"
	"os"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/ocsf"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/scan/baseline"
)

// scanOrigin says where a scan was made, and by which version.
func scanOrigin() export.Origin {
	host, _ := os.Hostname() // "" is written as unknown
	return export.Origin{Host: host, Version: build.This().Version}
}

// writeOCSF writes a report as Compliance Findings of OCSF, one check to a line.
func writeOCSF(w io.Writer, o export.Origin, r *result) error {
	for _, c := range r.outcomes() {
		text, err := ocsf.Compliance(o, r.ocsfCheck(&c))
		if err != nil {
			return err
		}
		if _, err := w.Write(append(printable.JSON(text), '\n')); err != nil {
			return err
		}
	}
	return nil
}

func (r *result) ocsfCheck(o *ending) *ocsf.Check {
	if o.Found == nil {
		c := &ocsf.Check{Status: ocsf.Pass, Finding: finding.Finding{Subject: o.Subject, Time: r.inventory.Time, Message: "passed by " + o.Subject}}
		if o.Result == checks.Unknown {
			c.Status, c.Details, c.Finding.Message = ocsf.Warning, []string{o.Why}, "unknown of "+o.Subject+": "+o.Why
		}
		o.Rule.With(finding.Info).Complete(&c.Finding)
		return c
	}
	c := &ocsf.Check{Status: ocsf.Fail, Finding: o.Found.Finding, Details: []string{o.Found.Score.String()}}
	if w := r.waived[o.n]; w != nil {
		c.Suppressed, c.Comment = true, waivedText(w)
	}
	if change := r.change(o.n); change == baseline.New || change == baseline.Worse {
		c.Details = append(c.Details, string(change)+" since the baseline")
	}
	return c
}
