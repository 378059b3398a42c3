package sessions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/store"
)

// NewTail returns sallyport tail.
func NewTail(env *terminal.Env) *cobra.Command {
	state := statedir.Default(env)
	var last int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print sessions as they come, from a running `up`",
		Long: `Print sessions as they are stored, until Ctrl-C. It reads the state directory
and needs no connection to "sallyport up", which may start later.`,
		Args:    cobra.NoArgs,
		Example: "  sallyport tail\n  sallyport tail --last 20 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return tail(cmd.Context(), env, state, last, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", state, "state directory `DIR`")
	f.IntVar(&last, "last", 0, "begin with the last `N` records")
	f.BoolVar(&asJSON, "json", false, "print each revision as one JSON object")
	return cmd
}

// tailEvery is how often the store is asked for what is new. The question costs
// one look into an index.
const tailEvery = 200 * time.Millisecond

func tail(ctx context.Context, env *terminal.Env, state string, last int, asJSON bool) error {
	r, err := awaitReader(ctx, env, state)
	if r == nil {
		return err
	}
	defer r.Close()
	if pid, known := statedir.Writer(state); known && pid == 0 {
		fmt.Fprintf(env.Stderr, "Nothing writes to %s now; waiting for `sallyport up%s`.\n", printable.Text(state), statedir.Flag(env, state))
	}
	position, err := r.Last(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	position = max(-1, position-int64(max(0, last)))
	out := view.NewLive(env, asJSON)
	ticker := time.NewTicker(tailEvery)
	defer ticker.Stop()
	for {
		for p, err := range r.Follow(ctx, position) {
			if err == nil {
				err = out.Revision(p.Revision)
			}
			if err != nil {
				return interrupted(ctx, err)
			}
			position = p.Position
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// awaitReader opens a state directory, waiting for it to come into being. It
// returns nothing when ctx ends first.
func awaitReader(ctx context.Context, env *terminal.Env, state string) (*store.Reader, error) {
	said := false
	for {
		r, err := store.OpenReadOnly(state)
		if !errors.Is(err, store.ErrNoStore) {
			return r, err
		}
		if statedir.OfNode(state) {
			return statedir.Reader(state) // says so
		}
		if !said {
			fmt.Fprintf(env.Stderr, "Nothing is stored in %s yet; waiting for `sallyport up%s`.\n", printable.Text(state), statedir.Flag(env, state))
			said = true
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(tailEvery):
		}
	}
}

// interrupted returns nil when err only says that the user has seen enough.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
