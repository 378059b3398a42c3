package recording

import "bytes"

// echo decides what of a terminal's input is recorded. Whether a terminal
// echoes is a setting inside the container that no stream shows; what shows is
// the echo.
//
// The rule: a line is recorded when each of its bytes was answered by exactly
// that byte (its end by either end of a line, for terminals turn one into the
// other), at the beginning of what came out next. So all that is recorded
// of the input stands in the recorded output, too, and no password is
// recorded that was not shown. Everything else (passwords, keys of editors,
// lines that were corrected) is masked: only its length is told.
type echo struct {
	text    []byte // the line, as long as it was echoed so far; cleared afterwards
	n       uint64 // bytes typed of the line
	echoed  int    // bytes of text that were echoed
	foreign bool   // something else came out
	whole   bool   // the line has its end
}

// lineMax bounds a line that is recorded; longer ones are masked.
const lineMax = 1 << 10

// line is what is told of a line: its text, valid until the next call, or how
// many bytes it had.
type line struct {
	text   []byte
	masked uint64
}

// typed takes bytes that were typed, up to the end of a line. It returns how
// many it took and, when a line is decided, what is told of it.
func (e *echo) typed(p []byte) (int, line) {
	if e.whole { // the echo of this line and the next could not be told apart
		return 0, e.decide()
	}
	n := len(p)
	if end := bytes.IndexAny(p, "\r\n\x03\x04"); end >= 0 {
		n, e.whole = end+1, true
	}
	e.n += uint64(n)
	if !e.foreign && len(e.text)+n <= lineMax {
		e.text = append(e.text, p[:n]...)
	} else {
		e.foreign = true
	}
	if e.whole && e.foreign {
		return n, e.decide()
	}
	return n, line{}
}

// heard takes bytes that came out.
func (e *echo) heard(p []byte) line {
	for _, c := range p {
		if e.foreign || e.echoed == len(e.text) {
			break
		}
		if want := e.text[e.echoed]; c != want && !(newline(want) && newline(c)) {
			e.foreign = true
			break
		}
		e.echoed++
	}
	if e.whole && (e.foreign || e.echoed == len(e.text)) {
		return e.decide()
	}
	return line{}
}

func newline(c byte) bool { return c == '\r' || c == '\n' }

// end takes that nothing more comes.
func (e *echo) end() line { return e.decide() }

// decide returns what is told of the line and begins the next.
func (e *echo) decide() line {
	out := line{masked: e.n}
	if e.n > 0 && !e.foreign && e.whole && e.echoed == len(e.text) {
		out = line{text: e.text}
	} else {
		clear(e.text)
	}
	*e = echo{text: e.text[:0]}
	return out
}
