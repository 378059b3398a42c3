package view

import (
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

// Findings prints findings, or says on standard error that there are none.
func Findings(env *terminal.Env, r Renderer, all []finding.Finding, empty string) error {
	if len(all) == 0 {
		fmt.Fprintln(env.Stderr, empty)
		return nil
	}
	t := terminal.Table{Columns: []terminal.Column{
		{Title: "TIME", Drop: 4}, {Title: "SEVERITY"}, {Title: "RULE", Least: 10}, {Title: "EFFECT", Drop: 1}, {Title: "SESSION"},
		{Title: "ACTOR", Least: 8, Drop: 3}, {Title: "TARGET", Least: 8, Drop: 2}, {Title: "MESSAGE", Least: 20},
	}}
	for i := range all {
		f := &all[i]
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: f.Time.In(r.Zone).Format(TimeInTable)}, {Text: f.Severity.String(), Style: SeverityStyle(f.Severity)},
			{Text: f.Rule, Style: terminal.Bold}, {Text: findingEffect(f)}, {Text: ShortID(f.Session)},
			{Text: findingActor(f)}, {Text: findingTarget(f)}, {Text: printable.Text(f.Message)},
		})
	}
	return t.Write(env.Stdout, r.Width, r.Palette)
}

// SeverityStyle is how grave a finding looks.
func SeverityStyle(s finding.Severity) terminal.Style {
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

// Finding returns a finding as one line of live output.
func (r Renderer) Finding(f *finding.Finding) string {
	p := r.Palette
	return fmt.Sprintf("%s  %s  %s %s  %s %s -> %s  %s", p.Paint(terminal.Dim, f.Time.In(r.Zone).Format(TimeOfDay)),
		p.Paint(terminal.Bold, ShortID(f.Session)), p.Paint(SeverityStyle(f.Severity), "FINDING "+f.Severity.String()),
		p.Paint(terminal.Bold, f.Rule), findingEffect(f), findingActor(f), findingTarget(f), printable.Cut(printable.Text(f.Message), r.room()))
}
