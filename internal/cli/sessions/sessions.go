// Package sessions reads what is kept in a state directory: sessions, one by one or as they
// come, and findings; and proves that nothing of it was changed.
package sessions

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/store"
)

// query is what `sessions` asks for, as flags.
type query struct {
	state  string
	since  string
	limit  int
	all    bool
	asJSON bool
	store.Query
}

// New returns sallyport sessions.
func New(env *terminal.Env) *cobra.Command {
	q := query{state: statedir.Default(env)}
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List the sessions that were seen",
		Long: `List the sessions that were seen, in order of start.

KNOWN says how the actor is known: exact (tied by an id), strong (only one
fits), set (several fit: see "sallyport show ID"), none. UNEXPLAINED marks a
session that lacks its other half: a process without a request, or a request
without its process. What a daemon runs by itself again and again (health
checks, probes) is one line with a count; --all and --json list each.`,
		Args: cobra.NoArgs,
		Example: `  sallyport sessions --since 1h
  sallyport sessions --actor alice --container web
  sallyport sessions --unexplained --json | jq -r .id`,
		RunE: func(cmd *cobra.Command, _ []string) error { return sessions(cmd.Context(), env, q) },
	}
	f := cmd.Flags()
	f.StringVar(&q.state, "state", q.state, "state directory `DIR`")
	f.StringVar(&q.since, "since", "", "only sessions started since `WHEN`: a duration (1h, 7d) or a time (2006-01-02, RFC 3339)")
	f.StringVar(&q.Actor, "actor", "", "only sessions of this user `NAME` or uid, as actor or candidate")
	f.StringVar(&q.Container, "container", "", "only sessions in this container, by name or beginning of its id")
	f.StringVar(&q.Channel, "channel", "", "only this channel `ID`, see \"sallyport channels\"")
	f.StringVar(&q.Kind, "kind", "", "only this `KIND`: "+kinds())
	f.BoolVar(&q.Unexplained, "unexplained", false, "only sessions that lack their other half")
	f.BoolVar(&q.all, "all", false, "a line for each run of a health check or probe, and each canary")
	f.IntVar(&q.limit, "limit", 0, "only the `N` that started last")
	f.BoolVar(&q.asJSON, "json", false, "print one JSON object per session")
	return cmd
}

// check refuses a kind or a channel that does not exist: that no session is of it
// would be taken for an answer. Channels may be written in any case.
func (q *query) check() error {
	if q.Kind != "" && !slices.Contains(field.Kinds(), session.Kind(q.Kind)) {
		return exit.Fail(exit.Usage, "the kinds are "+kinds(), "--kind %q: there is none", q.Kind)
	}
	q.Channel = strings.ToUpper(q.Channel)
	if q.Channel != "" && !slices.Contains(field.Channels(), event.Channel(q.Channel)) {
		return exit.Fail(exit.Usage, "sallyport channels", "--channel %q: there is none", q.Channel)
	}
	return nil
}

func kinds() string {
	var all []string
	for _, k := range field.Kinds() {
		all = append(all, string(k))
	}
	return strings.Join(all, ", ")
}

func sessions(ctx context.Context, env *terminal.Env, q query) error {
	var err error
	if q.Since, err = config.ParseSince(q.since, time.Now()); err != nil {
		return err
	}
	if q.limit < 0 {
		return exit.Fail(exit.Usage, "", "--limit %d: want a positive number", q.limit)
	}
	q.Limit = q.limit
	if err := q.check(); err != nil {
		return err
	}
	r, err := statedir.Reader(q.state)
	if err != nil {
		return err
	}
	defer r.Close()
	var rows []session.Session
	for s, e := range r.Sessions(ctx, q.Query) {
		if err = e; err != nil {
			break
		}
		if q.asJSON {
			if err := terminal.WriteJSON(env.Stdout, s); err != nil {
				return err
			}
			continue
		}
		s.Evidence = nil // not shown in a table
		rows = append(rows, s)
	}
	if !q.asJSON {
		lines := view.Fold(rows)
		if q.all {
			lines = view.OnePerLine(rows)
		}
		if e := view.Sessions(env, view.Of(env), lines, "no sessions fit"); e != nil {
			return e
		}
	}
	return exit.CutShort(err)
}
