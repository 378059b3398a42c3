package cli

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/term"
)

// style is what a piece of text means; palette says how that looks.
type style int

// The styles.
const (
	stylePlain style = iota
	styleDim
	styleBold
	styleGood
	styleWarn
	styleBad
)

// palette writes styles as ANSI sequences, or not at all.
type palette struct{ colours bool }

// paint returns text in a style. But for playing recordings it is the only place
// that writes an escape sequence, and text must come from package printable or be our own.
func (p palette) paint(s style, text string) string {
	if !p.colours || s == stylePlain || text == "" {
		return text
	}
	code := map[style]string{styleDim: "2", styleBold: "1", styleGood: "32", styleWarn: "33", styleBad: "31"}[s]
	return "\x1b[" + code + "m" + text + "\x1b[0m"
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
