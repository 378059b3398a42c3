package recording

import (
	"bytes"
	"io"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/lib/printable"
)

// plain passes on text and leaves out what a terminal acts upon: control
// sequences (ECMA-48) as a whole, control characters but newline and tab, and
// what is invisible or reorders text is written as an escape (see package
// printable). A carriage return without a newline becomes one, so that nothing
// is written over.
type plain struct {
	to    io.Writer
	state escape
	part  []byte // of a character that was split
	cr    bool   // the last character was a carriage return
	out   []byte
}

// escape is where in a control sequence plain is.
type escape byte

const (
	escNone   escape = iota
	escBegun         // after ESC
	escInter         // ESC and intermediate bytes
	escCSI           // ESC [: up to a final byte
	escString        // OSC, DCS and the like: up to BEL or ST
	escMaybe         // ESC inside a string: ST or a new sequence
)

func newPlain(to io.Writer) *plain { return &plain{to: to} }

// Write implements io.Writer.
func (t *plain) Write(p []byte) (int, error) {
	n := len(p)
	if len(t.part) > 0 {
		p = append(t.part, p...)
		t.part = nil
	}
	t.out = t.out[:0]
	for len(p) > 0 {
		if !utf8.FullRune(p) {
			t.part = bytes.Clone(p)
			break
		}
		r, size := utf8.DecodeRune(p)
		t.rune(r, p[:size])
		p = p[size:]
	}
	_, err := t.to.Write(t.out)
	return n, err
}

// rune takes one character, given with its bytes.
func (t *plain) rune(r rune, text []byte) {
	if t.state != escNone && t.inside(r) {
		return
	}
	cr := t.cr
	t.cr = false
	switch {
	case r == 0x1b:
		t.state = escBegun
	case r == 0x9b:
		t.state = escCSI
	case r == 0x90, r == 0x98, r == 0x9d, r == 0x9e, r == 0x9f:
		t.state = escString
	case r == '\r':
		if cr {
			t.out = append(t.out, '\n')
		}
		t.cr = true
	case cr && r != '\n':
		t.out = append(t.out, '\n')
		t.rune(r, text)
	case r == '\n', r == '\t':
		t.out = append(t.out, byte(r))
	case r >= ' ' && r < 0x7f:
		t.out = append(t.out, byte(r))
	case r < ' ', r >= 0x7f && r < 0xa0:
	default:
		t.out = append(t.out, printable.Text(string(text))...)
	}
}

// inside takes a character within a control sequence; false when it belongs to
// the text again.
func (t *plain) inside(r rune) bool {
	if r == 0x18 || r == 0x1a { // CAN, SUB
		t.state = escNone
		return true
	}
	switch t.state {
	case escBegun, escMaybe:
		return t.begun(r)
	case escInter:
		if r < 0x20 || r > 0x2f {
			t.state = escNone
		}
		return r >= 0x20 && r <= 0x7e
	case escCSI:
		if r >= 0x20 && r <= 0x3f {
			return true
		}
		t.state = escNone
		return r >= 0x40 && r <= 0x7e
	case escString:
		switch r {
		case 0x07, 0x9c:
			t.state = escNone
		case 0x1b:
			t.state = escMaybe
		}
		return true
	}
	return false
}

// begun takes the character after an ESC.
func (t *plain) begun(r rune) bool {
	switch {
	case r == '[':
		t.state = escCSI
	case r == ']', r == 'P', r == 'X', r == '^', r == '_':
		t.state = escString
	case r == 0x1b:
		t.state = escBegun
	case r >= 0x20 && r <= 0x2f:
		t.state = escInter
	default:
		t.state = escNone
		return r >= 0x30 && r <= 0x7e
	}
	return true
}
