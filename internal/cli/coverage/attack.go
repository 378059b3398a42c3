// Package coverage says which channels and which techniques of ATT&CK are covered: by this
// version, by rules, and on this host.
package coverage

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/doctor"
	"github.com/sallyport/sallyport/internal/cli/evidence"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/ruleset"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/policy/ruletest"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/rules"
)

// NewAttack returns sallyport attack.
func NewAttack(env *terminal.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attack",
		Short: "What of ATT&CK T1609 and its neighbours is covered",
		Long: `What of ATT&CK T1609, Container Administration Command, and its neighbours is
covered. ATT&CK: (c) The MITRE Corporation; version 18.1.`,
	}
	cmd.AddCommand(newAttackCoverage(env))
	return cmd
}

// The formats of `attack coverage`.
const (
	formatTable     = "table"
	formatJSON      = "json"
	formatNavigator = "navigator"
)

var coverageFormats = []string{formatTable, formatJSON, formatNavigator}

// coverageOptions is what `attack coverage` was asked for.
type coverageOptions struct {
	rules    []string
	format   string
	asJSON   bool
	offline  bool
	channels bool
}

func newAttackCoverage(env *terminal.Env) *cobra.Command {
	var opt coverageOptions
	cmd := &cobra.Command{
		Use:   "coverage [TECHNIQUE...]",
		Short: "Say which rules cover a technique, which tests hold them, and what this host shows",
		Long: `Coverage says for T1609 and its neighbours, for its data sources Command (DS0017) and
Process (DS0009), for the five procedures and for the channels: which rules are
about it, how many of those have a test that finds something, and whether this
host shows what they are about. With TECHNIQUE it names the rules and tests.

The rules are those of the shipped pack, or of --rules. Their tests (*.test.yaml)
are run; of the pack the stories in which the tests of this version find
something count, too.

HERE is found by trying, as sallyport doctor does. It is "unknown" where that
could not be tried: with --offline, without privileges, or when there was no
answer. A rule that rests on processes alone needs the kernel sensor.

Exit status:
  0  done
  1  a rule test failed: what it is to hold does not count as tested
  2  the command line or the rules cannot be used`,
		Example: `  sudo sallyport attack coverage
  sallyport attack coverage T1609 T1611
  sallyport attack coverage --rules /etc/sallyport/rules --json
  sallyport attack coverage --format navigator > layer.json
  sallyport attack coverage --offline --channels`,
		ValidArgsFunction: completeTechniques,
		RunE: func(cmd *cobra.Command, techniques []string) error {
			return attackCoverage(cmd.Context(), env, cmd.Flags(), opt, techniques)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&opt.rules, "rules", nil, "rules and their tests in `PATH` instead of the shipped pack; may be repeated")
	f.StringVar(&opt.format, "format", formatTable, "`FORMAT`: table, json, or navigator for a layer of ATT&CK Navigator (4.5)")
	f.BoolVar(&opt.asJSON, "json", false, "print one JSON object per technique, procedure, data source, channel and rule")
	f.BoolVar(&opt.offline, "offline", false, "do not look at this host")
	f.BoolVar(&opt.channels, "channels", false, "list the channels, too")
	f.String("state", "", "state directory `DIR` (default "+statedir.Default(env)+")")
	config.WatchFlags(f)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(coverageFormats, cobra.ShellCompDirectiveNoFileComp)) // fails for no flag only
	return cmd
}

func completeTechniques(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	for _, t := range attack.Techniques() {
		out = append(out, cobra.CompletionWithDesc(string(t), t.Name()))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func attackCoverage(ctx context.Context, env *terminal.Env, flags *pflag.FlagSet, opt coverageOptions, techniques []string) error {
	if opt.asJSON && !flags.Changed("format") {
		opt.format = formatJSON
	}
	if !slices.Contains(coverageFormats, opt.format) || opt.asJSON && opt.format != formatJSON {
		return exit.Fail(exit.Usage, "table, json or navigator, and --json without --format", "format %q", opt.format)
	}
	wanted, err := wantedTechniques(techniques)
	if err != nil {
		return err
	}
	host := attack.AnyHost()
	if !opt.offline {
		conf, err := config.Load(env, "", flags)
		if err != nil {
			return err
		}
		host = doctor.Host(ctx, env, conf)
	}
	about, failed, err := coveredRules(opt.rules)
	if err != nil {
		return err
	}
	c := attack.Covered(about, host)
	if len(wanted) > 0 {
		c = c.Only(wanted...)
	}
	if err := printCoverage(env, c, opt, len(wanted) > 0); err != nil {
		return err
	}
	for _, r := range failed {
		fmt.Fprintf(env.Stderr, "FAIL %s:%d: %s; sallyport rules test says why\n", printable.Text(r.File), r.Line, printable.Text(r.Name))
	}
	if len(failed) > 0 {
		return exit.Status(exit.Findings)
	}
	return nil
}

// wantedTechniques checks the techniques of a command line.
func wantedTechniques(args []string) ([]attack.Technique, error) {
	var out []attack.Technique
	for _, a := range args {
		t := attack.Technique(strings.ToUpper(a))
		if t.Name() == "" {
			return nil, exit.Fail(exit.Usage, "sallyport attack coverage --offline lists them", "technique %q is not in the vocabulary", a)
		}
		out = append(out, t)
	}
	return out, nil
}

// coveredRules loads rules and runs their tests. It returns the tests that failed,
// too.
func coveredRules(paths []string) ([]attack.Rule, []ruletest.Result, error) {
	files, err := ruleset.Files(paths, false)
	if err != nil {
		return nil, nil, err
	}
	set, err := policy.Load(files)
	if err != nil {
		return nil, nil, ruleset.Broken(err)
	}
	tests, err := ruleset.Files(paths, true)
	if err != nil {
		return nil, nil, err
	}
	results, err := ruletest.Run(files, tests, evidence.Sessions)
	if err != nil {
		return nil, nil, ruleset.Broken(err)
	}
	found := make(map[string][]string)
	var failed []ruletest.Result
	for _, r := range results {
		if len(r.Wrong) > 0 {
			failed = append(failed, r)
			continue
		}
		for _, id := range r.Found {
			found[id] = append(found[id], fmt.Sprintf("%s:%d: %s", r.File, r.Line, r.Name))
		}
	}
	if len(paths) == 0 {
		stories(found)
	}
	return about(set, found), failed, nil
}

// stories adds the stories in which the pack's own test finds something.
func stories(found map[string][]string) {
	recorded := rules.Recorded()
	for _, story := range slices.Sorted(maps.Keys(recorded)) {
		for _, id := range slices.Compact(recorded[story]) {
			found[id] = append(found[id], "rules.TestRecorded/"+story)
		}
	}
}

// about tells package attack of rules.
func about(set *policy.Set, found map[string][]string) []attack.Rule {
	var out []attack.Rule
	for _, r := range set.Lint() {
		x := attack.Rule{
			ID: r.Rule.ID, Title: r.Rule.Title, File: r.Rule.File, Line: r.Rule.Line,
			Techniques: r.Rule.Attack, Reads: r.Reads, Tests: found[r.Rule.ID],
		}
		if r.Rule.Blind != nil {
			x.Witnesses = r.Rule.Blind.Witnesses
		}
		for _, c := range r.Channels {
			if c.Reach != policy.ReachNone {
				x.Channels = append(x.Channels, c.Channel)
			}
		}
		out = append(out, x)
	}
	return out
}

func printCoverage(env *terminal.Env, c attack.Coverage, opt coverageOptions, detailed bool) error {
	switch {
	case opt.format == formatJSON:
		return coverageLines(env.Stdout, c)
	case opt.format == formatNavigator:
		return terminal.WriteDocument(env.Stdout, c.Layer(layerAbout(opt)))
	case detailed:
		return coverageDetails(env.Stdout, c)
	}
	return coverageTables(env, c, opt.channels)
}

func layerAbout(opt coverageOptions) string {
	of, host := "the shipped rule pack", "this host was looked at"
	if len(opt.rules) > 0 {
		of = "the rules in " + strings.Join(opt.rules, ", ")
	}
	if opt.offline {
		host = "no host was looked at"
	}
	return "Coverage by " + of + "; " + host + ". Made by sallyport attack coverage."
}

// coverageLines prints one object a line, each of one key that says what it is.
func coverageLines(w io.Writer, c attack.Coverage) error {
	var err error
	line := func(key string, v any) {
		if err == nil {
			err = terminal.WriteJSON(w, map[string]any{key: v})
		}
	}
	for _, x := range c.Techniques {
		line("technique", x)
	}
	for _, x := range c.Procedures {
		line("procedure", x)
	}
	for _, x := range c.Sources {
		line("source", x)
	}
	for _, x := range c.Channels {
		line("channel", x)
	}
	for _, x := range c.Rules {
		line("rule", x)
	}
	return err
}

// coverageTables prints a table for each kind of thing.
func coverageTables(env *terminal.Env, c attack.Coverage, channels bool) error {
	w := &terminal.Writer{To: env.Stdout}
	tables := []*terminal.Table{coverTable("TECHNIQUE"), coverTable("PROCEDURE"), coverTable("DATA SOURCE")}
	for _, t := range c.Techniques {
		coverRow(tables[0], string(t.ID), t.Name, t.Cover)
	}
	for _, p := range c.Procedures {
		coverRow(tables[1], p.ID, p.Name, p.Cover)
	}
	for _, s := range c.Sources {
		coverRow(tables[2], string(s.ID), s.Name+": "+s.Component+" "+s.ComponentName, s.Cover)
	}
	if channels {
		tables = append(tables, coveredChannels(c.Channels))
	}
	r := view.Of(env)
	for i, t := range tables {
		if i > 0 {
			w.Line("")
		}
		if w.Err != nil {
			return w.Err
		}
		if err := t.Write(env.Stdout, r.Width, r.Palette); err != nil {
			return err
		}
	}
	return nil
}

func coverTable(what string) *terminal.Table {
	return &terminal.Table{Columns: []terminal.Column{
		{Title: what}, {Title: "NAME", Least: 12}, {Title: "RULES"}, {Title: "TESTED"},
		{Title: "COMMAND", Drop: 1}, {Title: "PROCESS", Drop: 1}, {Title: "HERE"},
	}}
}

func coverRow(t *terminal.Table, id, name string, c attack.Cover) {
	if len(c.Rules) == 0 {
		t.Rows = append(t.Rows, []terminal.Cell{{Text: id, Style: terminal.Bold}, {Text: name}, {Text: "-", Style: terminal.Dim}, {Text: "-", Style: terminal.Dim}, {Text: "-", Style: terminal.Dim}, {Text: "-", Style: terminal.Dim}, {Text: "-", Style: terminal.Dim}})
		return
	}
	tested := terminal.Cell{Text: fmt.Sprint(len(c.Tested)), Style: terminal.Good}
	if len(c.Tested) < len(c.Rules) {
		tested.Style = terminal.Warn
	}
	t.Rows = append(t.Rows, []terminal.Cell{
		{Text: id, Style: terminal.Bold}, {Text: name}, {Text: fmt.Sprint(len(c.Rules))}, tested,
		{Text: fmt.Sprint(len(c.Command))}, {Text: fmt.Sprint(len(c.Process))}, answerCell(c.Here),
	})
}

func coveredChannels(all []attack.ChannelCover) *terminal.Table {
	t := &terminal.Table{Columns: []terminal.Column{{Title: "CHANNEL"}, {Title: "WAY", Least: 20}, {Title: "RULES"}, {Title: "OBSERVED", Drop: 1}, {Title: "HERE"}}}
	for _, c := range all {
		here := answerCell(c.Here)
		if !c.Observed {
			here = terminal.Cell{Text: "-", Style: terminal.Dim}
		}
		t.Rows = append(t.Rows, []terminal.Cell{{Text: string(c.ID), Style: terminal.Bold}, {Text: c.Way}, {Text: fmt.Sprint(len(c.Rules))}, yes(c.Observed), here})
	}
	return t
}

func answerCell(a attack.Answer) terminal.Cell {
	switch a {
	case attack.Yes:
		return terminal.Cell{Text: string(a), Style: terminal.Good}
	case attack.No:
		return terminal.Cell{Text: string(a), Style: terminal.Bad}
	case attack.Unknown:
		return terminal.Cell{Text: string(a), Style: terminal.Warn}
	}
	return terminal.Cell{Text: "-", Style: terminal.Dim}
}

// coverageDetails prints techniques at length, with the tests of each rule.
func coverageDetails(out io.Writer, c attack.Coverage) error {
	w := &terminal.Writer{To: out}
	for i, t := range c.Techniques {
		if i > 0 {
			w.Line("")
		}
		w.Line("%s  %s", t.ID, t.Name)
		if len(t.Channels) > 0 {
			w.Line("  channels  %s", channelWords(t.Channels))
		}
		if len(t.Rules) == 0 {
			w.Line("  no rule")
		}
		for _, r := range c.Rules {
			if !slices.Contains(t.Rules, r.ID) {
				continue
			}
			w.Line("  rule      %s, on %s; here: %s", printable.Text(r.ID), sourceWords(r.Sources), r.Here)
			w.Line("            %s", printable.Text(r.Title))
			if len(r.Tests) == 0 {
				w.Line("            no test")
			}
			for _, test := range r.Tests {
				w.Line("            by %s", printable.Text(test))
			}
		}
	}
	return w.Err
}

func sourceWords(all []attack.Source) string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name()
	}
	return strings.Join(names, " and ")
}

func channelWords(all []event.Channel) string {
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = string(c)
	}
	return strings.Join(names, " ")
}
