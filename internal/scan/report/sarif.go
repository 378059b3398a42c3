package report

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/scan/baseline"
	"github.com/sallyport/sallyport/internal/scan/waiver"
)

// toolURI is where a SARIF log says that its tool is from.
const toolURI = "https://github.com/sallyport/sallyport"

// fingerprint names the partial fingerprint of results: the id of the finding, which
// is the same in every run.
const fingerprint = "sallyport/v1"

// WriteSARIF writes a report as a SARIF 2.1.0 log.
func WriteSARIF(w io.Writer, r *Result, version string) error {
	log := SARIF(r, version)
	body, err := json.MarshalIndent(log, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(printable.JSON(body), '\n'))
	return err
}

// SARIF returns a report as a SARIF 2.1.0 log, by the version of the program.
func SARIF(r *Result, version string) *sarif.Report {
	run := sarif.NewRunWithInformationURI("sallyport", toolURI)
	run.Tool.Driver.WithVersion(version)
	worst := map[string]float64{} // by rule: what a viewer sorts by is of rules
	for n := range r.Found {
		f := &r.Found[n]
		worst[f.Rule] = max(worst[f.Rule], f.Score.Value)
	}
	index := map[string]int{}
	for _, rule := range Rules() {
		if score, ok := worst[rule.ID]; ok {
			index[rule.ID] = len(index)
			run.Tool.Driver.AddRule(sarifRule(&rule, score))
		}
	}
	paths := r.Paths()
	for n := range r.Found {
		f := &r.Found[n]
		out := sarifResult(f).WithRuleIndex(index[f.Rule])
		if via := paths[n]; len(via) > 0 {
			out.AddCodeFlow(sarifFlow(f.At, via))
		}
		if w := r.Waived[n]; w != nil {
			out.AddSuppression(sarifSuppression(w))
		}
		if c := r.Change(n); c != "" {
			out.WithBaselineState(baselineStates[c])
		}
		run.AddResult(out)
	}
	run.AddInvocation(sarifInvocation(r))
	return sarif.NewReport().AddRun(run)
}

func text(s string) *sarif.MultiformatMessageString {
	return sarif.NewMultiformatMessageString().WithText(s)
}

func sarifRule(r *posture.Rule, score float64) *sarif.ReportingDescriptor {
	bag := sarif.NewPropertyBag().Add("security-severity", fmt.Sprintf("%.1f", score))
	bag.AddTag("security")
	for _, t := range r.Attack {
		bag.AddTag("attack/" + string(t))
	}
	for _, c := range r.CIS {
		bag.AddTag("cis/" + strings.ReplaceAll(c, " ", "/"))
	}
	return sarif.NewRule(r.ID).WithShortDescription(text(r.Title)).WithHelp(text(r.Remedy)).WithProperties(bag)
}

func sarifResult(f *checks.Found) *sarif.Result {
	out := sarif.NewRuleResult(f.Rule).
		WithLevel(sarifLevel(f.Severity)).
		WithMessage(sarif.NewTextMessage(f.Message + ". " + f.Remedy)).
		WithRank(f.Score.Value * 10).
		WithPartialFingerprints(map[string]string{fingerprint: string(f.ID)}).
		WithProperties(sarif.NewPropertyBag().Add("score", f.Score.String()))
	name := "k8s://" + f.Subject
	switch {
	case strings.HasPrefix(f.Subject, "host:"):
		name = "host://" + strings.TrimPrefix(f.Subject, "host:")
	case strings.HasPrefix(f.Rule, waiver.Family):
		name = f.Subject
	}
	return out.AddLocation(sarifPlace(f.At).AddLogicalLocation(sarif.NewLogicalLocation().WithKind("resource").WithFullyQualifiedName(name)))
}

// sarifPlace is a location with the file and line where something stands, where they
// are known.
func sarifPlace(at inventory.Origin) *sarif.Location {
	out := sarif.NewLocation()
	if at.Line > 0 {
		out.WithPhysicalLocation(sarif.NewPhysicalLocation().
			WithArtifactLocation(sarif.NewArtifactLocation().WithURI(fileURI(at.Source))).
			WithRegion(sarif.NewRegion().WithStartLine(at.Line)))
	}
	return out
}

// sarifFlow is the steps of a path from a pod that stands somewhere: for each the
// binding and the rule of every grant that it takes, or the setting.
func sarifFlow(pod inventory.Origin, via []exposure.Step) *sarif.CodeFlow {
	flow := sarif.NewThreadFlow()
	add := func(at inventory.Origin, object, says string) {
		where := sarifPlace(at).WithMessage(sarif.NewTextMessage(says))
		if object != "" {
			where.AddLogicalLocation(sarif.NewLogicalLocation().WithKind("resource").WithFullyQualifiedName("k8s://" + object))
		}
		flow.AddLocation(sarif.NewThreadFlowLocation().WithExecutionOrder(len(flow.Locations) + 1).WithLocation(where))
	}
	for n := range via {
		s := &via[n]
		says := fmt.Sprintf("%s: %s -> %s", s.Name(), s.From, s.To)
		if s.Unless != "" {
			says += " (unless " + s.Unless + ")"
		}
		switch {
		case s.Setting != "" && n == 0:
			add(pod, s.From, says+": "+s.Setting)
		case s.Setting != "":
			add(inventory.Origin{}, "", says+": "+s.Setting)
		}
		for _, g := range s.Grants {
			add(g.Origin, g.Binding, says+" by "+g.Binding)
			add(g.RuleAt, g.Role, fmt.Sprintf("%s rule %d: %s %s", g.Role, g.Rule, strings.Join(g.Verbs, ","), strings.Join(g.Resources, ",")))
		}
	}
	return sarif.NewCodeFlow().AddThreadFlow(flow)
}

// sarifSuppression says who waived a result, why and until when.
func sarifSuppression(w *waiver.Waiver) *sarif.Suppression {
	return sarif.NewSuppression().WithKind("external").WithStatus("accepted").
		WithJustification(fmt.Sprintf("%s, by %s, until %s", w.Reason, w.Owner, w.Expires)).WithLocation(sarifPlace(w.At))
}

// baselineStates are SARIF's names of changes.
var baselineStates = map[baseline.Change]string{baseline.New: "new", baseline.Worse: "updated", baseline.Same: "unchanged"}

// fileURI is a file's name as a relative reference, or with the scheme of files.
func fileURI(name string) string {
	u := url.URL{Path: filepath.ToSlash(name)}
	if filepath.IsAbs(name) {
		u.Scheme = "file"
	}
	return u.String()
}

func sarifLevel(s finding.Severity) string {
	switch {
	case s >= finding.High:
		return "error"
	case s >= finding.Medium:
		return "warning"
	}
	return "note"
}

// sarifInvocation says what was not looked at.
func sarifInvocation(r *Result) *sarif.Invocation {
	out := sarif.NewInvocation().WithExecutionSuccessful(true)
	note := func(format string, args ...any) {
		out.AddToolExecutionNotification(sarif.NewNotification().WithLevel("warning").WithMessage(sarif.NewTextMessage(fmt.Sprintf(format, args...))))
	}
	for _, g := range r.Gaps {
		note("Not read: %s of %s: %s", g.What, g.From, g.Why)
	}
	for _, o := range r.Open {
		note("Undecided: %s of %s: %s", o.Rule, o.Subject, o.Why)
	}
	for _, s := range r.Inventory.Skipped {
		note("Skipped: %s: %s", s.Origin.String(), s.Why)
	}
	for _, k := range r.Gone {
		note("Gone since the baseline: %s %s", k.Rule, k.Subject)
	}
	if len(r.Gone) > 0 && len(r.ReadNow) > 0 {
		note("Read for the baseline and not now: %s", ListParts(r.ReadNow))
	}
	return out
}
