package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// wrappers are the members of an object in which exports put their records:
// "events" of `aws logs filter-log-events`, "records" of Azure's Event Hubs.
var wrappers = []string{"events", "records"}

// errBroken says that the values stop making sense: unlike lines, what follows
// cannot be told apart any more.
var errBroken = errors.New("not JSON from here on")

// values reads JSON values that may span lines. The elements of a list at the
// top, and of a list in an object at the top that wrappers names, are records of
// their own.
func (f *File) values(yield func(Record) bool) error {
	s := splitter{read: f.r.ReadByte}
	for n := 1; ; n++ {
		data, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, ErrTooLong):
			if !yield(Record{N: n, Data: data, Err: ErrTooLong}) {
				return nil
			}
			continue
		case err != nil:
			return fmt.Errorf("after record %d: %w", n-1, err)
		}
		if !yield(Record{N: n, Data: data}) {
			return nil
		}
	}
}

// splitter cuts a stream into JSON objects by their braces. It checks no more of
// the syntax than it needs; whoever takes a record parses it.
type splitter struct {
	read func() (byte, error)
	buf  []byte
	in   int // how many wrappers and lists the stream is inside of
}

// next returns the next object, valid until the next call.
func (s *splitter) next() ([]byte, error) {
	for {
		c, err := s.skip()
		if err != nil {
			return nil, err
		}
		switch c {
		case '[':
			s.in++
		case ']', '}':
			if s.in--; s.in < 0 {
				return nil, errBroken
			}
		case ',':
		case '"': // a further member of a wrapper: of no interest
			if err := s.member(); err != nil {
				return nil, err
			}
		case '{':
			wrapped, err := s.object()
			if err != nil {
				return s.buf[:min(len(s.buf), 256)], err
			}
			if !wrapped {
				return s.buf, nil
			}
			s.in += 2 // the object and its list
		default:
			return nil, errBroken
		}
	}
}

// skip returns the first byte that is no blank.
func (s *splitter) skip() (byte, error) {
	for {
		c, err := s.read()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' && c != 0xef && c != 0xbb && c != 0xbf {
			return c, nil
		}
	}
}

// object reads an object after its brace into buf, up to its end; or, with
// true, up to the bracket of the list that wraps records.
func (s *splitter) object() (wrapped bool, err error) {
	s.buf = append(s.buf[:0], '{')
	depth, quoted, escaped, long := 1, false, false, false
	for depth > 0 {
		c, err := s.read()
		if err != nil {
			return false, unexpected(err)
		}
		if len(s.buf) < RecordMax {
			s.buf = append(s.buf, c)
		} else {
			long = true
		}
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth == 1 && c == '[' && s.wrapper() {
				return true, nil
			}
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	if long {
		return false, ErrTooLong
	}
	return false, nil
}

// wrapper reports whether what was read is `{"NAME":[` with a name of wrappers.
func (s *splitter) wrapper() bool {
	head := s.buf[:min(len(s.buf), 64)]
	name, _, ok := bytes.Cut(bytes.TrimLeft(head[1:], " \t\r\n"), []byte(":"))
	name = bytes.TrimSpace(name)
	rest := bytes.TrimLeft(s.buf[bytes.IndexByte(s.buf, ':')+1:], " \t\r\n")
	return ok && len(rest) == 1 && len(name) > 2 && name[0] == '"' && slices.Contains(wrappers, string(name[1:len(name)-1]))
}

// member passes over a member of a wrapper, after its opening quote, up to the
// comma or brace behind it.
func (s *splitter) member() error {
	depth, quoted, escaped := 0, true, false
	for {
		c, err := s.read()
		if err != nil {
			return unexpected(err)
		}
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' && depth == 0:
			if s.in--; s.in < 0 {
				return errBroken
			}
			return nil
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth == 0:
			return nil
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends within a value", errBroken)
	}
	return err
}
