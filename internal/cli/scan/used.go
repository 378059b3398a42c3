package scan

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/evidence"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/usage"
	"github.com/sallyport/sallyport/internal/replay"
	"github.com/sallyport/sallyport/internal/store"
)

// used is what was granted, held against what was done.
type used struct {
	sources
	state    string
	captures []string
	since    string
	propose  bool
	all      bool
	asJSON   bool
}

// usedSince is how far back a state directory is looked at.
const usedSince = "30d"

func newUsed(env *terminal.Env) *cobra.Command {
	q := used{state: statedir.Default(env)}
	cmd := &cobra.Command{
		Use:   "used",
		Short: "Say which grants were used, how often and by whom, and which role would have sufficed",
		Long: `Hold the grants that lead to a command against the sessions that were seen: those
that "sallyport up" keeps, or of captures and other tools' logs.

A session uses every grant that would have let its actor make that very request. A
grant is used when the actor is known, perhaps used when he is one of several, and
unused for as long as the witness watched that would have seen its use; where that
did not watch, it is unknown. How long it watched is said first.

With --propose the output is YAML for kubectl apply -f -: for each actor and
namespace the least role that would have sufficed, and as comments what could be
removed then. Nobody is given more than he has. Look at it before you apply it:
only commands are watched, and not what else a role is for.

What every new cluster has is counted and not listed, unless --all is given.

` + sourcesHelp,
		Args: cobra.NoArgs,
		Example: `  sallyport scan used
  sallyport scan used --since 90d --json | jq -r 'select(.state == "unused").grant.object'
  sallyport scan used --from prod.scan --capture monday.capture
  sallyport scan used --propose > least.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error { return runUsed(cmd.Context(), env, &q) },
	}
	q.flags(cmd)
	q.namespaceFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&q.state, "state", q.state, "take sessions from the state directory `DIR`")
	f.StringArrayVar(&q.captures, "capture", nil, "take sessions from a capture or log `FILE` instead; may be repeated")
	f.StringVar(&q.since, "since", "", "look at what was asked for since `WHEN`: a duration (12h, 90d) or a time (default "+usedSince+"; of captures, all)")
	f.BoolVar(&q.propose, "propose", false, "print the least roles that would have sufficed, and what could be removed")
	f.BoolVar(&q.all, "all", false, "list those, too, that every new cluster has")
	f.BoolVar(&q.asJSON, "json", false, "print one JSON object per grant, or proposal, and one on what was watched")
	return cmd
}

func runUsed(ctx context.Context, env *terminal.Env, q *used) error {
	i, err := gather(ctx, env, &q.sources)
	if err != nil {
		return err
	}
	var a *exposure.Analysis
	switch {
	case i.Cluster != nil:
		p := env.Progress(thinking)
		a = analyse(i)
		p.Done()
	case len(i.Hosts) == 0:
		return exit.Fail(exit.Usage, "--from cluster", "used: %w", errNoCluster)
	}
	t, err := q.tally(ctx, env, i, a)
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return exit.CutShort(err)
	}
	r := t.Report()
	switch {
	case q.propose && q.asJSON:
		err = planJSON(env, &r, t.Plan(&r))
	case q.propose:
		err = plan(env, &r, t.Plan(&r))
	case q.asJSON:
		err = usedJSON(env, &r, q.all)
	default:
		err = usedTable(env, &r, q.all)
	}
	if err != nil {
		return err
	}
	return q.covered(i)
}

// tally counts the sessions of the time that is asked for. An error in their middle
// leaves no result: what is missing would seem unused.
func (q *used) tally(ctx context.Context, env *terminal.Env, i *inventory.Inventory, a *exposure.Analysis) (*usage.Tally, error) {
	now := time.Now().UTC()
	since, err := config.ParseSince(q.since, now)
	if err != nil {
		return nil, err
	}
	w := usage.NewWitnesses()
	if len(q.captures) > 0 {
		return q.replayed(ctx, env, w, since, func(in usage.Window) *usage.Tally { return usage.New(i, a, w, in) })
	}
	if since.IsZero() {
		since, _ = config.ParseSince(usedSince, now) // which is a duration
	}
	if !since.Before(now) {
		return nil, errFuture
	}
	r, err := statedir.Reader(q.state)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := remembered(ctx, r, w); err != nil {
		return nil, err
	}
	defer env.Progress("Counting what was used").Done()
	t := usage.New(i, a, w, usage.Window{From: since, To: now})
	for s, err := range r.Sessions(ctx, store.Query{Since: since, Until: now}) {
		if err != nil {
			return nil, err
		}
		t.Add(&s)
	}
	return t, nil
}

// errFuture is a time in which nothing can have been used yet.
var errFuture = exit.Fail(exit.Usage, "an earlier --since", "used: nothing was seen after --since")

// remembered tells w what the store has of the witnesses, and since when it has all.
func remembered(ctx context.Context, r *store.Reader, w *usage.Witnesses) error {
	for o, err := range r.Statements(ctx) {
		if err != nil {
			return err
		}
		w.Observe(o)
	}
	from, ok, err := r.Oldest(ctx)
	if err != nil || !ok {
		return err
	}
	to, _, err := r.Newest(ctx)
	w.Kept(from, to)
	return err
}

// replayed counts the sessions of captures and logs.
func (q *used) replayed(ctx context.Context, env *terminal.Env, w *usage.Witnesses, since time.Time, begin func(usage.Window) *usage.Tally) (*usage.Tally, error) {
	v := evidence.Reader{Stderr: env.Stderr}
	input, err := v.Read(ctx, q.captures)
	if err != nil {
		return nil, err
	}
	var first, last time.Time
	heard := func(yield func(event.Observation, error) bool) {
		for o, err := range input {
			if err == nil {
				w.Observe(o)
				at := o.Head().Time
				if first.IsZero() || at.Before(first) {
					first = at
				}
				if at.After(last) {
					last = at
				}
			}
			if !yield(o, err) {
				return
			}
		}
	}
	result, err := replay.Play(iter.Seq2[event.Observation, error](heard), correlate.Options{}, nil)
	switch {
	case err != nil:
		return nil, err
	case v.Faulty:
		return nil, &exit.Error{Code: exit.Incomplete, Err: errors.New("used: what was not understood may be what a grant was used for")}
	}
	end := last.Add(1) // that is, with what was seen last
	w.Kept(first, end)
	if since.IsZero() {
		since = first
	}
	if !since.Before(end) {
		return nil, errFuture
	}
	t := begin(usage.Window{From: since, To: end})
	for n := range result.Sessions {
		t.Add(&result.Sessions[n])
	}
	return t, nil
}

func usedJSON(env *terminal.Env, r *usage.Report, all bool) error {
	for n := range r.Rows {
		if !all && r.Rows[n].Default() {
			continue
		}
		if err := terminal.WriteJSON(env.Stdout, r.Rows[n]); err != nil {
			return err
		}
	}
	return terminal.WriteJSON(env.Stdout, map[string]any{"report": r})
}
