package audit

import (
	"bytes"
	"strconv"
)

// The API server's audit events are scanned, not decoded: almost all of them
// concern no command, and what says so stands near their beginning. The scanner
// respects strings, escapes and nesting. It demands JSON's syntax of each object
// and list that is looked into; what is passed over only has to balance.

// members walks over the members of a JSON object.
type members struct {
	b   []byte
	i   int
	end int // after the closing brace, once there
	bad bool
	// key is unescaped; value is raw.
	key, value []byte
}

// membersOf begins with b at the object's brace. Anything else has no members
// and is bad, except null and nothing at all.
func membersOf(b []byte) members {
	m := members{b: b, i: skipSpace(b, 0)}
	if m.i < len(b) && b[m.i] == '{' {
		m.i++
		return m
	}
	m.bad = !isNull(b)
	m.i = -1
	return m
}

// next goes to the next member. It returns false at the end and at an error.
func (m *members) next() bool {
	if m.i < 0 {
		return false
	}
	b, i := m.b, skipSpace(m.b, m.i)
	switch {
	case i < len(b) && b[i] == '}':
		m.i, m.end = -1, i+1
		return false
	case i < len(b) && b[i] == ',' && m.key != nil:
		i = skipSpace(b, i+1)
	case m.key != nil:
		return m.fail()
	}
	if i >= len(b) || b[i] != '"' {
		return m.fail()
	}
	end := skipString(b, i)
	if end < 0 {
		return m.fail()
	}
	m.key = b[i+1 : end-1]
	if i = skipSpace(b, end); i >= len(b) || b[i] != ':' {
		return m.fail()
	}
	i = skipSpace(b, i+1)
	if end = skipValue(b, i); end < 0 {
		return m.fail()
	}
	m.value, m.i = b[i:end], end
	if bytes.IndexByte(m.key, '\\') >= 0 {
		m.key = unescape(m.key)
	}
	return true
}

func (m *members) fail() bool {
	m.bad, m.i = true, -1
	return false
}

// elements walks over the elements of a JSON list.
type elements struct {
	b     []byte
	i     int
	bad   bool
	value []byte // raw
}

// elementsOf begins with b at the list's bracket. Anything else has no
// elements and is bad, except null and nothing at all.
func elementsOf(b []byte) elements {
	e := elements{b: b, i: skipSpace(b, 0)}
	if e.i < len(b) && b[e.i] == '[' {
		e.i++
		return e
	}
	e.bad = !isNull(b)
	e.i = -1
	return e
}

func (e *elements) next() bool {
	if e.i < 0 {
		return false
	}
	b, i := e.b, skipSpace(e.b, e.i)
	switch {
	case i < len(b) && b[i] == ']':
		e.i = -1
		return false
	case i < len(b) && b[i] == ',' && e.value != nil:
		i = skipSpace(b, i+1)
	case e.value != nil:
		return e.fail()
	}
	end := skipValue(b, i)
	if end < 0 {
		return e.fail()
	}
	e.value, e.i = b[i:end], end
	return true
}

func (e *elements) fail() bool {
	e.bad, e.i = true, -1
	return false
}

func isNull(b []byte) bool {
	b = bytes.TrimSpace(b)
	return len(b) == 0 || string(b) == "null"
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index after the string whose opening quote is at i,
// or -1.
func skipString(b []byte, i int) int {
	for j := i + 1; ; j++ {
		k := bytes.IndexByte(b[j:], '"')
		if k < 0 {
			return -1
		}
		j += k
		n := 0
		for b[j-1-n] == '\\' { // ends at the opening quote
			n++
		}
		if n%2 == 0 {
			return j + 1
		}
	}
}

// skipValue returns the index after the value that begins at i, or -1.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i)
	case c == '{', c == '[':
		return skipNested(b, i)
	case c == '-', c >= '0' && c <= '9', c == 't', c == 'f', c == 'n':
		for i < len(b) && isLiteral(b[i]) {
			i++
		}
		return i
	}
	return -1
}

func isLiteral(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == 'E' || c == '+' || c == '-' || c == '.'
}

func skipNested(b []byte, i int) int {
	for depth := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			if i = skipString(b, i) - 1; i < 0 {
				return -1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// plain returns the inside of a raw string, unescaped, and nil for anything
// that is no string. It copies only when there is something to unescape.
func plain(raw []byte) []byte {
	if len(raw) < 2 || raw[0] != '"' {
		return nil
	}
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	return unescape(raw)
}

// text returns a raw JSON string as a string, "" for anything else.
func text(raw []byte) string { return string(plain(raw)) }

// texts returns a raw list of strings; what is no string in it is "".
func texts(raw []byte) []string {
	var out []string
	for e := elementsOf(raw); e.next(); {
		if out == nil {
			out = make([]string, 0, 1+bytes.Count(e.b[e.i:], []byte{','}))
		}
		out = append(out, text(e.value))
	}
	return out
}

func truth(raw []byte) bool { return string(raw) == "true" }

func number(raw []byte) int {
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		return 0
	}
	return n
}
