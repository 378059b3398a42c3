package scan

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

func newDiff(env *terminal.Env) *cobra.Command {
	var s sources
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say what opened and what closed between two snapshots or directories",
		Long: `Compare who can get a command run where: in A, and in B after it. Each is what
--from of other scans takes: a snapshot, a file or directory of manifests, cluster.
A line is an actor, a namespace and a channel, never a single pod, so that pods that
come and go are no difference; what a group has is listed for the group. INDIRECT
are those who get there by way of others.

Exits with 1 when something opened.`,
		Args: cobra.ExactArgs(2),
		Example: `  sallyport scan diff last-week.scan cluster
  sallyport scan diff main/deploy branch/deploy --json | jq 'select(.change=="opened")'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return diff(cmd.Context(), env, &s, args[0], args[1], asJSON)
		},
	}
	f := cmd.Flags()
	s.kubeFlags(f)
	s.namespaceFlag(cmd)
	f.BoolVar(&s.complete, "require-coverage", false, "exit with 3 when something could not be read or understood, and nothing opened")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per difference")
	return cmd
}

func diff(ctx context.Context, env *terminal.Env, s *sources, before, after string, asJSON bool) error {
	if before == fromStdin && after == fromStdin {
		return exit.Fail(exit.Usage, "a file for one of them", "diff: standard input can be read once")
	}
	var inventories [2]*inventory.Inventory
	var analyses [2]*exposure.Analysis
	for n, from := range []string{before, after} {
		one := *s
		one.from = []string{from}
		var err error
		if inventories[n], analyses[n], err = analysis(ctx, env, "diff", &one); err != nil {
			return err
		}
	}
	unevenly(env, before, inventories[0], inventories[1])
	unevenly(env, after, inventories[1], inventories[0])
	p := env.Progress("Comparing")
	changes := exposure.Diff(analyses[0], analyses[1])
	p.Done()
	write := func(list []exposure.Change) error { return differences(env, list) }
	if asJSON {
		write = func(list []exposure.Change) error { return terminal.WriteLines(env.Stdout, list) }
	}
	if err := write(changes); err != nil {
		return err
	}
	if len(changes) > 0 && changes[0].Change == exposure.Opened {
		return exit.Status(exit.Findings)
	}
	for _, i := range inventories {
		if err := s.covered(i); err != nil {
			return err
		}
	}
	return nil
}

// unevenly says what was read of one side only: it looks like a difference.
func unevenly(env *terminal.Env, name string, i, other *inventory.Inventory) {
	for _, u := range i.Unread {
		if !other.Is(u.What) {
			fmt.Fprintf(env.Stderr, "Not read in %s alone: %s. What it gives looks like a difference.\n", printable.Text(name), u.What)
		}
	}
}

var changeColumns = []terminal.Column{
	{Title: "CHANGE"}, {Title: "ACTOR", Least: 16}, {Title: "NAMESPACE", Least: 8}, {Title: "CHANNEL"}, {Title: "SCOPE", Drop: 1}, {Title: "BY", Least: 20},
}

func differences(env *terminal.Env, list []exposure.Change) error {
	if len(list) == 0 {
		fmt.Fprintln(env.Stderr, "Nothing opened and nothing closed, as far as was read.")
		return nil
	}
	r := view.Of(env)
	t := terminal.Table{Columns: changeColumns}
	for _, both := range exposure.Changes(list) {
		c := both.Of
		style := terminal.Good
		if c.Change == exposure.Opened {
			style = terminal.Bad
		}
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: c.Change, Style: style}, {Text: printable.Text(string(c.Actor)), Style: terminal.Bold}, {Text: printable.Text(c.Where())}, {Text: channels(both.Channels)}, {Text: c.Scope}, {Text: printable.Text(exposure.PathText(c.Via))},
		})
	}
	return t.Write(env.Stdout, r.Width, r.Palette)
}
