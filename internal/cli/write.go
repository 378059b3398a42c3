package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/lib/printable"
)

// writeJSON writes one object on a line, in a form that does nothing to a
// terminal.
func writeJSON(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(printable.JSON(body), '\n'))
	return err
}

// writeLines writes each of a list as JSON, one to a line.
func writeLines[T any](w io.Writer, list []T) error {
	for i := range list {
		if err := writeJSON(w, list[i]); err != nil {
			return err
		}
	}
	return nil
}

// writeDocument writes JSON on several lines, as a file is kept.
func writeDocument(w io.Writer, v any) error {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(printable.JSON(body), '\n'))
	return err
}

// writer remembers the first error, so that printing need not check each line.
type writer struct {
	to  io.Writer
	err error
}

func (w *writer) line(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.to, format+"\n", args...)
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// duration rounds d to what a person reads.
func duration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Minute:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
