package recordings

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/internal/cli/complete"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/recording"
)

// NewPlay returns sallyport play.
func NewPlay(env *terminal.Env) *cobra.Command {
	state := statedir.Default(env)
	var p recording.Playing
	var identities []string
	cmd := &cobra.Command{
		Use:   "play ID",
		Short: "Play what was recorded of a session",
		Long: `Play the output of a recorded session in its time. ID is the beginning of a
recording's or a session's id. Ctrl-C or q stops.

What a program wrote to a terminal is passed to yours as it was, for that is
what its picture is made of; --safe leaves out everything that a terminal acts
upon. Of sessions without a terminal it is always left out. Your terminal is not
resized: make it as large as the recorded one, or the picture is broken.

Exit status 3 when the file breaks off or is damaged: then everything before
that was played.`,
		Args: cobra.ExactArgs(1),
		Example: `  sallyport play 4t7k
  sallyport play 4t7k --speed 4 --idle 1s
  sallyport play 4t7k --from 2m --to 2m30s --safe
  sallyport play 4t7k --identity key.txt`,
		ValidArgsFunction: complete.Recordings(&state),
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.Speed <= 0 || p.Idle < 0 || p.From < 0 || p.To < 0 {
				return exit.Fail(exit.Usage, "", "play: --speed, --idle, --from and --to want positive values")
			}
			r, err := openRecording(cmd.Context(), env, state, args[0], identities)
			if err != nil {
				return err
			}
			defer r.Close()
			return play(cmd.Context(), env, state, r, p)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", state, "state directory `DIR`")
	f.Float64Var(&p.Speed, "speed", 1, "play `TIMES` as fast")
	f.DurationVar(&p.Idle, "idle", 0, "make pauses no longer than `DURATION` (default: as long as they were)")
	f.DurationVar(&p.From, "from", 0, "begin `DURATION` after the start; what came before is shown at once")
	f.DurationVar(&p.To, "to", 0, "stop `DURATION` after the start (default: at the end)")
	f.BoolVar(&p.Safe, "safe", false, "leave out what a terminal acts upon")
	f.StringArrayVar(&identities, "identity", nil, "age identity `FILE` that an encrypted recording is read with; may be repeated")
	return cmd
}

func play(ctx context.Context, env *terminal.Env, state string, r *recording.Reader, p recording.Playing) error {
	h := &r.Header
	introduce(env, h)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var notes []string
	p.Note = func(at time.Duration, text string) {
		notes = append(notes, fmt.Sprintf("at %s: %s", wording.Duration(at), text))
	}
	p.Sleep = sleep
	out := &screen{to: env.Stdout}
	restore := func() {}
	if h.TTY && !p.Safe {
		restore = handOver(env, cancel, out)
	}
	err := p.Play(ctx, out, *h, r.Frames())
	restore()
	for _, n := range notes {
		fmt.Fprintln(env.Stderr, n)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if p.To > 0 && err == nil {
		return nil
	}
	return readToEnd(env, state, r, err)
}

// introduce says what is going to be played.
func introduce(env *terminal.Env, h *recording.Header) {
	fmt.Fprintf(env.Stderr, "%s  %s by %s in %s: %s\n", h.ID, h.Started.In(time.Local).Format(view.TimeExact), view.Actor(&h.Actor),
		view.Container(&session.Session{Target: h.Target}), printable.Cut(recordedCommand(h.Argv, h.Path), terminal.CellMax))
	f, ok := env.Stdout.(*os.File)
	if !ok || !h.TTY || h.Cols == 0 {
		return
	}
	if w, rows, err := term.GetSize(int(f.Fd())); err == nil && (w < int(h.Cols) || rows < int(h.Rows)) {
		fmt.Fprintf(env.Stderr, "The terminal was %dx%d, yours is %dx%d: the picture may be broken.\n", h.Cols, h.Rows, w, rows)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// screen is where a terminal's recording is shown. It remembers whether that
// left the alternate screen on.
type screen struct {
	to        io.Writer
	alternate bool
}

// Write implements io.Writer.
func (s *screen) Write(p []byte) (int, error) {
	on, off := bytes.LastIndex(p, []byte("\x1b[?1049h")), bytes.LastIndex(p, []byte("\x1b[?1049l"))
	if on != off {
		s.alternate = on > off
	}
	return s.to.Write(p)
}

// handOver takes the keyboard while a terminal's recording is played: Ctrl-C and
// q stop, and what the terminal answers to questions in the recording goes
// nowhere, instead of into the next command line. The function that it returns
// gives the keyboard back and brings the terminal into order.
func handOver(env *terminal.Env, stop func(), s *screen) func() {
	_, shown := terminal.WidthOf(env.Stdout)
	in, ok := env.Stdin.(*os.File)
	if !shown || !ok || !term.IsTerminal(int(in.Fd())) {
		return func() { s.tidy(shown) }
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return func() { s.tidy(shown) }
	}
	go func() {
		var key [64]byte
		for {
			n, err := in.Read(key[:])
			if err != nil {
				return
			}
			if bytes.ContainsAny(key[:n], "\x03q") && key[0] != 0x1b {
				stop()
			}
		}
	}()
	return func() {
		s.tidy(shown)
		time.Sleep(answerWait)
		_ = term.Restore(int(in.Fd()), before)
	}
}

// answerWait is how long a terminal may take to answer the last question in a
// recording.
const answerWait = 100 * time.Millisecond

// tidy undoes what a recording may have left: attributes, a hidden cursor,
// reports of the mouse, bracketed paste, the alternate screen.
func (s *screen) tidy(shown bool) {
	if !shown {
		return
	}
	text := "\x1b[!p\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l"
	if s.alternate {
		text += "\x1b[?1049l"
	}
	_, _ = io.WriteString(s.to, text+"\r\n")
}
