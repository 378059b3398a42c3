package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/replay"
)

func newRules(env *terminal.Env) *cobra.Command {
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

// ruleFiles reads rules, or with tests rule tests, from files and directories;
// without any, those of the shipped pack. It reads until it finds the same twice:
// whoever changes files meanwhile does not leave some old and some new ones.
func ruleFiles(paths []string, tests bool) ([]policy.File, error) {
	if len(paths) == 0 {
		return shipped(tests)
	}
	before, err := readRuleFiles(paths, tests)
	for range rereadMax {
		files, again := readRuleFiles(paths, tests)
		switch {
		case err != nil && again != nil:
			return nil, again
		case err == nil && again == nil && slices.EqualFunc(before, files, sameRules):
			return files, nil
		}
		before, err = files, again // also where a directory was taken away that was read
	}
	return nil, exit.Fail(exit.Usage, "put a directory that is complete in its place, in one step", "rules: %s: the files change all the time", strings.Join(paths, ", "))
}

// rereadMax is how often files are read again that change.
const rereadMax = 10

func sameRules(a, b policy.File) bool { return a.Name == b.Name && bytes.Equal(a.Data, b.Data) }

func readRuleFiles(paths []string, tests bool) ([]policy.File, error) {
	var files []policy.File
	for _, p := range paths {
		info, err := os.Stat(p)
		switch {
		case err != nil:
		case info.IsDir():
			var found []policy.File
			found, err = readRuleDir(p, tests)
			files = append(files, found...)
		case strings.HasSuffix(p, policy.TestSuffix) == tests:
			var data []byte
			data, err = readAtMost(p, rulesFileMax)
			files = append(files, policy.File{Name: p, Data: data})
		}
		if err != nil {
			return nil, exit.Fail(exit.Usage, "", "rules: %w", err)
		}
	}
	if len(files) == 0 && !tests {
		return nil, exit.Fail(exit.Usage, "a file of rules ends in .yaml or .yml", "no rules in %s", strings.Join(paths, ", "))
	}
	return files, nil
}

// rulesFileMax is more than policy reads, so that it can say what is too long.
const rulesFileMax = 2 << 20

func readAtMost(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// readRuleDir reads the files of a directory and of those below it, in order: of
// the one that is there as it begins, also when another takes its place.
func readRuleDir(dir string, tests bool) (files []policy.File, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !isRules(name) || strings.HasSuffix(name, policy.TestSuffix) != tests {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, rulesFileMax))
		files = append(files, policy.File{Name: filepath.Join(dir, name), Data: data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", dir, err)
	}
	return files, nil
}

// isRules reports whether a name is one of a file of rules; those of Sigma end in
// .yml.
func isRules(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// loadRules reads and checks rules.
func loadRules(paths []string) (*policy.Set, error) {
	files, err := ruleFiles(paths, false)
	if err != nil {
		return nil, err
	}
	set, err := policy.Load(files)
	return set, brokenRules(err)
}

// brokenRules gives rules that cannot be used their exit status and hint.
func brokenRules(err error) error {
	var errs policy.Errors
	if !errors.As(err, &errs) {
		return err
	}
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = printable.Text(e.Error())
	}
	return exit.Fail(exit.Usage, "docs/guide/rules.md has the language, docs/guide/sigma.md what is read of Sigma", "rules cannot be used:\n%s", strings.Join(lines, "\n"))
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
	set, err := loadRules(paths)
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
	r := newRenderer(env)
	if err := t.Write(env.Stdout, r.width, r.palette); err != nil {
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
	r := newRenderer(env)
	return t.Write(env.Stdout, r.width, r.palette)
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
	rules, err := ruleFiles(slices.Concat(with, paths), false)
	if err != nil {
		return err
	}
	tests, err := ruleFiles(paths, true)
	if err != nil {
		return err
	}
	if len(tests) == 0 {
		return exit.Fail(exit.Usage, "a file of rule tests ends in "+policy.TestSuffix, "no rule tests in %s", strings.Join(paths, ", "))
	}
	results, err := policy.RunTests(rules, tests, readSessions)
	if err != nil {
		return brokenRules(err)
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

func testResult(env *terminal.Env, r policy.Result, verbose, asJSON bool) error {
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

// readSessions reads sessions from a file: one JSON object a line, as `sessions
// --json` and `replay --json` print them, or a capture, which is replayed.
func readSessions(name string) ([]session.Session, error) {
	if !strings.HasSuffix(name, ".jsonl") && !strings.HasSuffix(name, ".json") {
		return replaySessions(name)
	}
	data, err := readAtMost(name, sessionsFileMax)
	if err != nil {
		return nil, err
	}
	var out []session.Session
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 16<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var s session.Session
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		out = append(out, s)
	}
	return out, lines.Err()
}

// sessionsFileMax bounds a file of sessions for a rule test.
const sessionsFileMax = 64 << 20

// replaySessions plays a capture and returns every revision, as rules see them.
func replaySessions(name string) ([]session.Session, error) {
	var out []session.Session
	_, err := replay.Play(readCapture(name), correlate.Options{}, func(r session.Revision) error {
		out = append(out, r.Session)
		return nil
	})
	return out, err
}
