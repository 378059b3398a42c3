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
	"github.com/sallyport/sallyport/internal/scan/report"
)

// scanOrigin says where a scan was made, and by which version.
func scanOrigin() export.Origin {
	host, _ := os.Hostname() // "" is written as unknown
	return export.Origin{Host: host, Version: build.This().Version}
}

// writeOCSF writes a report as Compliance Findings of OCSF, one check to a line.
func writeOCSF(w io.Writer, o export.Origin, r *report.Result) error {
	for _, c := range r.Endings() {
		text, err := ocsf.Compliance(o, ocsfCheck(r, &c))
		if err != nil {
			return err
		}
		if _, err := w.Write(append(printable.JSON(text), '\n')); err != nil {
			return err
		}
	}
	return nil
}

func ocsfCheck(r *report.Result, o *report.Ending) *ocsf.Check {
	if o.Found == nil {
		c := &ocsf.Check{Status: ocsf.Pass, Finding: finding.Finding{Subject: o.Subject, Time: r.Inventory.Time, Message: "passed by " + o.Subject}}
		if o.Result == checks.Unknown {
			c.Status, c.Details, c.Finding.Message = ocsf.Warning, []string{o.Why}, "unknown of "+o.Subject+": "+o.Why
		}
		o.Rule.With(finding.Info).Complete(&c.Finding)
		return c
	}
	c := &ocsf.Check{Status: ocsf.Fail, Finding: o.Found.Finding, Details: []string{o.Found.Score.String()}}
	if w := r.Waived[o.N]; w != nil {
		c.Suppressed, c.Comment = true, report.Waived(w)
	}
	if change := r.Change(o.N); change == baseline.New || change == baseline.Worse {
		c.Details = append(c.Details, string(change)+" since the baseline")
	}
	return c
}
