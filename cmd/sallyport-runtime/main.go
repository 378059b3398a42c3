// Command sallyport-runtime stands in an OCI runtime's place: before a command begins
// in a container it asks the guard, and then becomes the runtime.
//
// It is a program of its own because it is called four times and more for each
// container and once for each exec, and is to cost next to nothing there.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/containerd/door/call"
)

const usage = `sallyport-runtime [--sallyport-FLAG=VALUE ...] ARGUMENT...

An OCI runtime for dockerd and containerd that asks sallyport guard before a command
begins in a container (create, run, restore, exec), and then becomes the runtime.

  --sallyport-runtime=PATH   the runtime (default: runc, where it usually is)
  --sallyport-socket=PATH    where the guard answers (default: /run/sallyport/runtime.sock)
  --sallyport-unguarded      go on when nobody answers there; without, that is refused
`

// options are those of the door; all else is the runtime's.
type options struct {
	runtime, socket string
	unguarded       bool
}

func main() {
	opt, args, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "sallyport-runtime: %v\n\n%s", err, usage)
		os.Exit(2)
	}
	// The runtime is to have its signals as it would without.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	line, err := call.Parse(args)
	if err != nil || line.Begins() {
		err = opt.ask(ctx, call.NewQuestion(line, err))
	}
	stop()
	if err == nil {
		err = become(opt.runtime, args)
	}
	refuse(line, err)
	os.Exit(1)
}

// parse takes the door's own options, which stand first.
func parse(args []string) (options, []string, error) {
	opt := options{socket: "/run/sallyport/runtime.sock"}
	for ; len(args) > 0; args = args[1:] {
		own, ok := strings.CutPrefix(args[0], "--sallyport-")
		if !ok {
			break
		}
		name, value, _ := strings.Cut(own, "=")
		switch {
		case name == "runtime" && value != "":
			opt.runtime = value
		case name == "socket" && value != "":
			opt.socket = value
		case own == "unguarded":
			opt.unguarded = true
		default:
			return opt, args, fmt.Errorf("%s is not understood", args[0])
		}
	}
	return opt, args, nil
}

// ask returns nil when the command may begin.
func (opt *options) ask(ctx context.Context, q *call.Question) error {
	a, err := call.Ask(ctx, opt.socket, q)
	switch {
	case errors.Is(err, call.ErrNobody) && opt.unguarded:
		return nil
	case errors.Is(err, call.ErrNobody):
		return fmt.Errorf("sallyport guard does not answer: %w (start it, or let commands begin without it by --sallyport-unguarded)", err)
	case err != nil:
		return err
	case !a.Allow:
		return errors.New(strings.TrimPrefix(a.Message, "sallyport: "))
	}
	return nil
}

// become makes the runtime of this process. It returns only when that fails.
func become(runtime string, args []string) error {
	path, err := find(runtime)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, append([]string{path}, args...), os.Environ()))
}

// find returns the runtime's path. Shims may have no PATH.
func find(runtime string) (string, error) {
	if runtime != "" {
		return runtime, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if path, err := exec.LookPath(dir + "/runc"); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no runc: name the runtime with --sallyport-runtime=PATH")
}

// refuse says why nothing begins, where the caller reads it: dockerd and containerd
// in the file of --log, a person on standard error.
func refuse(line *call.Line, why error) {
	text := "sallyport: " + why.Error()
	fmt.Fprintln(os.Stderr, text)
	if line.Log == "" {
		return
	}
	f, err := os.OpenFile(line.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return // standard error has it
	}
	defer f.Close()
	at := time.Now().UTC().Format(time.RFC3339)
	if line.LogFormat == "json" {
		_ = json.NewEncoder(f).Encode(map[string]string{"level": "error", "msg": text, "time": at})
		return
	}
	fmt.Fprintf(f, "time=%q level=error msg=%q\n", at, text)
}
