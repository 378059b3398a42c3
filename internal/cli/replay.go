package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/replay"
	"github.com/sallyport/sallyport/internal/store/capture"
)

func newReplay(env *environment) *cobra.Command {
	var asJSON, revisions bool
	var show string
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Run the engine over captured observations, offline",
		Long: `Run the same engine as "sallyport up" over files of "sallyport capture": on any
system, without root, with the same output on every run. Several files are
played one after the other as one history: give files of one host, oldest first.

A damaged file is played up to the damage, which is named; exit status 3.
Times are in UTC.`,
		Args: cobra.MinimumNArgs(1),
		Example: `  sallyport replay today.capture
  sallyport replay today.capture --show 4t7k
  sallyport replay today.capture --json | jq -r .id`,
		RunE: func(cmd *cobra.Command, files []string) error {
			return env.replay(cmd.Context(), files, replayOutput{asJSON, revisions, show})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print one JSON object per session")
	f.BoolVar(&revisions, "revisions", false, "print every revision of every session, not only its last state")
	f.StringVar(&show, "show", "", "print all there is on the session whose `ID` begins so")
	return cmd
}

// replayOutput is how a replay is shown.
type replayOutput struct {
	asJSON    bool
	revisions bool
	show      string
}

func (env *environment) replay(ctx context.Context, files []string, out replayOutput) error {
	render := env.renderer()
	render.zone = time.UTC
	each, history := env.eachRevision(render, out)
	result, broken := replay.Play(readAll(ctx, files), correlate.Options{}, each)
	if ctx.Err() != nil {
		return nil
	}
	var err error
	switch {
	case out.show != "":
		err = env.replayed(render, result.Sessions, history, out)
	case out.revisions:
	case out.asJSON:
		for _, s := range result.Sessions {
			if err = writeJSON(env.stdout, s); err != nil {
				break
			}
		}
	default:
		err = env.table(render, onePerLine(result.Sessions), fmt.Sprintf("no sessions in %d observations", result.Observations))
	}
	if err != nil {
		return err
	}
	return incomplete(broken)
}

// eachRevision returns what to do with each revision as it comes, and where
// those of the session to show are collected.
func (env *environment) eachRevision(render renderer, out replayOutput) (func(session.Revision) error, *[]session.Revision) {
	history := new([]session.Revision)
	live := newLive(env, out.asJSON)
	live.render = render
	return func(r session.Revision) error {
		switch {
		case out.show != "":
			if hasPrefix(r.Session.ID, out.show) {
				*history = append(*history, r)
			}
		case out.revisions:
			return live.revision(r)
		}
		return nil
	}, history
}

func hasPrefix(id session.ID, prefix string) bool {
	return len(id) >= len(prefix) && string(id[:len(prefix)]) == prefix
}

// replayed shows one session of a replay, as `show` does.
func (env *environment) replayed(render renderer, sessions []session.Session, history *[]session.Revision, out replayOutput) error {
	var found []session.Session
	for _, s := range sessions {
		if hasPrefix(s.ID, out.show) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return fail(ExitFindings, "replay without --show lists them", "--show %q: %d sessions fit", out.show, len(found))
	}
	if out.asJSON {
		return writeJSON(env.stdout, found[0])
	}
	w := &writer{to: env.stdout}
	render.session(w, &found[0], *history, true)
	return w.err
}

// readAll reads the observations of files, one after the other, up to the first
// error.
func readAll(ctx context.Context, files []string) iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		for _, file := range files {
			for o, err := range readCapture(file) {
				if err == nil {
					err = ctx.Err()
				}
				if !yield(o, err) || err != nil {
					return
				}
			}
		}
	}
}

func readCapture(file string) iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		r, err := capture.Open(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			err = fail(ExitUsage, "", "%w", err)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		r.All()(yield)
	}
}
