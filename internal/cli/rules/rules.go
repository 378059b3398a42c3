// Package rules is sallyport rules: checking, testing and trying rules, and copying those of
// the program.
package rules

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/evidence"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/ruleset"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/policy/ruletest"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

// New returns sallyport rules.
func New(env *terminal.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Check, test and try rules",
		Long: `Check, test and try rules. Rules are YAML with conditions in CEL; the guide
(docs/guide/rules.md) has the language.

Wherever rules are named, a directory means all its files that end in .yaml or
.yml, in the order of their names, apart from those that end in .test.yaml. Sigma
rules may be among them (docs/guide/sigma.md). lint and test without PATH are
about the rule pack that is in the program (docs/guide/rule-pack.md).`,
	}
	cmd.AddCommand(newRulesLint(env), newRulesTest(env), newRulesExplain(env), newRulesBacktest(env), newRulesCopy(env))
	return cmd
}

func newRulesLint(env *terminal.Env) *cobra.Command {
	var asJSON, channels bool
	cmd := &cobra.Command{
		Use:   "lint [PATH...]",
		Short: "Check rules and say what each can do on which channel",
		Long: `Check files of rules completely, and say for each rule on which channels it can
hold, and how far it gets there:

  decidable    all that it asks for is known before the command runs, and a
               guard can stand at that door
  alert only   it can tell, but not prevent
  invisible    this version sees no sessions of the channel

UNSURE counts the fields that may be unknown on a channel; what the rule does then
is its own choice ("unknown: match" or "unknown: pass").

Exit status 2 when rules cannot be used; 1 when a suppression has expired.`,
		Args: cobra.ArbitraryArgs,
		Example: `  sallyport rules lint
  sallyport rules lint rules/
  sallyport rules lint rules/ --channels
  sallyport rules lint rules/ --json | jq -r .rule.id`,
		RunE: func(_ *cobra.Command, args []string) error { return rulesLint(env, args, channels, asJSON) },
	}
	cmd.Flags().BoolVar(&channels, "channels", false, "a line for each rule and channel, with the reason")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per rule")
	return cmd
}

func rulesLint(env *terminal.Env, paths []string, channels, asJSON bool) error {
	set, err := ruleset.Load(paths)
	if err != nil {
		return err
	}
	reports := set.Lint()
	switch {
	case asJSON:
		for _, r := range reports {
			if err := terminal.WriteJSON(env.Stdout, r); err != nil {
				return err
			}
		}
	case channels:
		err = lintChannels(env, reports)
	default:
		err = lintRules(env, reports)
	}
	if err != nil {
		return err
	}
	return expired(env, set.Suppressions())
}

func lintRules(env *terminal.Env, reports []policy.Report) error {
	t := terminal.Table{Columns: []terminal.Column{
		{Title: "RULE", Least: 12}, {Title: "EFFECT"}, {Title: "SEVERITY"}, {Title: "DECIDABLE"}, {Title: "ALERT ONLY"}, {Title: "INVISIBLE"},
		{Title: "UNKNOWN"}, {Title: "UNSURE", Least: 10, Drop: 1},
	}}
	for _, r := range reports {
		reach := map[policy.Reach]int{}
		var unsure []string
		for _, c := range r.Channels {
			reach[c.Reach]++
			unsure = append(unsure, c.Unsure...)
		}
		slices.Sort(unsure)
		number := func(k policy.Reach) terminal.Cell { return terminal.Cell{Text: fmt.Sprint(reach[k])} }
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: r.Rule.ID, Style: terminal.Bold}, {Text: effectsText(r.Rule)}, {Text: r.Rule.Severity.String()},
			number(policy.ReachDecides), number(policy.ReachAlerts), number(policy.ReachNone),
			{Text: string(r.Rule.Unknown)}, {Text: strings.Join(slices.Compact(unsure), " ")},
		})
	}
	r := view.Of(env)
	if err := t.Write(env.Stdout, r.Width, r.Palette); err != nil {
		return err
	}
	lintNotes(env, reports)
	fmt.Fprintf(env.Stderr, "%s, no mistakes. Numbers are channels; --channels names them.\n", wording.Plural(len(reports), "rule"))
	return nil
}

// lintNotes says what was not taken over from Sigma rules.
func lintNotes(env *terminal.Env, reports []policy.Report) {
	for _, r := range reports {
		if r.Rule.Sigma == nil {
			continue
		}
		for _, note := range r.Rule.Sigma.Notes {
			fmt.Fprintf(env.Stderr, "%s:%d: rule %s: %s\n", printable.Text(r.Rule.File), r.Rule.Line, r.Rule.ID, printable.Text(note))
		}
	}
}

func effectsText(r policy.Rule) string {
	names := make([]string, len(r.Effects))
	for i, e := range r.Effects {
		names[i] = string(e)
	}
	return strings.Join(names, "+")
}

func lintChannels(env *terminal.Env, reports []policy.Report) error {
	t := terminal.Table{Columns: []terminal.Column{
		{Title: "RULE", Least: 12}, {Title: "CHANNEL"}, {Title: "REACH"}, {Title: "WHY", Least: 20}, {Title: "UNSURE", Least: 10, Drop: 1},
	}}
	for _, r := range reports {
		for _, c := range r.Channels {
			t.Rows = append(t.Rows, []terminal.Cell{
				{Text: r.Rule.ID, Style: terminal.Bold}, {Text: string(c.Channel)}, {Text: string(c.Reach), Style: reachStyle(c.Reach)},
				{Text: c.Why}, {Text: strings.Join(c.Unsure, " ")},
			})
		}
	}
	r := view.Of(env)
	return t.Write(env.Stdout, r.Width, r.Palette)
}

func reachStyle(r policy.Reach) terminal.Style {
	switch r {
	case policy.ReachDecides:
		return terminal.Good
	case policy.ReachAlerts:
		return terminal.Plain
	case policy.ReachNone:
		return terminal.Warn
	}
	return terminal.Plain
}

// expired tells of suppressions that no longer hold.
func expired(env *terminal.Env, all []policy.Suppression) error {
	found := false
	for _, x := range all {
		if !time.Now().Before(x.Expires) {
			found = true
			fmt.Fprintf(env.Stderr, "%s:%d: the suppression of %s by %s expired on %s: %s\n", printable.Text(x.File), x.Line,
				x.Rule, printable.Text(x.Owner), x.Expires.Format(time.DateOnly), printable.Text(x.Reason))
		}
	}
	if found {
		return exit.Status(exit.Findings)
	}
	return nil
}

func newRulesTest(env *terminal.Env) *cobra.Command {
	var asJSON, verbose bool
	var with []string
	cmd := &cobra.Command{
		Use:   "test [PATH...]",
		Short: "Run the tests beside rules",
		Long: `Run rule tests: files that end in .test.yaml. NAME.test.yaml holds tests of the
rules in NAME.yaml beside it, or of those that it names. --rules adds files
with rules, lists or values that are not under PATH.

Exit status 1 when a test fails, 2 when rules or tests cannot be used.`,
		Args:    cobra.ArbitraryArgs,
		Example: "  sallyport rules test\n  sallyport rules test rules/\n  sallyport rules test rules/shell.test.yaml --rules rules/",
		RunE:    func(_ *cobra.Command, args []string) error { return rulesTest(env, args, with, verbose, asJSON) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&with, "rules", nil, "further `PATH` with rules; may be repeated")
	f.BoolVarP(&verbose, "verbose", "v", false, "name the tests that pass, too")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per test")
	return cmd
}

func rulesTest(env *terminal.Env, paths, with []string, verbose, asJSON bool) error {
	if len(paths) == 0 && len(with) > 0 {
		return exit.Fail(exit.Usage, "name the tests, too: sallyport rules test PATH --rules PATH", "rules test: --rules without PATH")
	}
	noTest := func(path string) bool { return !strings.HasSuffix(path, ruletest.Suffix) }
	if len(paths) > 0 && len(with) == 0 && !slices.ContainsFunc(paths, noTest) {
		hint := "sallyport rules test " + printable.Command(paths) + " --rules " + printable.Command([]string{filepath.Dir(paths[0])})
		return exit.Fail(exit.Usage, hint, "rules test: tests are named, and no rules")
	}
	rules, err := ruleset.Files(slices.Concat(with, paths), false)
	if err != nil {
		return err
	}
	tests, err := ruleset.Files(paths, true)
	if err != nil {
		return err
	}
	if len(tests) == 0 {
		return exit.Fail(exit.Usage, "a file of rule tests ends in "+ruletest.Suffix, "no rule tests in %s", strings.Join(paths, ", "))
	}
	results, err := ruletest.Run(rules, tests, evidence.Sessions)
	if err != nil {
		return ruleset.Broken(err)
	}
	failed := 0
	for _, r := range results {
		if len(r.Wrong) > 0 {
			failed++
		}
		if err := testResult(env, r, verbose, asJSON); err != nil {
			return err
		}
	}
	fmt.Fprintf(env.Stderr, "%s, %d failed.\n", wording.Plural(len(results), "test"), failed)
	if failed > 0 {
		return exit.Status(exit.Findings)
	}
	return nil
}

func testResult(env *terminal.Env, r ruletest.Result, verbose, asJSON bool) error {
	w := &terminal.Writer{To: env.Stdout}
	p := env.Palette()
	switch {
	case asJSON:
		return terminal.WriteJSON(env.Stdout, r)
	case len(r.Wrong) > 0:
		w.Line("%s %s:%d: %s", p.Paint(terminal.Bad, "FAIL"), printable.Text(r.File), r.Line, printable.Text(r.Name))
		for _, what := range r.Wrong {
			w.Line("     %s", printable.Text(what))
		}
	case verbose:
		w.Line("%s %s:%d: %s", p.Paint(terminal.Good, "ok  "), printable.Text(r.File), r.Line, printable.Text(r.Name))
	}
	return w.Err
}
