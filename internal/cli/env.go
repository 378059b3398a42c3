package cli

import (
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"
)

// environment is what commands see of the outside. Tests give their own;
// nothing else in this package touches os.Args, os.Std* or os.Getenv.
type environment struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	// began is when: what takes long is counted from there.
	began time.Time
}

// logger returns the log of a long-running command, on standard error.
func (env *environment) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: level}))
}

// palette returns colours for a terminal, unless NO_COLOR (no-color.org) or a
// dumb terminal says otherwise.
func (env *environment) palette() palette {
	_, terminal := terminalWidth(env.stdout)
	return palette{colours: terminal && env.getenv("NO_COLOR") == "" && env.getenv("TERM") != "dumb"}
}

// width returns how many columns standard output has, 0 when it is no terminal
// and COLUMNS does not say.
func (env *environment) width() int {
	if w, ok := terminalWidth(env.stdout); ok {
		return w
	}
	w, err := strconv.Atoi(env.getenv("COLUMNS"))
	if err != nil || w < 0 {
		return 0
	}
	return w
}

func terminalWidth(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80, true
	}
	return width, true
}
