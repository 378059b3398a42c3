// Command demo shows what Sallyport sees. On Linux as root it starts a Docker
// engine of its own, lets three people and a few other doors run commands in
// containers, and prints the sessions; elsewhere it replays a capture of the
// same scene. It is `make demo`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/testbed"
)

type options struct {
	program string // sallyport
	replay  string // capture to replay where the scene cannot be played
	capture string // record the scene into this file instead of showing it
	dir     string // what is left behind for a look: the state directory, up's log
}

func main() {
	var o options
	flag.StringVar(&o.program, "sallyport", "bin/sallyport", "the program to show")
	flag.StringVar(&o.replay, "replay", "testbed/demo/testdata/demo.capture.zst", "the capture to replay without root or Linux")
	flag.StringVar(&o.capture, "capture", "", "record the scene into this file instead of showing it")
	flag.StringVar(&o.dir, "dir", "build/demo", "where the state directory and the log are left")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := show(ctx, o); err != nil {
		if ctx.Err() != nil {
			fmt.Fprintln(os.Stderr, "demo: interrupted; everything is cleaned up")
		} else {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
		os.Exit(1)
	}
}

func show(ctx context.Context, o options) error {
	if why := testbed.Missing(testbed.Docker); why != "" {
		say("This machine cannot play the scene (%s); replaying a capture of it instead.", why)
		return replay(ctx, o)
	}
	return play(ctx, o)
}

// replay runs the engine over the kept observations.
func replay(ctx context.Context, o options) error {
	if err := run(ctx, o.program, "replay", o.replay); err != nil {
		return err
	}
	say("\nTo look further:")
	say("  %s replay --json %s | head -1", o.program, o.replay)
	say("  %s doctor        # what this host can see", o.program)
	return nil
}

// run shows a command and runs it.
func run(ctx context.Context, program string, args ...string) error {
	fmt.Printf("\n$ %s\n", strings.Join(append([]string{program}, args...), " "))
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
