package sessions

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/complete"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/store"
)

// NewShow returns sallyport show.
func NewShow(env *terminal.Env) *cobra.Command {
	var state = statedir.Default(env)
	var evidence, asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one session: who, what, tree, timeline, evidence",
		Long:  "Show one session. ID may be the beginning of an id, as long as only one session has it.",
		Args:  cobra.ExactArgs(1),
		Example: `  sallyport show 4t7k
  sallyport show 4t7k --evidence
  sallyport show 4t7k --json | jq .processes`,
		ValidArgsFunction: complete.Sessions(&state),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd.Context(), env, state, args[0], evidence, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", state, "state directory `DIR`")
	f.BoolVar(&evidence, "evidence", false, "list every observation that the session rests on, and its revisions")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func show(ctx context.Context, env *terminal.Env, state, id string, evidence, asJSON bool) error {
	if id == "" {
		return exit.Fail(exit.Usage, "sallyport sessions"+statedir.Flag(env, state), "show: an empty id")
	}
	r, err := statedir.Reader(state)
	if err != nil {
		return err
	}
	defer r.Close()
	s, revisions, err := r.Session(ctx, id)
	if err != nil {
		return statedir.NotOne(env, state, err)
	}
	if asJSON {
		return terminal.WriteJSON(env.Stdout, s)
	}
	w := &terminal.Writer{To: env.Stdout}
	render := view.Of(env)
	render.State = statedir.Flag(env, state)
	render.Session(w, &s, revisions, evidence)
	recorded, err := statedir.RecordingsOf(ctx, r, &s)
	for _, rec := range recorded {
		w.Line("Recorded: sallyport play %s%s", rec.ID, statedir.Flag(env, state))
	}
	if err != nil {
		return exit.CutShort(err)
	}
	for f, err := range r.Findings(ctx, store.FindingQuery{Session: s.ID}) {
		if err != nil {
			return exit.CutShort(err)
		}
		w.Line("%s", render.Finding(&f))
	}
	return w.Err
}
