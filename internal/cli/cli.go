// Package cli is the command line: commands, flags, rendering and all wiring.
//
// Each command, or what belongs together, has a package below: coverage, doctor, guard,
// kube, node, recordings, replay, rules, scan, sessions, up. They share what they have
// of their surroundings (terminal, exit, build, modest), the configuration and the state
// directory (config, statedir), what can be watched (host, starts), what is read
// (evidence, ruleset), and how it looks (view). No command imports another, but for
// coverage, which asks doctor.
//
// Standard output carries the result and nothing else; everything said to a
// person beside it goes to standard error. With --json the result is one JSON
// object per line, and that form is stable. Exit statuses: see package exit.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
)

// commandLine is one run of the program.
type commandLine struct {
	*terminal.Env
	// called is the name by which a person calls the program; "" for its own.
	called string
	// running says that the command line was understood and a command began:
	// an error before that is a usage error.
	running bool
}

// Main runs the command line, whose first word is the program's path, and returns
// the exit status. SIGINT and SIGTERM end a command in order; a second one ends the
// program at once.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	c := &commandLine{Env: &terminal.Env{Stdin: stdin, Stdout: stdout, Stderr: stderr, Getenv: os.Getenv, Began: time.Now()}}
	if len(args) == 0 {
		return c.execute(ctx, nil)
	}
	if strings.TrimSuffix(filepath.Base(args[0]), ".exe") == "kubectl-sallyport" {
		c.called = "kubectl sallyport"
	}
	return c.execute(ctx, args[1:])
}

func (c *commandLine) execute(ctx context.Context, args []string) int {
	root := newRoot(c)
	root.SetArgs(args)
	root.InitDefaultCompletionCmd(args...)
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		refuseUnknown(completion)
	}
	root.SetIn(c.Stdin)
	root.SetOut(c.Stdout)
	root.SetErr(c.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	word := slices.IndexFunc(args, func(a string) bool { return !strings.HasPrefix(a, "-") })
	if e := new(exit.Error); err != nil && cmd == root && !c.running && word >= 0 && !errors.As(err, &e) { // cobra's own
		err = unknown(root, args[word])
	}
	return exit.Report(c.Stderr, err, c.running)
}
