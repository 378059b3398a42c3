package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
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
		since, err := parseSince(h.since, time.Now())
		if err != nil {
			yield(session.Session{}, err)
			return
		}
		if len(h.captures) > 0 {
			result, err := replay.Play(readAll(ctx, h.captures), correlate.Options{}, nil)
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
		r, err := openReader(h.state)
		if err != nil {
			yield(session.Session{}, err)
			return
		}
		defer r.Close()
		r.Sessions(ctx, store.Query{Since: since})(yield)
	}
}

func newRulesBacktest(env *environment) *cobra.Command {
	h := history{state: stateDir(env)}
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
			return backtest(cmd.Context(), env, args, against, h, examples, asJSON)
		},
	}
	h.flags(cmd)
	cmd.Flags().StringArrayVar(&against, "against", nil, "compare with the rules in `PATH`; may be repeated")
	cmd.Flags().IntVar(&examples, "examples", 3, "how many sessions to name for each rule: `N`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func backtest(ctx context.Context, env *environment, paths, against []string, h history, examples int, asJSON bool) error {
	set, err := loadRules(paths)
	if err != nil {
		return err
	}
	var other *policy.Set
	if len(against) > 0 {
		if other, err = loadRules(against); err != nil {
			return err
		}
	}
	b := policy.NewBacktest(set, other, examples)
	var broken error
	for s, err := range h.sessions(ctx) {
		if err != nil {
			broken = err
			break
		}
		b.Observe(s)
	}
	if ctx.Err() != nil {
		return nil
	}
	out := b.Outcome()
	if asJSON {
		err = writeJSON(env.stdout, out)
	} else {
		err = printOutcome(env, out)
	}
	if err != nil {
		return err
	}
	return exit.CutShort(broken)
}

func printOutcome(env *environment, out policy.Outcome) error {
	w := &writer{to: env.stdout}
	r := newRenderer(env)
	if out.Sessions == 0 {
		fmt.Fprintln(env.stderr, "no sessions fit")
		return nil
	}
	w.line("%s from %s to %s", plural(out.Sessions, "session"), r.exact(out.First), r.exact(out.Last))
	w.line("  allowed %d, denied %d, held for approval %d; recorded %d; findings %d", out.Decisions[effect.Allow],
		out.Decisions[effect.Deny], out.Decisions[effect.Approve], out.Recorded, out.Findings)
	if out.Stats.Suppressed > 0 {
		w.line("  suppressed %d", out.Stats.Suppressed)
	}
	if w.err != nil {
		return w.err
	}
	t := table{columns: []column{
		{title: "RULE", least: 12}, {title: "DECIDED"}, {title: "FINDINGS"}, {title: "NOT KNOWN"}, {title: "ERRORS"}, {title: "EXAMPLES", least: 12},
	}}
	for _, x := range out.Rules {
		ids := make([]string, len(x.Examples))
		for i, id := range x.Examples {
			ids[i] = shortID(id)
		}
		t.rows = append(t.rows, []cell{
			{text: x.Rule, style: styleBold}, count(x.Decided), count(x.Found), count(x.Unknown), count(x.Errors), {text: strings.Join(ids, " ")},
		})
	}
	if len(t.rows) > 0 {
		w.line("")
		if err := t.write(env.stdout, r.width, r.palette); err != nil {
			return err
		}
	}
	changes(env, w, out)
	return w.err
}

// count returns a number for a table, blank for none.
func count(n int) cell {
	if n == 0 {
		return cell{}
	}
	return cell{text: fmt.Sprint(n)}
}

func changes(env *environment, w *writer, out policy.Outcome) {
	if out.ChangedTotal == 0 {
		return
	}
	w.line("")
	w.line("%s would be treated otherwise:", plural(out.ChangedTotal, "session"))
	for _, c := range out.Changed {
		line := fmt.Sprintf("  %s  ", shortID(c.Session))
		if c.Was != c.Now {
			line += fmt.Sprintf("%s -> %s (%s -> %s)  ", c.Was, c.Now, orDefault(c.WasRule), orDefault(c.NowRule))
		}
		if len(c.NewFinds) > 0 {
			line += "also found by " + strings.Join(c.NewFinds, ", ") + "  "
		}
		if len(c.OldFinds) > 0 {
			line += "no longer found by " + strings.Join(c.OldFinds, ", ")
		}
		w.line("%s", strings.TrimRight(line, " "))
	}
	if more := out.ChangedTotal - len(out.Changed); more > 0 {
		w.line("  and %d more", more)
	}
}

func orDefault(rule string) string {
	if rule == "" {
		return "default"
	}
	return rule
}

func newRulesExplain(env *environment) *cobra.Command {
	h := history{state: stateDir(env)}
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
		Args:    cobra.ExactArgs(1),
		Example: "  sallyport rules explain 4t7k --rules rules/\n  sallyport rules explain 4t7k --rules rules/ --capture monday.capture --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			return explain(cmd.Context(), env, args[0], rules, h, all, asJSON)
		},
	}
	h.flags(cmd)
	cmd.Flags().StringArrayVar(&rules, "rules", nil, "the rules in `PATH`; may be repeated")
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

func explain(ctx context.Context, env *environment, prefix string, rules []string, h history, all, asJSON bool) error {
	if len(rules) == 0 {
		return exit.Fail(exit.Usage, "--rules PATH", "no rules are named")
	}
	set, err := loadRules(rules)
	if err != nil {
		return err
	}
	s, err := h.one(ctx, prefix)
	if err != nil {
		return err
	}
	e := explained{
		Session: s.ID, Decision: set.Review(&s), Rules: set.Explain(&s),
		Actor: policy.Identity(s.Actor), Workload: policy.Workload(s.Target), ArgvHash: policy.ArgvHash(&s),
	}
	if !all {
		e.Rules = slices.DeleteFunc(e.Rules, func(x policy.Explanation) bool { return x.Answer == "elsewhere" })
	}
	if asJSON {
		return writeJSON(env.stdout, e)
	}
	return explanation(env, &s, e)
}

// one returns the session whose id begins so.
func (h *history) one(ctx context.Context, prefix string) (session.Session, error) {
	if len(h.captures) == 0 {
		r, err := openReader(h.state)
		if err != nil {
			return session.Session{}, err
		}
		defer r.Close()
		s, _, err := r.Session(ctx, prefix)
		return s, notOne(err)
	}
	var found []session.Session
	for s, err := range h.sessions(ctx) {
		if err != nil {
			return session.Session{}, exit.CutShort(err)
		}
		if hasPrefix(s.ID, prefix) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return session.Session{}, exit.Fail(exit.Findings, "sallyport replay lists them", "session %q: %d sessions fit", prefix, len(found))
	}
	return found[0], nil
}

func explanation(env *environment, s *session.Session, e explained) error {
	r := newRenderer(env)
	w := &writer{to: env.stdout}
	w.line("%s", r.line(session.Revision{Session: *s}))
	w.line("")
	decided := fmt.Sprintf("%s by %s", e.Decision.Effect, orDefault(e.Decision.Rule))
	if e.Decision.Record {
		decided += ", recorded"
	}
	w.line("Decision: %s", decided)
	if e.Decision.Message != "" {
		w.line("Message:  %s", printable.Text(e.Decision.Message))
	}
	w.line("")
	t := table{columns: []column{{title: "RULE", least: 12}, {title: "ANSWER"}, {title: "HOLDS"}, {title: "BECAUSE", least: 20}}}
	for _, x := range e.Rules {
		holds := ""
		if x.Holds {
			holds = "yes"
		}
		t.rows = append(t.rows, []cell{{text: x.Rule, style: styleBold}, {text: x.Answer}, {text: holds}, {text: because(x)}})
	}
	if w.err == nil {
		w.err = t.write(env.stdout, r.width, r.palette)
	}
	w.line("")
	if e.Actor == "" || e.Workload == "" || e.ArgvHash == "" {
		w.line("It cannot be suppressed: actor, workload and arguments are not all known.")
		return w.err
	}
	w.line("A suppression needs: actor: %s, workload: %s, argv_hash: %s", quote(e.Actor), quote(e.Workload), e.ArgvHash)
	return w.err
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
