package terminal

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/sallyport/sallyport/internal/lib/printable"
)

// WriteJSON writes one object on a line, in a form that does nothing to a
// terminal.
func WriteJSON(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(printable.JSON(body), '\n'))
	return err
}

// WriteLines writes each of a list as JSON, one to a line.
func WriteLines[T any](w io.Writer, list []T) error {
	for i := range list {
		if err := WriteJSON(w, list[i]); err != nil {
			return err
		}
	}
	return nil
}

// WriteDocument writes JSON on several lines, as a file is kept.
func WriteDocument(w io.Writer, v any) error {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(printable.JSON(body), '\n'))
	return err
}

// Writer remembers the first error, so that printing need not check each line.
type Writer struct {
	To  io.Writer
	Err error
}

// Line writes a line.
func (w *Writer) Line(format string, args ...any) {
	if w.Err == nil {
		_, w.Err = fmt.Fprintf(w.To, format+"\n", args...)
	}
}
