// Package terminal is what every command has of its surroundings: input and output,
// and how results look there. Colours and the width of tables are for terminals alone,
// and so is progress, which goes to standard error.
package terminal

import (
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"
)

// Env is what commands see of the outside. Tests give their own; no command
// touches os.Args, os.Std* or os.Getenv itself.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	// Began is when: what takes long is counted from there.
	Began time.Time
}

// Logger returns the log of a long-running command, on standard error.
func (env *Env) Logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: level}))
}

// Palette returns colours for a terminal, unless NO_COLOR (no-color.org) or a
// dumb terminal says otherwise.
func (env *Env) Palette() Palette {
	_, terminal := WidthOf(env.Stdout)
	return Palette{Colours: terminal && env.Getenv("NO_COLOR") == "" && env.Getenv("TERM") != "dumb"}
}

// Width returns how many columns standard output has, 0 when it is no terminal
// and COLUMNS does not say.
func (env *Env) Width() int {
	if w, ok := WidthOf(env.Stdout); ok {
		return w
	}
	w, err := strconv.Atoi(env.Getenv("COLUMNS"))
	if err != nil || w < 0 {
		return 0
	}
	return w
}

// WidthOf returns how many columns a terminal has; false when w is none.
func WidthOf(w io.Writer) (int, bool) {
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
