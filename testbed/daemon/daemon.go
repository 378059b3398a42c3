//go:build linux

package daemon

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/testbed"
)

// Daemon is a running daemon.
type Daemon struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has exited
}

// Start starts a program whose output goes to the end of the file log.
func Start(program, log string, args ...string) (*Daemon, error) {
	path, err := testbed.LookPath(program)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(path, args...)
	cmd.Env = testbed.Environ()
	cmd.Stdout, cmd.Stderr = f, f
	// A group of its own: Ctrl-C at the terminal must reach the test program
	// first, which then stops the daemon in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &Daemon{name: filepath.Base(program), log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(d.done)
	}()
	return d, nil
}

// PID is the daemon's pid; 0 for a nil Daemon.
func (d *Daemon) PID() int {
	if d == nil {
		return 0
	}
	return d.cmd.Process.Pid
}

// Ready waits until ask succeeds; at most a minute. The error holds the end of
// the log.
func (d *Daemon) Ready(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-d.done:
			return fmt.Errorf("%s exited: %s", d.name, Tail(d.log))
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w: %s", d.name, err, Tail(d.log))
		}
	}
}

// Halt ends the daemon: it asks first and kills after ten seconds.
func (d *Daemon) Halt(ctx context.Context) error {
	if d == nil {
		return nil
	}
	d.Thaw()
	d.cmd.Process.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		d.cmd.Process.Kill()
		<-d.done
		return fmt.Errorf("%s did not stop when asked: %w", d.name, ctx.Err())
	}
}

// Kill ends the daemon with SIGKILL.
func (d *Daemon) Kill() {
	d.cmd.Process.Kill()
	<-d.done
}

// Freeze stops the daemon with SIGSTOP: its socket takes connections and
// answers nothing.
func (d *Daemon) Freeze() error { return d.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (d *Daemon) Thaw() error { return d.cmd.Process.Signal(syscall.SIGCONT) }

// Tail returns the end of a log file, for messages.
func Tail(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}
