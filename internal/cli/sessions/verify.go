package sessions

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/store"
)

// NewVerify returns sallyport verify.
func NewVerify(env *terminal.Env) *cobra.Command {
	state := statedir.Default(env)
	var key, save string
	var earlier []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that no stored session or recording was changed or removed",
		Long: `Check every record of the ledger against its signed checkpoints and name the
first one that was changed or removed. Then check the file of each recording
against the ledger and name those that were changed, cut or removed; encrypted
ones need no key for that. Of a recording that still runs, what the ledger was
told of last is proven.

Inside the state directory alone, somebody who holds its signing key could have
written everything anew. Keep a checkpoint elsewhere (--save) and give it back
later (--checkpoint): then that shows too.

Exit status 0 when everything is proven, 1 when something does not fit.`,
		Args: cobra.NoArgs,
		Example: `  sallyport verify
  sallyport verify --save monday.checkpoint
  sallyport verify --checkpoint monday.checkpoint`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return verify(cmd.Context(), env, state, key, save, earlier, asJSON)
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
	// Recordings counts those whose files are proven. They are looked at when the
	// ledger is.
	Recordings      int               `json:"recordings"`
	RecordingDamage []statedir.Damage `json:"recording_damage,omitempty"`
}

type damage struct {
	Position int64      `json:"position"` // -1: not a record
	Session  session.ID `json:"session,omitempty"`
	Revision uint32     `json:"revision,omitempty"`
	What     string     `json:"what"`
}

func verify(ctx context.Context, env *terminal.Env, state, key, save string, earlier []string, asJSON bool) error {
	o := store.VerifyOptions{Key: key}
	for _, file := range earlier {
		data, err := os.ReadFile(file)
		if err != nil {
			return exit.Fail(exit.Usage, "", "checkpoint: %w", err)
		}
		o.Earlier = append(o.Earlier, data)
	}
	r, err := statedir.Reader(state)
	if err != nil {
		return damagedIsFinding(err)
	}
	defer r.Close()
	report, err := r.Verify(ctx, o)
	if errors.Is(err, store.ErrKey) {
		return exit.Fail(exit.Usage, "--key with the line in the ledger.pub of the state directory, as sallyport up printed it", "--key: %w", err)
	}
	if err != nil {
		return damagedIsFinding(fmt.Errorf("verify: %w", err))
	}
	var proven int
	var files []statedir.Damage
	if report.Damage == nil {
		if proven, files, err = statedir.CheckRecordings(ctx, r, state); err != nil {
			return damagedIsFinding(fmt.Errorf("verify: %w", err))
		}
	}
	if err := printReport(env, report, proven, files, asJSON); err != nil {
		return err
	}
	if report.Damage != nil || len(files) > 0 {
		return exit.Status(exit.Findings)
	}
	return saveCheckpoint(ctx, r, save)
}

// damagedIsFinding gives a store that can no longer be read the exit status of
// one whose proof fails.
func damagedIsFinding(err error) error {
	var damaged *store.DamagedError
	if errors.As(err, &damaged) {
		return &exit.Error{Code: exit.Findings, Err: err}
	}
	return err
}

func printReport(env *terminal.Env, r store.Report, proven int, files []statedir.Damage, asJSON bool) error {
	if asJSON {
		v := verification{
			OK: r.Damage == nil && len(files) == 0, Records: r.Records, Revisions: r.Revisions, Sessions: r.Sessions, Findings: r.Findings, Pruned: r.Pruned,
			Checkpoints: r.Checkpoints, Root: r.Root, Key: r.Key,
			Recordings: proven, RecordingDamage: files,
		}
		if d := r.Damage; d != nil {
			v.Damage = &damage{Position: d.Position, Session: d.Session, Revision: d.Revision, What: d.What}
		}
		return terminal.WriteJSON(env.Stdout, v)
	}
	if r.Damage != nil {
		_, err := fmt.Fprintf(env.Stdout, "%s %s\n", env.Palette().Paint(terminal.Bad, "Not proven:"), printable.Text(r.Damage.String()))
		return err
	}
	w := &terminal.Writer{To: env.Stdout}
	good, bad := env.Palette().Paint(terminal.Good, "Proven:"), env.Palette().Paint(terminal.Bad, "Not proven:")
	w.Line("%s %d records, %d revisions of %d sessions, %d findings, %d pruned by retention, under %d checkpoints.",
		good, r.Records, r.Revisions, r.Sessions, r.Findings, r.Pruned, r.Checkpoints)
	if proven > 0 {
		w.Line("%s the files of %s.", good, wording.Plural(proven, "recording"))
	}
	for _, f := range files {
		w.Line("%s recording %s: %s", bad, f.ID, printable.Text(f.What))
	}
	w.Line("Key  %s", printable.Text(r.Key))
	w.Line("Root %s", r.Root)
	return w.Err
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
		return exit.Fail(exit.Findings, "", "save checkpoint: the ledger is empty")
	}
	if err := os.WriteFile(file, c, 0o644); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	return nil
}
