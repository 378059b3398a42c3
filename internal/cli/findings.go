package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/store"
)

func newFindings(env *terminal.Env) *cobra.Command {
	state := statedir.Default(env)
	var since, severity, of string
	var q store.FindingQuery
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "findings",
		Short: "List what rules found",
		Long: `List what rules found, in order of time: one finding for each rule and session.

EFFECT is what the rule says: alert, or what a guard would have done (deny,
approve) had it stood in the way. "sallyport show SESSION" shows the session.`,
		Args: cobra.NoArgs,
		Example: `  sallyport findings --since 24h --severity high
  sallyport findings --rule prod-shell --json | jq -r .session`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if q.Since, err = config.ParseSince(since, time.Now()); err != nil {
				return err
			}
			if q.Severity, err = finding.ParseSeverity(severity); err != nil {
				return exit.Fail(exit.Usage, "info, low, medium, high or critical", "--severity: %w", err)
			}
			q.Session = session.ID(of)
			return findings(cmd.Context(), env, state, q, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", state, "state directory `DIR`")
	f.StringVar(&since, "since", "", "only findings since `WHEN`: a duration (1h, 7d) or a time (2006-01-02, RFC 3339)")
	f.StringVar(&severity, "severity", "info", "only findings of this `SEVERITY` or a greater one")
	f.StringVar(&q.Rule, "rule", "", "only findings of the rule `ID`")
	f.StringVar(&of, "session", "", "only findings about the session `ID`")
	f.IntVar(&q.Limit, "limit", 0, "only the latest `N`")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per finding")
	return cmd
}

func findings(ctx context.Context, env *terminal.Env, state string, q store.FindingQuery, asJSON bool) error {
	if q.Limit < 0 {
		return exit.Fail(exit.Usage, "", "--limit %d: want a positive number", q.Limit)
	}
	r, err := statedir.Reader(state)
	if err != nil {
		return err
	}
	defer r.Close()
	var all []finding.Finding
	for f, e := range r.Findings(ctx, q) {
		if err = e; err != nil {
			break
		}
		if !asJSON {
			f.Evidence = nil // not shown in a table
			all = append(all, f)
			continue
		}
		if err := terminal.WriteJSON(env.Stdout, f); err != nil {
			return err
		}
	}
	if !asJSON {
		if e := findingTable(env, newRenderer(env), all, "no findings fit"); e != nil {
			return e
		}
	}
	return exit.CutShort(err)
}

// findingTable prints findings, or says on standard error that there are none.
func findingTable(env *terminal.Env, r renderer, all []finding.Finding, empty string) error {
	if len(all) == 0 {
		fmt.Fprintln(env.Stderr, empty)
		return nil
	}
	t := terminal.Table{Columns: []terminal.Column{
		{Title: "TIME"}, {Title: "SEVERITY"}, {Title: "RULE", Least: 10}, {Title: "EFFECT"}, {Title: "SESSION"},
		{Title: "ACTOR", Least: 8}, {Title: "TARGET", Least: 8}, {Title: "MESSAGE", Least: 20},
	}}
	for i := range all {
		f := &all[i]
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: f.Time.In(r.zone).Format(layoutTable)}, {Text: f.Severity.String(), Style: severityStyle(f.Severity)},
			{Text: f.Rule, Style: terminal.Bold}, {Text: findingEffect(f)}, {Text: shortID(f.Session)},
			{Text: findingActor(f)}, {Text: findingTarget(f)}, {Text: printable.Text(f.Message)},
		})
	}
	return t.Write(env.Stdout, r.width, r.palette)
}

func severityStyle(s finding.Severity) terminal.Style {
	switch {
	case s >= finding.High:
		return terminal.Bad
	case s >= finding.Medium:
		return terminal.Warn
	}
	return terminal.Plain
}

// findingEffect says what the rule does, and that nobody did it when that is so.
func findingEffect(f *finding.Finding) string {
	if f.Effect == effect.Alert || f.Effect == "" || f.Enforced {
		return string(f.Effect)
	}
	return "would " + string(f.Effect)
}

func findingActor(f *finding.Finding) string {
	a := f.Actor
	switch {
	case a == nil:
		return ""
	case len(a.Candidates) > 0:
		return wording.Plural(len(a.Candidates), "candidate")
	case a.Service != "":
		return printable.Text(string(a.Service)) + " (by itself)"
	case a.Name == "":
		return "unknown"
	case a.Impersonator != "":
		return printable.Text(a.Impersonator) + " as " + printable.Text(a.Name)
	}
	return printable.Text(a.Name)
}

func findingTarget(f *finding.Finding) string {
	t := f.Target
	switch {
	case t == nil:
		return ""
	case t.Object != "":
		return printable.Text(t.Object)
	case t.Pod != "":
		parts := []string{t.Namespace, t.Pod}
		if t.ContainerName != "" {
			parts = append(parts, t.ContainerName)
		}
		return printable.Text(strings.Join(parts, "/"))
	case t.ContainerName != "":
		return printable.Text(t.ContainerName)
	case t.ContainerID != "":
		return printable.Text(t.ContainerID.Short())
	case t.Workload != "":
		return printable.Text(t.Namespace + "/" + t.Workload)
	}
	return printable.Text(t.Node)
}

// finding returns a finding as one line of live output.
func (r renderer) finding(f *finding.Finding) string {
	p := r.palette
	return fmt.Sprintf("%s  %s  %s %s  %s %s -> %s  %s", p.Paint(terminal.Dim, f.Time.In(r.zone).Format(layoutLive)),
		p.Paint(terminal.Bold, shortID(f.Session)), p.Paint(severityStyle(f.Severity), "FINDING "+f.Severity.String()),
		p.Paint(terminal.Bold, f.Rule), findingEffect(f), findingActor(f), findingTarget(f), printable.Cut(printable.Text(f.Message), r.room()))
}
