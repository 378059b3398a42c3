package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/scan/baseline"
	"github.com/sallyport/sallyport/internal/scan/waiver"
)

// junitSuites, junitSuite and junitCase are JUnit's XML, as far as continuous
// integration reads it.
type junitSuites struct {
	XMLName  xml.Name      `xml:"testsuites"`
	Name     string        `xml:"name,attr"`
	Tests    int           `xml:"tests,attr"`
	Failures int           `xml:"failures,attr"`
	Errors   int           `xml:"errors,attr"`
	Suites   []*junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Timestamp string      `xml:"timestamp,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Skipped *junitSkipped `xml:"skipped"`
	Failure *junitFailure `xml:"failure"`
}

type junitSkipped struct {
	Message string `xml:"message,attr"`
}

type junitFailure struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",cdata"`
}

// families are the suites of a report, by how the ids of their rules begin.
var families = []struct{ prefix, name string }{
	{"SP-DKR-", "hosts and Docker"}, {"SP-K8S-9", "API server"}, {"SP-K8S-", "bindings"}, {"SP-KLT-", "kubelets"},
	{"SP-PATH-", "pods that lead on"}, {"SP-IMG-", "images"}, {"SP-PSS-", "Pod Security"}, {waiver.Family, "waivers"},
}

// junitCoverage is the suite of what was not looked at.
const junitCoverage = "coverage"

// WriteJUnit writes a report as JUnit's XML: a test case for each check and object. A
// finding that counts is a failure, whatever its severity. What is unknown, waived or
// in the baseline is skipped, and says so.
func WriteJUnit(w io.Writer, r *Result) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(junitOf(r)); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitOf(r *Result) *junitSuites {
	out := &junitSuites{Name: "sallyport scan"}
	suites := map[string]*junitSuite{}
	add := func(suite string, c junitCase) {
		s := suites[suite]
		if s == nil {
			s = &junitSuite{Name: suite, Timestamp: r.Inventory.Time.UTC().Format("2006-01-02T15:04:05")}
			suites[suite] = s
			out.Suites = append(out.Suites, s)
		}
		s.Cases = append(s.Cases, c)
		s.Tests, out.Tests = s.Tests+1, out.Tests+1
		if c.Failure != nil {
			s.Failures, out.Failures = s.Failures+1, out.Failures+1
		}
		if c.Skipped != nil {
			s.Skipped++
		}
	}
	for _, o := range r.Endings() {
		add(familyOf(o.Rule.ID), junitCaseOf(r, &o))
	}
	for _, g := range r.Gaps {
		add(junitCoverage, junitCase{
			Class: junitCoverage, Name: printable.Text(fmt.Sprintf("%s of %s", g.What, g.From)), Skipped: &junitSkipped{printable.Text("not read: " + g.Why)},
		})
	}
	for _, s := range r.Inventory.Skipped {
		add(junitCoverage, junitCase{Class: junitCoverage, Name: printable.Text(s.Origin.String()), Skipped: &junitSkipped{printable.Text("not understood: " + s.Why)}})
	}
	return out
}

func familyOf(rule string) string {
	for _, f := range families {
		if strings.HasPrefix(rule, f.prefix) {
			return f.name
		}
	}
	return "others"
}

func junitCaseOf(r *Result, o *Ending) junitCase {
	c := junitCase{Class: o.Rule.ID, Name: printable.Text(o.Rule.Title + ": " + o.Subject)}
	switch f := o.Found; {
	case o.Result == checks.Unknown:
		c.Skipped = &junitSkipped{printable.Text("unknown: " + o.Why)}
	case o.Result == checks.Passed:
	case r.Waived[o.N] != nil:
		c.Skipped = &junitSkipped{printable.Text(Waived(r.Waived[o.N]))}
	case r.Change(o.N) == baseline.Same:
		c.Skipped = &junitSkipped{printable.Text("in the baseline: " + f.Message)}
	default:
		text := fmt.Sprintf("%s\n%s", printable.Text(Where(f)), printable.Text(f.Remedy))
		for _, e := range f.Evidence {
			text += "\n" + printable.Text(Evidence(&e))
		}
		c.Failure = &junitFailure{Type: f.Severity.String(), Message: printable.Text(f.Message), Text: text + "\n"}
	}
	return c
}
