package rules

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/complete"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/evidence"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/ruleset"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/policy/backtest"
	"github.com/sallyport/sallyport/internal/core/policy/key"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/replay"
	"github.com/sallyport/sallyport/internal/store"
)

// history is where `rules backtest` and `rules explain` take sessions from.
type history struct {
	state    string
	since    string
	captures []string
}

func (h *history) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&h.state, "state", h.state, "take sessions from the state directory `DIR`")
	f.StringVar(&h.since, "since", "", "only sessions started since `WHEN`: a duration (1h, 7d) or a time (2006-01-02, RFC 3339)")
	f.StringArrayVar(&h.captures, "capture", nil, "take sessions from a capture `FILE` instead; may be repeated")
}

// sessions yields the last state of each session, in order of start.
func (h *history) sessions(ctx context.Context) iter.Seq2[session.Session, error] {
	return func(yield func(session.Session, error) bool) {
		since, err := config.ParseSince(h.since, time.Now())
		if err != nil {
			yield(session.Session{}, err)
			return
		}
		if len(h.captures) > 0 {
			result, err := replay.Play(evidence.Captures(ctx, h.captures), correlate.Options{}, nil)
			for _, s := range result.Sessions {
				if !s.Started.Before(since) && !yield(s, nil) {
					return
				}
			}
			if err != nil {
				yield(session.Session{}, err)
			}
			return
		}
		r, err := statedir.Reader(h.state)
		if err != nil {
			yield(session.Session{}, err)
			return
		}
		defer r.Close()
		r.Sessions(ctx, store.Query{Since: since})(yield)
	}
}

func newRulesBacktest(env *terminal.Env) *cobra.Command {
	h := history{state: statedir.Default(env)}
	var against []string
	var examples int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backtest PATH...",
		Short: "Say what rules would have done to the kept history",
		Long: `Run rules over the sessions in the store or in captures, and say what would have
been allowed, denied, held for approval, recorded and alerted. --against names
the rules as they are now: sessions that would be treated otherwise are listed.

Nothing is stored and nothing is enforced.`,
		Args: cobra.MinimumNArgs(1),
		Example: `  sallyport rules backtest new/ --since 7d
  sallyport rules backtest new/ --against /etc/sallyport/rules
  sallyport rules backtest new/ --capture monday.capture --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runBacktest(cmd.Context(), env, args, against, h, examples, asJSON)
		},
	}
	h.flags(cmd)
	cmd.Flags().StringArrayVar(&against, "against", nil, "compare with the rules in `PATH`; may be repeated")
	cmd.Flags().IntVar(&examples, "examples", 3, "how many sessions to name for each rule: `N`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func runBacktest(ctx context.Context, env *terminal.Env, paths, against []string, h history, examples int, asJSON bool) error {
	set, err := ruleset.Load(paths)
	if err != nil {
		return err
	}
	var other *policy.Set
	if len(against) > 0 {
		if other, err = ruleset.Load(against); err != nil {
			return err
		}
	}
	b := backtest.New(set, other, examples)
	var broken error
	for s, err := range h.sessions(ctx) {
		if err != nil {
			broken = err
			break
		}
		b.Observe(s)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	out := b.Outcome()
	if broken != nil && out.Sessions == 0 {
		return exit.CutShort(broken) // nothing was looked at: not "no sessions fit"
	}
	if asJSON {
		err = terminal.WriteJSON(env.Stdout, out)
	} else {
		err = printOutcome(env, out)
	}
	if err != nil {
		return err
	}
	return exit.CutShort(broken)
}

func printOutcome(env *terminal.Env, out backtest.Outcome) error {
	w := &terminal.Writer{To: env.Stdout}
	r := view.Of(env)
	if out.Sessions == 0 {
		fmt.Fprintln(env.Stderr, "no sessions fit")
		return nil
	}
	w.Line("%s from %s to %s", wording.Plural(out.Sessions, "session"), r.Exact(out.First), r.Exact(out.Last))
	w.Line("  allowed %d, denied %d, held for approval %d; recorded %d; findings %d", out.Decisions[effect.Allow],
		out.Decisions[effect.Deny], out.Decisions[effect.Approve], out.Recorded, out.Findings)
	if out.Stats.Suppressed > 0 {
		w.Line("  suppressed %d", out.Stats.Suppressed)
	}
	if w.Err != nil {
		return w.Err
	}
	t := terminal.Table{Columns: []terminal.Column{
		{Title: "RULE", Least: 12}, {Title: "DECIDED"}, {Title: "FINDINGS"}, {Title: "NOT KNOWN"}, {Title: "ERRORS"}, {Title: "EXAMPLES", Least: 12},
	}}
	for _, x := range out.Rules {
		ids := make([]string, len(x.Examples))
		for i, id := range x.Examples {
			ids[i] = view.ShortID(id)
		}
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: x.Rule, Style: terminal.Bold}, count(x.Decided), count(x.Found), count(x.Unknown), count(x.Errors), {Text: strings.Join(ids, " ")},
		})
	}
	if len(t.Rows) > 0 {
		w.Line("")
		if err := t.Write(env.Stdout, r.Width, r.Palette); err != nil {
			return err
		}
	}
	changes(env, w, out)
	return w.Err
}

// count returns a number for a table, blank for none.
func count(n int) terminal.Cell {
	if n == 0 {
		return terminal.Cell{}
	}
	return terminal.Cell{Text: fmt.Sprint(n)}
}

func changes(env *terminal.Env, w *terminal.Writer, out backtest.Outcome) {
	if out.ChangedTotal == 0 {
		return
	}
	w.Line("")
	w.Line("%s would be treated otherwise:", wording.Plural(out.ChangedTotal, "session"))
	for _, c := range out.Changed {
		line := fmt.Sprintf("  %s  ", view.ShortID(c.Session))
		if c.Was != c.Now {
			line += fmt.Sprintf("%s -> %s (%s -> %s)  ", c.Was, c.Now, orDefault(c.WasRule), orDefault(c.NowRule))
		}
		if len(c.NewFinds) > 0 {
			line += "also found by " + strings.Join(c.NewFinds, ", ") + "  "
		}
		if len(c.OldFinds) > 0 {
			line += "no longer found by " + strings.Join(c.OldFinds, ", ")
		}
		w.Line("%s", strings.TrimRight(line, " "))
	}
	if more := out.ChangedTotal - len(out.Changed); more > 0 {
		w.Line("  and %d more", more)
	}
}

func orDefault(rule string) string {
	if rule == "" {
		return "default"
	}
	return rule
}

func newRulesExplain(env *terminal.Env) *cobra.Command {
	h := history{state: statedir.Default(env)}
	var rules []string
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "explain SESSION --rules PATH",
		Short: "Say what each rule makes of one session, and why",
		Long: `Say what each rule makes of one session: whether its condition holds, which
fields are unknown, what is decided; and the keys that a suppression of the
session needs.

ANSWER is yes, no, unknown (a field that decides is not known), error, elsewhere
(the rule cannot hold for such sessions) or several (it is about more than this
session).`,
		Args:              cobra.ExactArgs(1),
		Example:           "  sallyport rules explain 4t7k --rules rules/\n  sallyport rules explain 4t7k --rules rules/ --capture monday.capture --all",
		ValidArgsFunction: complete.Sessions(&h.state),
		RunE: func(cmd *cobra.Command, args []string) error {
			return explain(cmd.Context(), env, args[0], rules, h, all, asJSON)
		},
	}
	h.flags(cmd)
	cmd.Flags().StringArrayVar(&rules, "rules", nil, "the rules in `PATH`, shipped for those in the program; may be repeated")
	cmd.Flags().BoolVar(&all, "all", false, "also the rules that cannot hold for such sessions")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// explained is the JSON form of an explanation.
type explained struct {
	Session  session.ID           `json:"session"`
	Decision policy.Decision      `json:"decision"`
	Rules    []policy.Explanation `json:"rules"`
	// Keys of a suppression; absent when the session cannot be suppressed.
	Actor    string `json:"actor,omitempty"`
	Workload string `json:"workload,omitempty"`
	ArgvHash string `json:"argv_hash,omitempty"`
}

func explain(ctx context.Context, env *terminal.Env, prefix string, rules []string, h history, all, asJSON bool) error {
	if len(rules) == 0 {
		return exit.Fail(exit.Usage, "--rules PATH", "no rules are named")
	}
	set, err := ruleset.Load(rules)
	if err != nil {
		return err
	}
	s, err := h.one(ctx, env, prefix)
	if err != nil {
		return err
	}
	e := explained{
		Session: s.ID, Decision: set.Review(&s), Rules: set.Explain(&s),
		Actor: key.Identity(s.Actor), Workload: key.Workload(s.Target), ArgvHash: key.ArgvHash(&s),
	}
	if !all {
		e.Rules = slices.DeleteFunc(e.Rules, func(x policy.Explanation) bool { return x.Answer == "elsewhere" })
	}
	if asJSON {
		return terminal.WriteJSON(env.Stdout, e)
	}
	return explanation(env, &s, e)
}

// one returns the session whose id begins so.
func (h *history) one(ctx context.Context, env *terminal.Env, prefix string) (session.Session, error) {
	if len(h.captures) == 0 {
		r, err := statedir.Reader(h.state)
		if err != nil {
			return session.Session{}, err
		}
		defer r.Close()
		s, _, err := r.Session(ctx, prefix)
		return s, statedir.NotOne(env, h.state, err)
	}
	var found []session.Session
	for s, err := range h.sessions(ctx) {
		if err != nil {
			return session.Session{}, exit.CutShort(err)
		}
		if strings.HasPrefix(string(s.ID), prefix) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return session.Session{}, exit.Fail(exit.Findings, "sallyport replay lists them", "session %q: %d sessions fit", prefix, len(found))
	}
	return found[0], nil
}

func explanation(env *terminal.Env, s *session.Session, e explained) error {
	r := view.Of(env)
	w := &terminal.Writer{To: env.Stdout}
	w.Line("%s", r.Line(session.Revision{Session: *s}))
	w.Line("")
	decided := fmt.Sprintf("%s by %s", e.Decision.Effect, orDefault(e.Decision.Rule))
	if e.Decision.Record {
		decided += ", recorded"
	}
	w.Line("Decision: %s", decided)
	if e.Decision.Message != "" {
		w.Line("Message:  %s", printable.Text(e.Decision.Message))
	}
	w.Line("")
	t := terminal.Table{Columns: []terminal.Column{{Title: "RULE", Least: 12}, {Title: "ANSWER"}, {Title: "HOLDS"}, {Title: "BECAUSE", Least: 20}}}
	for _, x := range e.Rules {
		holds := ""
		if x.Holds {
			holds = "yes"
		}
		t.Rows = append(t.Rows, []terminal.Cell{{Text: x.Rule, Style: terminal.Bold}, {Text: x.Answer}, {Text: holds}, {Text: because(x)}})
	}
	if w.Err == nil {
		w.Err = t.Write(env.Stdout, r.Width, r.Palette)
	}
	w.Line("")
	if e.Actor == "" || e.Workload == "" || e.ArgvHash == "" {
		w.Line("It cannot be suppressed: actor, workload and arguments are not all known.")
		return w.Err
	}
	w.Line("A suppression needs: actor: %s, workload: %s, argv_hash: %s", quote(e.Actor), quote(e.Workload), e.ArgvHash)
	return w.Err
}

// quote returns text as YAML and JSON write it, fit to be shown.
func quote(text string) string {
	body, _ := json.Marshal(text) // of a string: cannot fail
	return string(printable.JSON(body))
}

func because(x policy.Explanation) string {
	switch {
	case x.Error != "":
		return printable.Text(x.Error)
	case x.Suppressed:
		return "suppressed"
	case len(x.Unknown) > 0:
		return "unknown: " + strings.Join(x.Unknown, ", ")
	case len(x.Steps) > 0:
		return "step " + strings.Trim(fmt.Sprint(x.Steps), "[]")
	}
	return ""
}
