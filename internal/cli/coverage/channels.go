package coverage

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/complete"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/doctor"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/session"
)

// channelRow is a channel as `sallyport channels --json` prints it: the
// catalogue, what this version does, and what holds on this host.
type channelRow struct {
	attack.Row
	Here *attack.Here `json:"here,omitempty"`
}

type channelFilter struct {
	families []string
	observed bool
	here     bool
}

// NewChannels returns sallyport channels.
func NewChannels(env *terminal.Env) *cobra.Command {
	var asJSON bool
	var filter channelFilter
	cmd := &cobra.Command{
		Use:   "channels [ID...]",
		Short: "List every way into a container and what this version does about it",
		Long: `Channels lists the ways by which a command gets into a container: at which door
each can be seen at all, what this version does about it, the test that proves
each claim (--json, or a single ID), and whether this host can see it now.

A channel without a claim is one that this version does nothing about.`,
		Example:           "  sallyport channels --observed\n  sallyport channels --family docker,host\n  sallyport channels DK-EXEC --json",
		ValidArgsFunction: completeChannels,
		RunE: func(cmd *cobra.Command, ids []string) error {
			rows, err := filter.rows(ids)
			if err != nil {
				return err
			}
			conf, err := config.Load(env, "", cmd.Flags())
			if err != nil {
				return err
			}
			have := doctor.Host(cmd.Context(), env, conf).Have
			out := make([]channelRow, 0, len(rows))
			for _, r := range rows {
				here := r.On(have...)
				if !filter.here || here.Observed {
					out = append(out, channelRow{r, &here})
				}
			}
			if asJSON {
				return terminal.WriteLines(env.Stdout, out)
			}
			if len(ids) > 0 {
				return channelDetails(env.Stdout, out)
			}
			return channelTable(out).Write(env.Stdout, env.Width(), env.Palette())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print one JSON object per line")
	flags.StringSliceVar(&filter.families, "family", nil, "only these `FAMILIES`: "+familyNames())
	flags.BoolVar(&filter.observed, "observed", false, "only channels that this version observes")
	flags.BoolVar(&filter.here, "here", false, "only channels that this host can see now")
	flags.String("state", "", "state directory `DIR` (default "+statedir.Default(env)+")")
	config.WatchFlags(flags)
	complete.Words(cmd, "family", families()...)
	return cmd
}

func families() (names []string) {
	for _, f := range attack.Families() {
		names = append(names, string(f))
	}
	return names
}

func familyNames() string { return strings.Join(families(), ", ") }

func completeChannels(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	for _, c := range attack.Channels() {
		out = append(out, cobra.CompletionWithDesc(string(c.ID), c.Way))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// rows returns the rows that the filter and the ids leave, in the catalogue's
// order.
func (f channelFilter) rows(ids []string) ([]attack.Row, error) {
	for _, name := range f.families {
		if !slices.Contains(attack.Families(), attack.Family(name)) {
			return nil, exit.Fail(exit.Usage, "the families are "+familyNames(), "family %q: there is none", name)
		}
	}
	rows := attack.Rows()
	for _, id := range ids {
		if !slices.ContainsFunc(rows, func(r attack.Row) bool { return strings.EqualFold(string(r.ID), id) }) {
			return nil, exit.Fail(exit.Usage, "sallyport channels", "channel %q: there is none", id)
		}
	}
	return slices.DeleteFunc(rows, func(r attack.Row) bool {
		return len(f.families) > 0 && !slices.Contains(f.families, string(r.Family)) ||
			f.observed && !r.Observed ||
			len(ids) > 0 && !slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(string(r.ID), id) })
	}), nil
}

func channelTable(rows []channelRow) *terminal.Table {
	t := &terminal.Table{Columns: []terminal.Column{
		{Title: "CHANNEL"},
		{Title: "WAY", Least: 20},
		{Title: "DOOR", Drop: 3},
		{Title: "OBSERVED"},
		{Title: "ATTRIBUTED", Drop: 4},
		{Title: "HERE"},
		{Title: "GUARDED", Drop: 1},
		{Title: "SCANNED", Drop: 1},
		{Title: "DRILLED", Drop: 1},
	}}
	for _, r := range rows {
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: string(r.ID), Style: terminal.Bold}, {Text: r.Way}, {Text: door(r.Row), Style: terminal.Dim}, yes(r.Observed),
			{Text: level(r.Attributed), Style: view.LevelStyle(r.Attributed)}, hereCell(r), yes(r.Guarded), yes(r.Scanned), yes(r.Drilled),
		})
	}
	return t
}

func yes(b bool) terminal.Cell {
	if b {
		return terminal.Cell{Text: "yes", Style: terminal.Good}
	}
	return terminal.Cell{Text: "-", Style: terminal.Dim}
}

// level is an attribution for a table: a channel that is not attributed shows
// a dash.
func level(l session.Level) string {
	if l == session.LevelNone {
		return "-"
	}
	return string(l)
}

func door(r attack.Row) string {
	if r.Carried {
		return string(r.Planned) + ", carried"
	}
	return string(r.Planned)
}

// hereCell says in a word what holds of a row on this host.
func hereCell(r channelRow) terminal.Cell {
	switch {
	case !r.Observed || r.Here == nil:
		return terminal.Cell{Text: "-", Style: terminal.Dim}
	case !r.Here.Observed:
		return terminal.Cell{Text: "no: needs " + NeedWords(r.Here.Missing), Style: terminal.Bad}
	case len(r.Here.Missing) > 0:
		return terminal.Cell{Text: "in part: needs " + NeedWords(r.Here.Missing), Style: terminal.Warn}
	}
	return terminal.Cell{Text: "yes", Style: terminal.Good}
}

// NeedWords names what a host needs.
func NeedWords(needs []attack.Need) string {
	var words []string
	for _, n := range needs {
		words = append(words, string(n))
	}
	return strings.Join(words, ", ")
}

// channelDetails prints rows at length, with every claim and its tests.
func channelDetails(w io.Writer, rows []channelRow) error {
	var b strings.Builder
	for i, r := range rows {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s  %s\n", r.ID, r.Way)
		fmt.Fprintf(&b, "  door        %s\n", strings.TrimSuffix(door(r.Row)+" ("+r.Note+")", " ()"))
		for _, t := range r.Techniques {
			fmt.Fprintf(&b, "  technique   %s %s\n", t, t.Name())
		}
		if r.As != "" {
			fmt.Fprintf(&b, "  reported    as %s\n", r.As)
		}
		if r.Here != nil {
			fmt.Fprintf(&b, "  this host   %s, attributed: %s\n", hereCell(r).Text, r.Here.Attributed)
		}
		if len(r.Claims) == 0 {
			b.WriteString("  nothing is claimed of it\n")
		}
		for _, c := range r.Claims {
			fmt.Fprintf(&b, "  %-11s %s\n", c.Does, strings.TrimPrefix(string(c.Level)+", with "+NeedWords(c.Needs), ", "))
			for _, test := range c.Tests {
				fmt.Fprintf(&b, "              by %s\n", test)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
