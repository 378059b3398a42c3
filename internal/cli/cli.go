// Package cli is the command line: commands, flags, rendering and all wiring.
//
// Standard output carries the result and nothing else; everything said to a
// person beside it goes to standard error. With --json the result is one JSON
// object per line, and that form is stable. Exit statuses: see the Exit
// constants.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The exit statuses, as `sallyport --help` documents them.
const (
	ExitFine       = 0 // done; nothing to report
	ExitFindings   = 1 // done, with findings (verification failed, host degraded), or the command failed
	ExitUsage      = 2 // the command line, the configuration or the host does not allow the command
	ExitIncomplete = 3 // done in part: damaged input, or evidence that could not be read
)

// environment is what commands see of the outside. Tests give their own;
// nothing else in this package touches os.Args, os.Std* or os.Getenv.
type environment struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	// called is the name by which a person calls the program; "" for its own.
	called string
	// running says that the command line was understood and a command began:
	// an error before that is a usage error.
	running bool
	// began is when: what takes long is counted from there.
	began time.Time
}

// Main runs the command line, whose first word is the program's path, and returns
// the exit status. SIGINT and SIGTERM
// end a command in order; a second one ends the program at once.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	env := &environment{stdin: stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv, began: time.Now()}
	if len(args) == 0 {
		return execute(ctx, env, nil)
	}
	if strings.TrimSuffix(filepath.Base(args[0]), ".exe") == "kubectl-sallyport" {
		env.called = "kubectl sallyport"
	}
	return execute(ctx, env, args[1:])
}

func execute(ctx context.Context, env *environment, args []string) int {
	root := newRoot(env)
	root.SetArgs(args)
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitFine
	}
	return report(env, err)
}

// report prints err with its hint and returns the exit status that it means.
func report(env *environment, err error) int {
	code := ExitFindings
	if !env.running {
		code = ExitUsage
	}
	var f *failure
	if errors.As(err, &f) {
		code = f.code
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(env.stderr, "sallyport: %s\n", text)
	}
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		fmt.Fprintf(env.stderr, "Try: %s\n", h.Hint())
	} else if code == ExitUsage && !env.running {
		fmt.Fprintln(env.stderr, "Try: sallyport --help")
	}
	return code
}

// logger returns the log of a long-running command, on standard error.
func (env *environment) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: level}))
}

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
