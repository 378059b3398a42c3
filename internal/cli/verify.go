package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/store"
)

func newVerify(env *environment) *cobra.Command {
	state := env.stateDir()
	var key, save string
	var earlier []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that no stored session was changed or removed",
		Long: `Check every record of the ledger against its signed checkpoints and name the
first one that was changed or removed.

Inside the state directory alone, somebody who holds its signing key could have
written everything anew. Keep a checkpoint elsewhere (--save) and give it back
later (--checkpoint): then that shows too.

Exit status 0 when everything is proven, 1 when something does not fit.`,
		Args: cobra.NoArgs,
		Example: `  sallyport verify
  sallyport verify --save monday.checkpoint
  sallyport verify --checkpoint monday.checkpoint`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.verify(cmd.Context(), state, key, save, earlier, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", state, "state directory `DIR`")
	f.StringVar(&key, "key", "", "the ledger's public `KEY`, kept elsewhere (default: the one in the state directory)")
	f.StringArrayVar(&earlier, "checkpoint", nil, "a checkpoint `FILE` saved earlier; may be repeated")
	f.StringVar(&save, "save", "", "write the last checkpoint to `FILE`")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// verification is the JSON form of a report.
type verification struct {
	OK          bool    `json:"ok"`
	Records     int64   `json:"records"`
	Revisions   int64   `json:"revisions"`
	Sessions    int64   `json:"sessions"`
	Findings    int64   `json:"findings"`
	Pruned      int64   `json:"pruned"`
	Checkpoints int64   `json:"checkpoints"`
	Root        string  `json:"root,omitempty"`
	Key         string  `json:"key,omitempty"`
	Damage      *damage `json:"damage,omitempty"`
}

type damage struct {
	Position int64      `json:"position"` // -1: not a record
	Session  session.ID `json:"session,omitempty"`
	Revision uint32     `json:"revision,omitempty"`
	What     string     `json:"what"`
}

func (env *environment) verify(ctx context.Context, state, key, save string, earlier []string, asJSON bool) error {
	o := store.VerifyOptions{Key: key}
	for _, file := range earlier {
		data, err := os.ReadFile(file)
		if err != nil {
			return fail(ExitUsage, "", "checkpoint: %w", err)
		}
		o.Earlier = append(o.Earlier, data)
	}
	r, err := openReader(state)
	if err != nil {
		return damagedIsFinding(err)
	}
	defer r.Close()
	report, err := r.Verify(ctx, o)
	if err != nil {
		return damagedIsFinding(fmt.Errorf("verify: %w", err))
	}
	if err := env.printReport(report, asJSON); err != nil {
		return err
	}
	if report.Damage != nil {
		return status(ExitFindings)
	}
	return saveCheckpoint(ctx, r, save)
}

// damagedIsFinding gives a store that can no longer be read the exit status of
// one whose proof fails.
func damagedIsFinding(err error) error {
	var damaged *store.DamagedError
	if errors.As(err, &damaged) {
		return &failure{code: ExitFindings, err: err}
	}
	return err
}

func (env *environment) printReport(r store.Report, asJSON bool) error {
	if asJSON {
		v := verification{
			OK: r.Damage == nil, Records: r.Records, Revisions: r.Revisions, Sessions: r.Sessions, Findings: r.Findings, Pruned: r.Pruned,
			Checkpoints: r.Checkpoints, Root: r.Root, Key: r.Key,
		}
		if d := r.Damage; d != nil {
			v.Damage = &damage{Position: d.Position, Session: d.Session, Revision: d.Revision, What: d.What}
		}
		return writeJSON(env.stdout, v)
	}
	if r.Damage != nil {
		_, err := fmt.Fprintf(env.stdout, "%s %s\n", env.palette().paint(styleBad, "Not proven:"), printable.Text(r.Damage.String()))
		return err
	}
	_, err := fmt.Fprintf(env.stdout, "%s %d records, %d revisions of %d sessions, %d findings, %d pruned by retention, under %d checkpoints.\nKey  %s\nRoot %s\n",
		env.palette().paint(styleGood, "Proven:"), r.Records, r.Revisions, r.Sessions, r.Findings, r.Pruned, r.Checkpoints, printable.Text(r.Key), r.Root)
	return err
}

func saveCheckpoint(ctx context.Context, r *store.Reader, file string) error {
	if file == "" {
		return nil
	}
	c, err := r.Checkpoint(ctx)
	if err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	if c == nil {
		return fail(ExitFindings, "", "save checkpoint: the ledger is empty")
	}
	if err := os.WriteFile(file, c, 0o644); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	return nil
}
