package cli

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
