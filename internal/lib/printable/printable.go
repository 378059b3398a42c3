// Package printable makes strings from outside fit to be shown to a person.
//
// Everything that Sallyport shows of a container, a command or a user was
// written by somebody else, who may want the terminal to lie: escape sequences
// that clear or rewrite the screen, bidirectional controls that reorder text,
// invisible characters, newlines that fake further output. Text and Command
// replace all of those by visible escapes and leave nothing else that a
// terminal acts upon. What they return is valid UTF-8 in one line.
package printable

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns s with everything escaped that is not plainly visible: control
// characters as \n, \t or \xNN, bytes that are not UTF-8 as \xNN, invisible and
// direction-changing characters as \u{N}. A backslash of s itself is doubled,
// so two different strings never look the same.
func Text(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	escape(&b, s, `\`)
	return b.String()
}

// Command returns argv as a line that a POSIX shell with $'…' (bash, zsh,
// busybox) would read back as the same list, with everything that is not
// plainly visible escaped.
func Command(argv []string) string {
	var b strings.Builder
	for i, arg := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		quote(&b, arg)
	}
	return b.String()
}

func quote(b *strings.Builder, arg string) {
	switch {
	case arg == "":
		b.WriteString("''")
	case strings.IndexFunc(arg, needsQuotes) < 0:
		b.WriteString(arg)
	case isVisible(arg) && !strings.Contains(arg, "'"):
		b.WriteString("'" + arg + "'")
	default:
		b.WriteString("$'")
		escape(b, arg, `\'`)
		b.WriteByte('\'')
	}
}

// needsQuotes reports whether r means something to a shell. Only letters,
// digits and a few signs surely do not.
func needsQuotes(r rune) bool {
	return r >= utf8.RuneSelf || !(unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("%+,-./:=@_", r))
}

func isPlain(s string) bool { return !strings.Contains(s, `\`) && isVisible(s) }

func isVisible(s string) bool {
	marks := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !visible(r, n, &marks) {
			return false
		}
		i += n
	}
	return true
}

// escape writes s, putting a backslash before the characters in special.
func escape(b *strings.Builder, s, special string) {
	marks := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r < utf8.RuneSelf && strings.ContainsRune(special, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case visible(r, n, &marks):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == 0x1b:
			b.WriteString(`\e`)
		case r == utf8.RuneError && n <= 1, r < utf8.RuneSelf:
			fmt.Fprintf(b, `\x%02x`, s[i])
		case r <= 0xffff:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
		i += n
	}
}

// marksMax is how many combining marks may follow one character; more of them
// spill over the neighbouring lines.
const marksMax = 2

// visible reports whether r, decoded from n bytes, shows as itself and does
// nothing else. marks counts combining marks in a row.
func visible(r rune, n int, marks *int) bool {
	if r == utf8.RuneError && n <= 1 {
		return false
	}
	if r < utf8.RuneSelf {
		*marks = 0
		return r >= ' ' && r != 0x7f
	}
	if unicode.Is(unicode.M, r) {
		*marks++
		return *marks <= marksMax && !ignorable(r)
	}
	*marks = 0
	return unicode.IsPrint(r) && !ignorable(r)
}

// ignorable reports whether r belongs to a printable class and yet shows
// nothing: fillers, variation selectors, the empty braille cell. (Bidirectional
// controls and zero-width characters are no printable class at all.)
func ignorable(r rune) bool {
	return unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) ||
		unicode.Is(unicode.Variation_Selector, r) || r == 0x2800
}

// JSON returns a JSON text in which every character that is not plainly visible
// is written as \uNNNN: it means the same and does nothing to a terminal. It
// leaves b alone when there is nothing to do.
func JSON(b []byte) []byte {
	if isVisible(string(bytes.TrimRight(b, "\n"))) {
		return b
	}
	out := make([]byte, 0, len(b)+64)
	marks := 0
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case r == '\n', visible(r, n, &marks):
			out = append(out, b[i:i+n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default: // encoding/json has already replaced what is not UTF-8
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += n
	}
	return out
}

// Width returns how many terminal columns s, as returned by Text or Command,
// takes: two for East Asian wide characters and emoji, none for marks.
func Width(s string) int {
	w := 0
	for _, r := range s {
		w += runeWidth(r)
	}
	return w
}

func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.Is(unicode.M, r):
		return 0
	case r >= 0x1100 && unicode.In(r, wide):
		return 2
	}
	return 1
}

// wide lists the blocks whose characters take two columns (Unicode 15, East
// Asian Width W and F, by block).
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115f, 1},
		{0x231a, 0x231b, 1},
		{0x23e9, 0x23f3, 1},
		{0x25fd, 0x25fe, 1},
		{0x2614, 0x2615, 1},
		{0x2648, 0x2653, 1},
		{0x26a1, 0x26ce, 1},
		{0x2705, 0x2728, 1},
		{0x274c, 0x2757, 1},
		{0x2795, 0x27bf, 1},
		{0x2b1b, 0x2b55, 1},
		{0x2e80, 0xa4cf, 1},
		{0xa960, 0xa97f, 1},
		{0xac00, 0xd7a3, 1},
		{0xf900, 0xfaff, 1},
		{0xfe30, 0xfe6f, 1},
		{0xff00, 0xff60, 1},
		{0xffe0, 0xffe6, 1},
	},
	R32: []unicode.Range32{
		{0x16fe0, 0x18cff, 1},
		{0x1b000, 0x1b2ff, 1},
		{0x1f004, 0x1f004, 1},
		{0x1f0cf, 0x1f0cf, 1},
		{0x1f18e, 0x1f19a, 1},
		{0x1f200, 0x1f64f, 1},
		{0x1f680, 0x1f6ff, 1},
		{0x1f7e0, 0x1f7eb, 1},
		{0x1f900, 0x1faff, 1},
		{0x20000, 0x3fffd, 1},
	},
}

// Cut returns s, as returned by Text or Command, cut to at most width columns;
// what was cut is marked by "…".
func Cut(s string, width int) string {
	if width <= 0 {
		return ""
	}
	w, end := 0, 0 // end: of the longest beginning that leaves a column for the mark
	for i, r := range s {
		if w <= width-1 {
			end = i
		}
		w += runeWidth(r)
		if w > width {
			return s[:end] + "…"
		}
	}
	return s
}
