package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/lib/printable"
)

// The size of a terminal when nobody said: asciicast demands one.
const (
	colsDefault = 80
	rowsDefault = 24
)

// asciicastHeader is the first line of an asciicast v3
// (docs.asciinema.org/manual/asciicast/v3).
type asciicastHeader struct {
	Version   int           `json:"version"`
	Term      asciicastTerm `json:"term"`
	Timestamp int64         `json:"timestamp"`
	Command   string        `json:"command,omitempty"`
	Title     string        `json:"title,omitempty"`
}

type asciicastTerm struct {
	Cols uint16 `json:"cols"`
	Rows uint16 `json:"rows"`
}

// WriteAsciicast writes a recording as asciicast v3. Stdout and stderr are one
// there, text that is not UTF-8 is replaced (U+FFFD), and gaps and masked input
// become markers. Newlines of what had no terminal get the carriage return that
// a terminal would have added.
//
// The error of a torn recording comes after everything that could be read.
func WriteAsciicast(to io.Writer, h Header, list iter.Seq2[Frame, error]) error {
	w := asciicast{to: bufio.NewWriter(to), tty: h.TTY}
	head := asciicastHeader{Version: 3, Term: asciicastTerm{h.Cols, h.Rows}, Timestamp: h.Started.Unix(), Title: h.title()}
	if h.Cols == 0 || h.Rows == 0 {
		head.Term = asciicastTerm{colsDefault, rowsDefault}
	}
	head.Command = h.command()
	w.line(head)
	var torn error
	for f, err := range list {
		if err != nil {
			torn = err
			w.event(w.last, "m", err.Error())
			break
		}
		w.frame(&f)
	}
	w.rest()
	if w.err == nil {
		w.err = w.to.Flush()
	}
	if w.err != nil {
		return fmt.Errorf("write asciicast: %w", w.err)
	}
	return torn
}

// command returns the command line, "" when there is none.
func (h *Header) command() string {
	argv := make([]string, len(h.Argv))
	for i, a := range h.Argv {
		argv[i] = string(a)
	}
	return printable.Command(argv)
}

func (h *Header) title() string {
	parts := []string{string(h.Kind), h.Target.ContainerName, h.ID}
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

// asciicast writes lines and remembers the first error.
type asciicast struct {
	to   *bufio.Writer
	tty  bool
	last time.Duration
	part [streams][]byte // of a character that was split between two frames
	err  error
}

func (w *asciicast) line(v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil && w.err == nil {
		w.err = err
	}
	if w.err == nil {
		_, w.err = w.to.Write(b.Bytes())
	}
}

// event writes an event at a time since the start. The format has intervals;
// those of the rounded times add up, those rounded themselves would drift.
func (w *asciicast) event(at time.Duration, code, data string) {
	at = max(at, w.last).Truncate(time.Microsecond)
	interval := json.Number(strconv.FormatFloat((at - w.last).Seconds(), 'f', 6, 64))
	w.last = at
	w.line([]any{interval, code, data})
}

func (w *asciicast) frame(f *Frame) {
	switch {
	case f.Size != nil:
		w.event(f.At, "r", fmt.Sprintf("%dx%d", f.Size.Cols, f.Size.Rows))
	case f.End != nil:
		w.rest()
		if f.End.Exit != nil {
			w.event(f.At, "x", strconv.Itoa(*f.End.Exit))
		} else if f.End.Why != "" {
			w.event(f.At, "m", f.End.Why)
		}
	case f.note() != "":
		w.event(f.At, "m", f.note())
	case len(f.Data) > 0:
		w.data(f)
	}
}

func (w *asciicast) data(f *Frame) {
	p := append(w.part[f.Stream], f.Data...)
	whole := len(p)
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if c := p[len(p)-n]; utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-n:]) {
				whole = len(p) - n
			}
			break
		}
	}
	w.part[f.Stream] = bytes.Clone(p[whole:])
	if whole > 0 {
		w.text(f.At, f.Stream, p[:whole])
	}
}

func (w *asciicast) text(at time.Duration, s Stream, p []byte) {
	code, text := "o", string(p)
	if s == Stdin {
		code = "i"
	} else if !w.tty {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	w.event(at, code, text)
}

// rest writes what is left of characters that never became whole.
func (w *asciicast) rest() {
	for s := range w.part {
		if len(w.part[s]) > 0 {
			w.text(w.last, Stream(s), w.part[s])
			w.part[s] = nil
		}
	}
}

// note returns what there is to say to a person of a frame, "" for most.
func (f *Frame) note() string {
	switch {
	case f.Gap != nil:
		return fmt.Sprintf("gap: %d bytes of %s are not recorded: %s", f.Gap.Bytes, f.Stream, printable.Text(f.Gap.Why))
	case f.Masked > 0:
		return fmt.Sprintf("%d bytes typed without echo", f.Masked)
	}
	return ""
}

// WriteRaw writes the bytes of streams as they came, exactly.
func WriteRaw(to io.Writer, which func(Stream) bool, list iter.Seq2[Frame, error]) error {
	w := bufio.NewWriter(to)
	for f, err := range list {
		if err != nil {
			return joinFlush(w, err)
		}
		if !which(f.Stream) {
			continue
		}
		if _, err := w.Write(f.Data); err != nil {
			return err
		}
	}
	return w.Flush()
}

func joinFlush(w *bufio.Writer, err error) error {
	if e := w.Flush(); e != nil {
		return e
	}
	return err
}
