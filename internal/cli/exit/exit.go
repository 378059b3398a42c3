// Package exit holds the exit statuses of commands, and the errors that decide them
// and say what to do next.
package exit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The exit statuses, as `sallyport --help` documents them.
const (
	Fine       = 0 // done; nothing to report
	Findings   = 1 // done, with findings (verification failed, host degraded), or the command failed
	Usage      = 2 // the command line, the configuration or the host does not allow the command
	Incomplete = 3 // done in part: damaged input, or evidence that could not be read
)

// Error is an error that decides the exit status and says what to do next.
type Error struct {
	Code int
	Err  error // nil: everything was said already
	hint string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap implements what errors.Is and errors.As need.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what to do next, "" when there is nothing to say.
func (e *Error) Hint() string {
	var h interface{ Hint() string }
	if e.hint == "" && e.Err != nil && errors.As(e.Err, &h) {
		return h.Hint()
	}
	return e.hint
}

// Fail returns an error with an exit status and a hint.
func Fail(code int, hint, format string, args ...any) error {
	return &Error{Code: code, hint: hint, Err: fmt.Errorf(format, args...)}
}

// Status returns an error that only sets the exit status: what there is to say
// is already part of the output.
func Status(code int) error { return &Error{Code: code} }

// CutShort turns an error in the middle of a result into the exit status that
// says so. That somebody interrupted it is one: what was printed is not all.
func CutShort(err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{Code: Incomplete, Err: err}
}

// Report prints err, which may be nil, with its hint, and returns the exit status that
// it means. An error before a command began is a usage error, and so is that the host
// does not permit it. A command that was interrupted is done in part.
func Report(w io.Writer, err error, began bool) int {
	if err == nil {
		return Fine
	}
	code, forbidden := Findings, errors.Is(err, fs.ErrPermission)
	if !began || forbidden {
		code = Usage
	}
	var e *Error
	if errors.As(err, &e) {
		code = e.Code
	}
	text := err.Error()
	if errors.Is(err, context.Canceled) { // by SIGINT or SIGTERM: nothing else ends what a command does
		code, text = Incomplete, "interrupted"
	}
	if text != "" {
		fmt.Fprintf(w, "sallyport: %s\n", text)
	}
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		fmt.Fprintf(w, "Try: %s\n", h.Hint())
	} else if code == Usage && !began {
		fmt.Fprintln(w, "Try: sallyport --help")
	} else if forbidden && os.Geteuid() > 0 { // -1 on Windows
		fmt.Fprintln(w, "Try: run it as root")
	}
	return code
}
