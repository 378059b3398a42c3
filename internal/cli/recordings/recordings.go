// Package recordings lists, plays and exports recordings.
package recordings

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/complete"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/recording"
	"github.com/sallyport/sallyport/internal/store"
)

// New returns sallyport recordings.
func New(env *terminal.Env) *cobra.Command {
	cmd := newRecordingsList(env, "recordings")
	cmd.Short = "List and export what was recorded of sessions"
	cmd.Long = `List the recordings in the state directory, in order of start.

STATE is ended, torn (its writer was killed or could not write; what it had
written is there), or open: it runs, or its writer was killed and did not start
again. "sallyport play ID" plays one, "sallyport verify" proves that none was
changed or removed.`
	cmd.Example = `  sallyport recordings
  sallyport recordings --json | jq -r 'select(.tty) | .id'
  sallyport recordings export 4t7k -o session.cast`
	cmd.AddCommand(newRecordingsList(env, "list"), newRecordingsExport(env))
	return cmd
}

func newRecordingsList(env *terminal.Env, use string) *cobra.Command {
	state := statedir.Default(env)
	var asJSON bool
	cmd := &cobra.Command{
		Use:     use,
		Short:   "List recordings, in order of start",
		Args:    cobra.NoArgs,
		Example: "  sallyport recordings list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return recordings(cmd.Context(), env, state, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", state, "state directory `DIR`")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per recording")
	return cmd
}

// Recorded is the JSON form of a recording.
type Recorded struct {
	ID        string          `json:"id"`
	State     string          `json:"state"` // ended, torn, open
	Started   time.Time       `json:"started"`
	Session   session.ID      `json:"session,omitempty"`
	Kind      session.Kind    `json:"kind,omitempty"`
	Channel   event.Channel   `json:"channel,omitempty"`
	Exec      event.ExecID    `json:"exec,omitempty"`
	TTY       bool            `json:"tty"`
	Argv      []event.Text    `json:"argv,omitempty"`
	Path      event.Text      `json:"path,omitempty"`
	Actor     session.Actor   `json:"actor"`
	Target    session.Target  `json:"target"`
	Input     recording.Input `json:"input"`
	Lenient   bool            `json:"lenient"`
	Encrypted bool            `json:"encrypted"`
	Bytes     int64           `json:"bytes"`          // of the file
	Torn      int64           `json:"torn,omitempty"` // bytes at its end that are no whole block
	Lost      uint64          `json:"lost,omitempty"` // bytes that could not be recorded
	File      string          `json:"file"`
}

func recordedOf(i *recording.Info, said session.Recording) Recorded {
	r := Recorded{
		ID: i.ID, State: "open", Started: i.Started, Session: i.Session, Kind: i.Kind, Channel: i.Channel, Exec: i.Exec,
		TTY: i.TTY, Argv: i.Argv, Path: i.Path, Actor: i.Actor, Target: i.Target, Input: i.Input, Lenient: i.Lenient,
		Encrypted: len(i.Key) > 0, Bytes: i.Bytes, Torn: i.Torn(), Lost: said.Lost, File: i.File,
	}
	switch {
	case i.Ended:
		r.State = string(session.RecordingEnded)
	case said.State == session.RecordingTorn:
		r.State = string(said.State)
	}
	return r
}

func recordings(ctx context.Context, env *terminal.Env, state string, asJSON bool) error {
	ids, err := recording.IDs(recording.DirIn(state))
	if err != nil {
		return exit.Fail(exit.Usage, "", "%w", err)
	}
	said, err := saidOf(ctx, state)
	if err != nil {
		return err
	}
	var all []Recorded
	var unread error
	for _, id := range ids {
		i, err := recording.Stat(recording.DirIn(state), id)
		if err != nil {
			unread = errors.Join(unread, err)
			continue
		}
		all = append(all, recordedOf(&i, said[id]))
	}
	sortByStart(all)
	if asJSON {
		for _, r := range all {
			if err := terminal.WriteJSON(env.Stdout, r); err != nil {
				return err
			}
		}
		return exit.CutShort(unread)
	}
	if len(all) == 0 && unread == nil {
		fmt.Fprintln(env.Stderr, "no recordings here")
		return nil
	}
	return errors.Join(recordingTable(env.Stdout, view.Of(env), all), exit.CutShort(unread))
}

// saidOf returns what the ledger says of recordings; nothing where there is no
// store, for recordings can be read without.
func saidOf(ctx context.Context, state string) (map[string]session.Recording, error) {
	r, err := store.OpenReadOnly(state)
	if errors.Is(err, store.ErrNoStore) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	list, err := statedir.Recordings(ctx, r)
	said := map[string]session.Recording{}
	for _, s := range list {
		said[s.ID] = s
	}
	return said, err
}

func sortByStart(all []Recorded) {
	slices.SortFunc(all, func(a, b Recorded) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
}

func recordingTable(w io.Writer, r view.Renderer, all []Recorded) error {
	t := terminal.Table{Columns: []terminal.Column{
		{Title: "ID"}, {Title: "STARTED", Drop: 1}, {Title: "SESSION", Drop: 2}, {Title: "KIND", Drop: 3}, {Title: "ACTOR", Least: 8},
		{Title: "CONTAINER", Least: 8}, {Title: "COMMAND", Least: 8}, {Title: "BYTES", Drop: 4}, {Title: "STATE"},
	}}
	for i := range all {
		rec := &all[i]
		state := terminal.Cell{Text: rec.State}
		if rec.State != string(session.RecordingEnded) {
			state.Style = terminal.Warn
		}
		if rec.Lost > 0 {
			state = terminal.Cell{Text: state.Text + fmt.Sprintf(", %d lost", rec.Lost), Style: terminal.Bad}
		}
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: view.ShortID(session.ID(rec.ID)), Style: terminal.Bold}, {Text: rec.Started.In(r.Zone).Format(view.TimeInTable)}, {Text: view.ShortID(rec.Session)},
			{Text: string(rec.Kind)}, {Text: view.Actor(&rec.Actor)}, {Text: view.Container(&session.Session{Target: rec.Target})},
			{Text: recordedCommand(rec.Argv, rec.Path)}, {Text: fmt.Sprint(rec.Bytes)}, state,
		})
	}
	return t.Write(w, r.Width, r.Palette)
}

func recordedCommand(argv []event.Text, path event.Text) string {
	if path != "" {
		return "copy " + printable.Text(string(path))
	}
	list := make([]string, len(argv))
	for i, a := range argv {
		list[i] = string(a)
	}
	return view.Argv(list)
}

func newRecordingsExport(env *terminal.Env) *cobra.Command {
	state := statedir.Default(env)
	var format, file, stream string
	var identities []string
	cmd := &cobra.Command{
		Use:   "export ID",
		Short: "Write a recording in another format",
		Long: `Write a recording as asciicast v3, which asciinema plays, or the bytes of its
output as they came. ID is the beginning of a recording's or a session's id.

An asciicast has one output and holds text only: stdout and stderr become one,
and what is not UTF-8 is replaced. Gaps become markers.

Exit status 3 when the file breaks off or is damaged: then everything before
that is written.`,
		Args: cobra.ExactArgs(1),
		Example: `  sallyport recordings export 4t7k -o session.cast
  sallyport recordings export 4t7k --format raw --stream stdout -o out.bin
  sallyport recordings export 4t7k --identity key.txt -o session.cast`,
		ValidArgsFunction: complete.Recordings(&state),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := openRecording(cmd.Context(), env, state, args[0], identities)
			if err != nil {
				return err
			}
			defer r.Close()
			return exportRecording(env, state, r, format, stream, file)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", state, "state directory `DIR`")
	f.StringVar(&format, "format", "asciicast", "`FORMAT`: asciicast or raw")
	f.StringVar(&stream, "stream", "", "with raw: only this `STREAM`: stdout, stderr or stdin (default: the first two, as they came)")
	f.StringVarP(&file, "output", "o", "", "`FILE` to write; - for standard output")
	f.StringArrayVar(&identities, "identity", nil, "age identity `FILE` that an encrypted recording is read with; may be repeated")
	_ = cmd.MarkFlagRequired("output")
	complete.Words(cmd, "format", "asciicast", "raw")
	return cmd
}

func exportRecording(env *terminal.Env, state string, r *recording.Reader, format, stream, file string) error {
	write, err := exportTo(r, format, stream)
	if err != nil {
		return err
	}
	to, done := env.Stdout, func() error { return nil }
	if file != "-" {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return exit.Fail(exit.Usage, "", "export: %w", err)
		}
		to, done = f, f.Close
	} else if _, terminal := terminal.WidthOf(env.Stdout); terminal && format == "raw" {
		return exit.Fail(exit.Usage, "sallyport play, or -o FILE", "export: raw output may hold what a terminal acts upon")
	}
	err = write(to)
	if e := done(); e != nil {
		return fmt.Errorf("export: %w", e)
	}
	return readToEnd(env, state, r, err)
}

// exportTo returns what writes a recording in a format.
func exportTo(r *recording.Reader, format, stream string) (func(io.Writer) error, error) {
	which := func(s recording.Stream) bool { return s != recording.Stdin }
	switch stream {
	case "":
	case "stdin", "stdout", "stderr":
		which = func(s recording.Stream) bool { return s.String() == stream }
	default:
		return nil, exit.Fail(exit.Usage, "stdout, stderr or stdin", "--stream %q", stream)
	}
	switch {
	case format == "raw":
		return func(w io.Writer) error { return recording.WriteRaw(w, which, r.Frames()) }, nil
	case format == "asciicast" && stream == "":
		return func(w io.Writer) error { return recording.WriteAsciicast(w, r.Header, r.Frames()) }, nil
	case format == "asciicast":
		return nil, exit.Fail(exit.Usage, "--format raw", "--stream: an asciicast holds them all")
	}
	return nil, exit.Fail(exit.Usage, "asciicast or raw", "--format %q", format)
}

// readToEnd says how a recording ended that was read with an error or none.
func readToEnd(env *terminal.Env, state string, r *recording.Reader, err error) error {
	var torn *recording.TornError
	switch {
	case errors.As(err, &torn):
		return exit.Fail(exit.Incomplete, "sallyport verify"+statedir.Flag(env, state)+" says whether it was changed or its writer was killed", "%w", err)
	case err == nil && !r.Ended():
		fmt.Fprintln(env.Stderr, "It has no end: it still runs, or its writer was killed.")
	}
	return err
}

// openRecording opens the recording that id begins, or that of the session that
// it begins.
func openRecording(ctx context.Context, env *terminal.Env, state, id string, identities []string) (*recording.Reader, error) {
	with, err := readIdentities(identities)
	if err != nil {
		return nil, err
	}
	id, err = findRecording(ctx, env, state, id)
	if err != nil {
		return nil, err
	}
	r, err := recording.OpenFile(recording.DirIn(state), id, with...)
	if errors.Is(err, recording.ErrKey) {
		_ = r.Close()
		return nil, exit.Fail(exit.Usage, "give the age identity of one of its recipients with --identity FILE", "recording %s: %w", id, err)
	}
	if err != nil {
		return nil, exit.Fail(exit.Incomplete, "sallyport verify"+statedir.Flag(env, state), "%w", err)
	}
	return r, nil
}

func readIdentities(files []string) (out []age.Identity, err error) {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, exit.Fail(exit.Usage, "", "identity: %w", err)
		}
		list, err := age.ParseIdentities(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return nil, exit.Fail(exit.Usage, "age-keygen -o FILE makes one", "identity %s: %w", file, err)
		}
		out = append(out, list...)
	}
	return out, nil
}

// findRecording returns the id of the one recording that is meant.
func findRecording(ctx context.Context, env *terminal.Env, state, id string) (string, error) {
	list := "sallyport recordings" + statedir.Flag(env, state)
	if id == "" {
		return "", exit.Fail(exit.Usage, list, "recording: an empty id")
	}
	ids, err := recording.IDs(recording.DirIn(state))
	if err != nil {
		return "", exit.Fail(exit.Usage, "", "%w", err)
	}
	ids = slices.DeleteFunc(ids, func(other string) bool { return !strings.HasPrefix(other, id) })
	if len(ids) == 0 {
		if ids, err = recordingsOfSession(ctx, env, state, id); err != nil {
			return "", err
		}
	}
	switch len(ids) {
	case 0:
		return "", exit.Fail(exit.Findings, list, "recording %q: there is none of that id, nor of such a session", id)
	case 1:
		return ids[0], nil
	}
	return "", exit.Fail(exit.Usage, "one of "+strings.Join(ids[:min(len(ids), 8)], ", "), "recording %q: %d fit", id, len(ids))
}

// recordingsOfSession returns the ids of the recordings of the session or the
// guard's request that id begins; none where there is no such one.
func recordingsOfSession(ctx context.Context, env *terminal.Env, state, id string) (ids []string, err error) {
	r, err := store.OpenReadOnly(state)
	if errors.Is(err, store.ErrNoStore) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	all, err := statedir.Recordings(ctx, r)
	if err != nil {
		return nil, err
	}
	s, _, err := r.Session(ctx, id)
	unknown := errors.Is(err, store.ErrNotFound)
	if err != nil && !unknown {
		return nil, statedir.NotOne(env, state, err)
	}
	for _, rec := range all {
		if unknown && strings.HasPrefix(string(rec.Session), id) || !unknown && statedir.OfSession(&rec, &s) {
			ids = append(ids, rec.ID)
		}
	}
	return ids, nil
}
