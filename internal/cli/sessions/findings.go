package sessions

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/store"
)

// NewFindings returns sallyport findings.
func NewFindings(env *terminal.Env) *cobra.Command {
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
			return findings(cmd.Context(), env, state, of, q, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", state, "state directory `DIR`")
	f.StringVar(&since, "since", "", "only findings since `WHEN`: a duration (1h, 7d) or a time (2006-01-02, RFC 3339)")
	f.StringVar(&severity, "severity", "info", "only findings of this `SEVERITY` or a greater one")
	f.StringVar(&q.Rule, "rule", "", "only findings of the rule `ID`")
	f.StringVar(&of, "session", "", "only findings about the session whose `ID` begins so")
	f.IntVar(&q.Limit, "limit", 0, "only the latest `N`")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per finding")
	return cmd
}

func findings(ctx context.Context, env *terminal.Env, state, of string, q store.FindingQuery, asJSON bool) error {
	if q.Limit < 0 {
		return exit.Fail(exit.Usage, "", "--limit %d: want a positive number", q.Limit)
	}
	r, err := statedir.Reader(state)
	if err != nil {
		return err
	}
	defer r.Close()
	var gone error
	if of != "" {
		s, _, err := r.Session(ctx, of)
		q.Session = s.ID
		if errors.Is(err, store.ErrNotFound) { // findings outlive their sessions
			q.Session, gone = session.ID(of), err
		} else if err != nil {
			return statedir.NotOne(env, state, err)
		}
	}
	var all []finding.Finding
	found := false
	for f, e := range r.Findings(ctx, q) {
		if err = e; err != nil {
			break
		}
		found = true
		if !asJSON {
			f.Evidence = nil // not shown in a table
			all = append(all, f)
			continue
		}
		if err := terminal.WriteJSON(env.Stdout, f); err != nil {
			return err
		}
	}
	if err == nil && gone != nil && !found {
		return statedir.NotOne(env, state, gone)
	}
	if !asJSON {
		if e := view.Findings(env, view.Of(env), all, "no findings fit"); e != nil {
			return e
		}
	}
	return exit.CutShort(err)
}
