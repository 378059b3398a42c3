package scan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/scan/report"
)

// ruleLine is a rule of a scan as a line of JSON.
type ruleLine struct {
	ID       string            `json:"id"`
	Title    string            `json:"title"`
	Severity *finding.Severity `json:"severity,omitempty"` // absent where it is worked out for each finding
	Remedy   string            `json:"remedy,omitempty"`
	Attack   []string          `json:"attack,omitempty"`
	CIS      []string          `json:"cis,omitempty"`
}

func lineOf(r *posture.Rule) ruleLine {
	out := ruleLine{ID: r.ID, Title: r.Title, Remedy: r.Remedy, CIS: r.CIS}
	if !r.Weighed {
		out.Severity = &r.Severity
	}
	for _, t := range r.Attack {
		out.Attack = append(out.Attack, string(t))
	}
	return out
}

// severityText says how grave a rule's findings are.
func severityText(r *posture.Rule) string {
	if r.Weighed {
		return "weighed"
	}
	return r.Severity.String()
}

func newScanRules(env *terminal.Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List all checks of a scan, with what they refer to",
		Long: `List every rule by which a scan reports: its id, which never changes, its severity,
and the recommendations of CIS Benchmarks (Docker 1.6, Kubernetes 1.12) and
techniques of ATT&CK that it is about. The severity is "weighed" where it is worked
out for each finding, of what it leads to; for some settings it differs from the
rule's where two of them come together.`,
		Args: cobra.NoArgs,
		Example: `  sallyport scan rules
  sallyport scan rules --json | jq -r 'select(.cis[]? | startswith("docker")) | .id'`,
		RunE: func(*cobra.Command, []string) error {
			if !asJSON {
				return ruleTable(env, report.Rules())
			}
			for _, r := range report.Rules() {
				if err := terminal.WriteJSON(env.Stdout, lineOf(&r)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per rule")
	return cmd
}

func ruleTable(env *terminal.Env, rules []posture.Rule) error {
	t := terminal.Table{Columns: []terminal.Column{{Title: "RULE"}, {Title: "SEVERITY"}, {Title: "CIS", Least: 10}, {Title: "ATT&CK", Least: 10, Drop: 1}, {Title: "WHAT", Least: 20}}}
	rend := view.Of(env)
	for n := range rules {
		r := &rules[n]
		l := lineOf(r)
		style := terminal.Plain
		if !r.Weighed {
			style = view.SeverityStyle(r.Severity)
		}
		t.Rows = append(t.Rows, []terminal.Cell{{Text: r.ID, Style: terminal.Bold}, {Text: severityText(r), Style: style}, {Text: strings.Join(l.CIS, ", ")}, {Text: strings.Join(l.Attack, ", ")}, {Text: r.Title}})
	}
	return t.Write(env.Stdout, rend.Width, rend.Palette)
}

func newScanExplain(env *terminal.Env) *cobra.Command {
	var r reporting
	cmd := &cobra.Command{
		Use:   "explain RULE|FINDING",
		Short: "Say what a rule of a scan is about, or all that a scan knows of one finding",
		Long: `Explain a rule by its id. Nothing is read for it.

Explain a finding by its id, as --format json has it: a scan is made, of --from, and
the finding is shown with how its severity was worked out, what it rests on, and for
a pod that leads on the steps.

` + sourcesHelp,
		Args: cobra.ExactArgs(1),
		Example: `  sallyport scan explain SP-K8S-005
  sallyport scan explain --from prod.scan xwuhy22z3vvvsgow`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return ruleIDs(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error { return scanExplain(cmd.Context(), env, &r, args[0]) },
	}
	r.flags(cmd)
	r.namespaceFlag(cmd)
	cmd.Flags().StringVar(&r.waivers, "waivers", "", "say whether a waiver of `FILE` is about it")
	return cmd
}

func ruleIDs() (out []string) {
	for _, r := range report.Rules() {
		out = append(out, r.ID)
	}
	return out
}

func scanExplain(ctx context.Context, env *terminal.Env, r *reporting, id string) error {
	rules := report.Rules()
	if n := slices.IndexFunc(rules, func(r posture.Rule) bool { return r.ID == id }); n >= 0 {
		explainRule(env, &rules[n])
		return nil
	}
	if !isFindingID(id) {
		hint := "sallyport scan rules"
		if name := nearest.Name(id, ruleIDs()); name != "" {
			hint = "sallyport scan explain " + name
		}
		return exit.Fail(exit.Usage, hint, "explain: %s is neither a rule nor the id of a finding", printable.Text(id))
	}
	r.failOn = "never"
	report, err := evaluate(ctx, env, r, time.Now())
	if err != nil {
		return err
	}
	for n := range report.Found {
		if string(report.Found[n].ID) == id {
			explainFinding(env, report, n)
			return r.covered(report.Inventory)
		}
	}
	return exit.Fail(exit.Usage, "sallyport scan --format json, for what there is", "explain: no finding %s in what was read", id)
}

// isFindingID reports whether a text could be the id of a finding.
func isFindingID(id string) bool {
	return len(id) == len(finding.NewID("", "")) && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// formulaText says how weighed severities come about; docs/guide/scan.md has the values.
const formulaText = "weighed: 10 × reach × privilege × who × exposure, at most 10; critical from 9, high from 7, medium from 4, else low"

func explainRule(env *terminal.Env, r *posture.Rule) {
	severity := r.Severity.String()
	if r.Weighed {
		severity = formulaText
	}
	out := env.Stdout
	fmt.Fprintf(out, "%s  %s\n\n", env.Palette().Paint(terminal.Bold, r.ID), r.Title)
	fmt.Fprintf(out, "Severity  %s\n", severity)
	if r.Remedy != "" {
		fmt.Fprintf(out, "Remedy    %s\n", r.Remedy)
	}
	for _, c := range r.CIS {
		fmt.Fprintf(out, "CIS       %s\n", c)
	}
	for _, t := range r.Attack {
		fmt.Fprintf(out, "ATT&CK    %s\n", strings.TrimSpace(string(t)+" "+t.Name()))
	}
}

func explainFinding(env *terminal.Env, r *report.Result, n int) {
	f, p, out := &r.Found[n], env.Palette(), env.Stdout
	fmt.Fprintf(out, "%s  %s  %s\n%s\n\n", p.Paint(view.SeverityStyle(f.Severity), f.Severity.String()), p.Paint(terminal.Bold, f.Rule), printable.Text(f.Title), printable.Text(f.Message))
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(out, "%-9s %s\n", what, printable.Text(text))
		}
	}
	line("Subject", f.Subject)
	if f.At.Line > 0 {
		line("Where", f.At.String())
	}
	line("Score", f.Score.String())
	line("Remedy", f.Remedy)
	if w := r.Waived[n]; w != nil {
		line("State", report.Waived(w))
	}
	for _, e := range f.Evidence {
		if e.Source != "severity" {
			line("Evidence", report.Evidence(&e))
		}
	}
	line("Unknown", strings.Join(f.Unknown, ", "))
	line("CIS", strings.Join(f.CIS, ", "))
	line("ATT&CK", strings.Join(lineOf(&posture.Rule{Attack: f.Attack}).Attack, ", "))
	stepLines(env, r.Paths()[n])
}
