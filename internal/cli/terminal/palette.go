package terminal

// Style is what a piece of text means; Palette says how that looks.
type Style int

// The styles.
const (
	Plain Style = iota
	Dim
	Bold
	Good
	Warn
	Bad
)

// Palette writes styles as ANSI sequences, or not at all.
type Palette struct{ Colours bool }

// Paint returns text in a style. But for playing recordings it is the only place
// that writes an escape sequence, and text must come from package printable or be our own.
func (p Palette) Paint(s Style, text string) string {
	if !p.Colours || s == Plain || text == "" {
		return text
	}
	code := map[Style]string{Dim: "2", Bold: "1", Good: "32", Warn: "33", Bad: "31"}[s]
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
