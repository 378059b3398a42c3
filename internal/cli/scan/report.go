package scan

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/scan/report"
)

// reporting is how a report is made.
type reporting struct {
	sources
	failOn, format    string
	waivers, baseline string // files
}

// The formats of a report.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatSARIF = "sarif"
	formatJUnit = "junit"
	formatHTML  = "html"
	formatOCSF  = "ocsf"
)

// reportFormats are the formats of a report, each with what writes it.
var reportFormats = []struct {
	name  string
	write func(*terminal.Env, *report.Result) error
}{
	{formatTable, reportTable},
	{formatJSON, func(env *terminal.Env, r *report.Result) error { return report.WriteJSON(env.Stdout, r) }},
	{formatSARIF, func(env *terminal.Env, r *report.Result) error {
		return report.WriteSARIF(env.Stdout, r, build.This().Version)
	}},
	{formatJUnit, func(env *terminal.Env, r *report.Result) error { return report.WriteJUnit(env.Stdout, r) }},
	{formatHTML, reportHTML},
	{formatOCSF, func(env *terminal.Env, r *report.Result) error { return writeOCSF(env.Stdout, scanOrigin(), r) }},
}

func formatNames() (out []string) {
	for _, f := range reportFormats {
		out = append(out, f.name)
	}
	return out
}

func newScanReport(env *terminal.Env) *cobra.Command {
	var r reporting
	cmd := &cobra.Command{
		Use:   "scan",
		Short: "Say who could run a command in which container",
		Long: `Report which bindings let somebody get a command run in a container, and which pods
lead on to others: one finding for each rule and binding, with its severity, what it
rests on, and the command that closes it. What every new cluster has is counted and
not listed. Settings of hosts, kubelets and API servers that were read are checked,
too. What could not be read is part of the report: it is no pass.

A finding that is waived (--waivers) stays in the report and does not count for
--fail-on; with --baseline none does that an earlier report has, unless it got worse.

Exit status: 1 when a finding counts; 2 when the command line, a file or a source
cannot be used, or the report could not be written; 3 with --require-coverage, when
something was not read or not decided and 1 does not apply.

The subcommands answer single questions.

` + sourcesHelp,
		Args: cobra.NoArgs,
		Example: `  sallyport scan
  sallyport scan --from prod.scan --fail-on critical
  sudo sallyport scan --from host --format html > host.html
  sallyport scan --waivers waivers.yaml --baseline last-week.json --fail-on medium
  helm template shop | sallyport scan --from - --format sarif > scan.sarif`,
		RunE: func(cmd *cobra.Command, _ []string) error { return scanReport(cmd.Context(), env, &r) },
	}
	r.flags(cmd)
	r.imageFlags(cmd)
	r.namespaceFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&r.failOn, "fail-on", "high", "exit with 1 when there is a finding of this `SEVERITY` or a greater one; never for none")
	f.StringVar(&r.format, "format", formatTable, "print a table, json (one finding to a line, then what a command gets in each container, what was not looked at in the last), sarif, junit, html, or ocsf (one check to a line)")
	f.StringVar(&r.waivers, "waivers", "", "findings that the waivers of `FILE` name do not count")
	f.StringVar(&r.baseline, "baseline", "", "only what `FILE` does not have counts: a report of --format json, or a snapshot")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formatNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions([]string{"info", "low", "medium", "high", "critical", "never"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func scanReport(ctx context.Context, env *terminal.Env, r *reporting) error {
	at := slices.Index(formatNames(), r.format)
	if at < 0 {
		return exit.Fail(exit.Usage, strings.Join(formatNames(), ", "), "--format: unknown format %q", r.format)
	}
	report, err := evaluate(ctx, env, r, time.Now())
	if err != nil {
		return err
	}
	if err := reportFormats[at].write(env, report); err != nil {
		return exit.Fail(exit.Usage, "", "the report was not written: %w", err) // 1 would say that all was, with findings
	}
	if report.Failed() {
		return exit.Status(exit.Findings)
	}
	if r.complete && len(report.Open) > 0 {
		return exit.Status(exit.Incomplete)
	}
	return r.covered(report.Inventory)
}

// evaluate reads all that a report is made of, what a person wrote first.
func evaluate(ctx context.Context, env *terminal.Env, r *reporting, now time.Time) (*report.Result, error) {
	limit, err := parseFailOn(r.failOn)
	if err != nil {
		return nil, err
	}
	waivers, err := readWaivers(r.waivers, now)
	if err != nil {
		return nil, err
	}
	before, err := readBaseline(ctx, env, r.baseline, &r.sources)
	if err != nil {
		return nil, err
	}
	i, err := gather(ctx, env, &r.sources)
	if err != nil {
		return nil, err
	}
	if i.Cluster == nil && len(i.Hosts) == 0 {
		return nil, exit.Fail(exit.Usage, "--from cluster", "scan: %w", errNoCluster)
	}
	p := env.Progress(thinking)
	out := report.New(i, analyse(i), waivers, before, now)
	p.Done()
	out.Limit, out.Since = limit, r.baseline
	return out, nil
}

// parseFailOn returns the least severity to fail on; one above all for "never".
func parseFailOn(name string) (finding.Severity, error) {
	if name == "never" {
		return finding.Critical + 1, nil
	}
	s, err := finding.ParseSeverity(name)
	if err != nil {
		return 0, exit.Fail(exit.Usage, "info, low, medium, high, critical or never", "--fail-on: %w", err)
	}
	return s, nil
}

var reportColumns = []terminal.Column{
	{Title: "SEVERITY"}, {Title: "SCORE"}, {Title: "RULE"}, {Title: "WHERE", Least: 12}, {Title: "WHAT", Least: 30}, {Title: "REMEDY", Least: 20, Drop: 1},
}

func reportTable(env *terminal.Env, r *report.Result) error {
	out := bufio.NewWriter(env.Stdout)
	if err := findingTable(out, r, view.Of(env)); err != nil {
		return err
	}
	fmt.Fprint(out, r.Summary())
	if r.Folded > 0 {
		fmt.Fprintf(out, " %d more by what every new cluster has.", r.Folded)
	}
	fmt.Fprintln(out)
	goneText(out, r)
	coverageText(out, r)
	return out.Flush()
}

// findingTable prints the findings, with a column for what became of them where that is asked.
func findingTable(w io.Writer, r *report.Result, rend view.Renderer) error {
	t := terminal.Table{Columns: reportColumns}
	stated := r.Number(func(n int) bool { return r.State(n) != "" }) > 0
	if stated {
		t.Columns = slices.Insert(slices.Clone(reportColumns), 2, terminal.Column{Title: "STATE"})
	}
	for n := range r.Found {
		f := &r.Found[n]
		row := []terminal.Cell{
			{Text: f.Severity.String(), Style: view.SeverityStyle(f.Severity)}, {Text: fmt.Sprintf("%.1f", f.Score.Value)}, {Text: f.Rule, Style: terminal.Bold},
			{Text: printable.Text(report.Where(f))}, {Text: printable.Text(f.Message)}, {Text: printable.Text(f.Remedy)},
		}
		if stated {
			row = slices.Insert(row, 2, terminal.Cell{Text: r.State(n), Style: terminal.Dim})
		}
		t.Rows = append(t.Rows, row)
	}
	if len(t.Rows) == 0 {
		return nil
	}
	if err := t.Write(w, rend.Width, rend.Palette); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return nil
}

// goneText says what the baseline had, and is not there any more.
func goneText(w io.Writer, r *report.Result) {
	for n, k := range r.Gone {
		if n == 0 {
			fmt.Fprintln(w, "\nGone since the baseline:")
		}
		if n == coverageMax {
			fmt.Fprintf(w, "  %d more: --format json lists them\n", len(r.Gone)-n)
			break
		}
		fmt.Fprintf(w, "  %s %s %s\n", k.Severity, printable.Text(k.Rule), printable.Text(k.Subject))
	}
	if len(r.Gone) > 0 && len(r.ReadNow) > 0 {
		fmt.Fprintf(w, "What was read for the baseline and not now may still be there: %s.\n", printable.Text(report.ListParts(r.ReadNow)))
	}
}

// coverageText says what was not looked at.
func coverageText(w io.Writer, r *report.Result) {
	if len(r.Gaps) > 0 {
		fmt.Fprintln(w, "\nNot looked at, and therefore unknown:")
	}
	said := map[string]bool{} // a part may have several kinds
	for _, g := range r.Gaps {
		line := fmt.Sprintf("  %s of %s", g.What, printable.Text(g.From))
		if g.Means != "" {
			line += ": " + g.Means
		}
		if !said[line] {
			said[line] = true
			fmt.Fprintln(w, line)
		}
	}
	if n := len(r.Open); n > 0 {
		fmt.Fprintf(w, "\n%s of settings could not be decided: --format json lists them.\n", wording.Plural(n, "check"))
	}
	if n := len(r.Inventory.Skipped); n > 0 {
		fmt.Fprintf(w, "\n%s skipped: standard error says why.\n", wording.Plural(n, "document"))
	}
}

func reportHTML(env *terminal.Env, r *report.Result) error {
	working := env.Progress("Laying out the page")
	page := report.HTML(r, build.This().Version)
	working.Done()
	return page.Write(env.Stdout)
}
