package objects

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Bounds of input. An API server takes no object of more than some 1.5 MiB; lists
// of objects can be of any size and are read item by item.
const (
	objectMax = 4 << 20
	// documentMax bounds the text of one document in YAML, which may be a List.
	documentMax = 128 << 20
	// splitMin is from where on a List in YAML is taken apart before it is parsed.
	splitMin = 256 << 10
)

// Read reads manifests: YAML, of one or several documents, or JSON, of one or
// several values. source names them. What is broken is noted as skipped, and reading
// goes on where it can; the error is that of r.
func (l *Loader) Read(source string, r io.Reader) error {
	l.files = true
	in := bufio.NewReaderSize(r, 64<<10)
	if b, _ := in.Peek(3); bytes.Equal(b, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(3)
	}
	var err error
	if isJSON(in) {
		err = l.readJSON(source, in)
	} else {
		err = l.readYAML(source, in)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", source, err)
	}
	return nil
}

// isJSON reports whether input begins like an object in JSON: a brace and a quote
// or a brace. Templates of manifests begin with two braces.
func isJSON(in *bufio.Reader) bool {
	b, _ := in.Peek(4 << 10)
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{"))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return ok && len(rest) > 0 && (rest[0] == '"' || rest[0] == '}')
}

// readYAML splits input into documents.
func (l *Loader) readYAML(source string, in *bufio.Reader) error {
	doc, first, number, over := []byte(nil), 1, 0, false
	flush := func(next int) {
		l.document(source, doc, first, over)
		doc, first, over = doc[:0], next, false
	}
	begins := true // at the beginning of a line
	for {
		line, err := in.ReadSlice('\n')
		if bytes.IndexByte(line, 0) >= 0 {
			l.documents++
			l.skip(inventory.Origin{Source: source, Line: number + 1}, "not text; the rest of the file is not read")
			return nil
		}
		if begins && len(line) > 0 {
			number++
			if rest, ok := marker(line); ok {
				flush(number)
				line = rest
			} else if line[0] == '%' && len(bytes.TrimSpace(doc)) == 0 {
				line = []byte("\n") // a directive
			}
		}
		begins = err == nil
		if over = over || len(doc)+len(line) > documentMax; !over {
			doc = append(doc, line...)
		}
		switch {
		case errors.Is(err, io.EOF):
			flush(number)
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// marker reports whether a line ends a document, and returns what it begins the
// next one with.
func marker(line []byte) (rest []byte, ok bool) {
	for _, m := range []string{"---", "..."} {
		if after, found := bytes.CutPrefix(line, []byte(m)); found && (len(after) == 0 || strings.IndexByte(" \t\r\n", after[0]) >= 0) {
			return append([]byte("   "), after...), true
		}
	}
	return nil, false
}

// document reads one document in YAML. A long List is taken apart first: parsed as
// a whole it would take forty times its size.
func (l *Loader) document(source string, doc []byte, first int, over bool) {
	for { // lead on to where something is said
		line, rest, more := bytes.Cut(doc, []byte("\n"))
		if text := bytes.TrimSpace(line); !more || len(text) > 0 && text[0] != '#' {
			break
		}
		doc, first = rest, first+1
	}
	if text := bytes.TrimSpace(doc); len(text) == 0 || text[0] == '#' && bytes.IndexByte(text, '\n') < 0 {
		return
	}
	l.documents++
	origin := inventory.Origin{Source: source, Line: first}
	switch {
	case over:
		l.skip(origin, "a document of more than %d MiB: give it as JSON, or as several documents", documentMax>>20)
	case len(doc) < splitMin:
		l.yaml(source, doc, first)
	default:
		if l.list(source, doc, first) {
			return
		}
		if len(doc) > objectMax {
			l.skip(origin, "an object of more than %d MiB", objectMax>>20)
			return
		}
		l.yaml(source, doc, first)
	}
}

// list reads a List in YAML item by item, by their indentation; false when it does
// not look like one. Its lines are
//
//	items:
//	- first item
//	- second item
//
// whatever stands before and after, and the dashes may be indented.
func (l *Loader) list(source string, doc []byte, first int) bool {
	var item []byte  // the item so far, nil outside
	dash, at := 0, 0 // how far the dashes are indented; where the item begins
	inside, found := false, false
	flush := func() {
		if item != nil && len(item) <= objectMax {
			l.yaml(source, item, at)
		} else if item != nil {
			l.skip(inventory.Origin{Source: source, Line: at}, "an object of more than %d MiB", objectMax>>20)
		}
		item = nil
	}
	for number, rest := first, doc; len(rest) > 0; number++ {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			end = len(rest)
		}
		line := rest[:end]
		rest = rest[end:]
		text := bytes.TrimLeft(line, " ")
		indent, blank := len(line)-len(text), len(bytes.TrimSpace(text)) == 0 || text[0] == '#'
		switch {
		case !inside && string(bytes.TrimRight(line, " \r\n")) == "items:":
			if found || !announced(rest) {
				return found
			}
			inside, found, dash = true, true, -1
		case !inside:
		case (indent == dash || dash < 0) && isDash(text):
			flush()
			dash, at = indent, number
			item = append(bytes.Repeat([]byte(" "), indent+1), text[1:]...)
		case blank || indent > dash && item != nil:
			item = append(item, line...)
		default:
			flush()
			inside = false
		}
	}
	flush()
	return found
}

// announced reports whether the first thing of a text is an item.
func announced(rest []byte) bool {
	for line := range bytes.Lines(rest) {
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' {
			return isDash(bytes.TrimLeft(line, " "))
		}
	}
	return false
}

func isDash(text []byte) bool {
	return len(text) > 1 && text[0] == '-' && strings.IndexByte(" \r\n", text[1]) >= 0
}

// readJSON reads one value after the other.
func (l *Loader) readJSON(source string, in io.Reader) error {
	m := &meter{in: in, source: source, line: 1}
	d := json.NewDecoder(m)
	for {
		err := l.value(d, m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case m.err != nil:
			return m.err
		case err != nil:
			l.skip(inventory.Origin{Source: source, Line: m.at(d.InputOffset())}, "%s; the rest of the file is not read", notJSON(err))
			return nil
		}
	}
}

func notJSON(err error) string {
	if errors.Is(err, errObject) {
		return err.Error()
	}
	return "not JSON: " + err.Error()
}

// value reads one object, or a List, whose items are read one by one.
func (l *Loader) value(d *json.Decoder, m *meter) error {
	m.mark(d.InputOffset())
	if t, err := d.Token(); err != nil {
		return err
	} else if l.documents++; t != json.Delim('{') {
		return errors.New("want an object")
	}
	first := m.at(d.InputOffset())
	fields := make(map[string]json.RawMessage)
	listed := false
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return unexpected(err)
		}
		name, _ := t.(string)
		if name == "items" {
			if listed, err = l.items(d, m, fields); err != nil {
				return unexpected(err)
			}
			continue
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return unexpected(err)
		}
		fields[name] = v
	}
	if _, err := d.Token(); err != nil {
		return unexpected(err)
	}
	if listed {
		return nil
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	l.json(m.source, body, lines{first: first}, head{})
	return nil
}

// unexpected makes an end inside a value an error.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// items reads the items of a List; false when they are no list, as a field that
// happens to have this name.
func (l *Loader) items(d *json.Decoder, m *meter, fields map[string]json.RawMessage) (bool, error) {
	t, err := d.Token()
	if err != nil || t == nil { // null: a List of nothing
		return true, err
	}
	if t != json.Delim('[') {
		return false, errors.New("want a list as items")
	}
	var of head
	_ = json.Unmarshal(fields["kind"], &of.Kind) // absent where they come later
	_ = json.Unmarshal(fields["apiVersion"], &of.APIVersion)
	for d.More() {
		m.mark(d.InputOffset())
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return false, err
		}
		first := m.at(d.InputOffset() - int64(len(v)))
		at := lines{first: first}
		if hasParts(v) {
			at = linesOf(v, first)
		}
		l.json(m.source, v, at, of)
	}
	_, err = d.Token()
	return true, err
}

// errObject says that one value is too large.
var errObject = fmt.Errorf("an object of more than %d MiB", objectMax>>20)

// meter counts lines and bounds how much is read for one value: between two marks.
type meter struct {
	in     io.Reader
	source string
	err    error // of in

	read     int64   // in all
	marked   int64   // up to where values have been read
	line     int     // at marked
	newlines []int64 // since marked
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	room := objectMax - (m.read - m.marked)
	if room <= 0 {
		return 0, errObject
	}
	n, err := m.in.Read(p[:min(len(p), int(room))])
	for i, c := range p[:n] {
		if c == '\n' {
			m.newlines = append(m.newlines, m.read+int64(i))
		}
	}
	m.read += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		m.err = err
	}
	return n, err
}

// mark says that all up to an offset is done with.
func (m *meter) mark(offset int64) {
	m.line = m.at(offset)
	n := 0
	for n < len(m.newlines) && m.newlines[n] < offset {
		n++
	}
	m.newlines = append(m.newlines[:0], m.newlines[n:]...)
	m.marked = offset
}

// at is the line of an offset since the mark.
func (m *meter) at(offset int64) int {
	line := m.line
	for _, n := range m.newlines {
		if n >= offset {
			break
		}
		line++
	}
	return line
}
