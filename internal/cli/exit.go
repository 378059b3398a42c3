package cli

import (
	"context"
	"errors"
	"fmt"
)

// The exit statuses, as `sallyport --help` documents them.
const (
	ExitFine       = 0 // done; nothing to report
	ExitFindings   = 1 // done, with findings (verification failed, host degraded), or the command failed
	ExitUsage      = 2 // the command line, the configuration or the host does not allow the command
	ExitIncomplete = 3 // done in part: damaged input, or evidence that could not be read
)

// failure is an error that decides the exit status and says what to do next.
type failure struct {
	code int
	err  error // nil: everything was said already
	hint string
}

// Error implements error.
func (f *failure) Error() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}

// Unwrap implements what errors.Is and errors.As need.
func (f *failure) Unwrap() error { return f.err }

// Hint says what to do next, "" when there is nothing to say.
func (f *failure) Hint() string {
	var h interface{ Hint() string }
	if f.hint == "" && f.err != nil && errors.As(f.err, &h) {
		return h.Hint()
	}
	return f.hint
}

// fail returns an error with an exit status and a hint.
func fail(code int, hint, format string, args ...any) error {
	return &failure{code: code, hint: hint, err: fmt.Errorf(format, args...)}
}

// status returns an error that only sets the exit status: what there is to say
// is already part of the output.
func status(code int) error { return &failure{code: code} }

// incomplete turns an error in the middle of a result into the exit status that
// says so.
func incomplete(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	return &failure{code: ExitIncomplete, err: err}
}
