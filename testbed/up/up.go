//go:build linux

// Package up runs `sallyport up` beside private daemons and reads what it found, through nothing but the command line, as a user would.
package up

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// Process is a running `sallyport up`. It is not safe for concurrent use.
type Process struct {
	State string // its state directory
	Log   string // path of what it prints

	program string
	cmd     *exec.Cmd
	done    chan error
	stopped bool
}

// Start starts program as `up` on the engine, with an empty state directory
// and a log in dir. args are added to the command line.
func Start(program, dir string, e *docker.Engine, args ...string) (*Process, error) {
	return Run(program, dir, exec.Command, append([]string{"--docker", e.Address}, args...)...)
}

// Run starts program as `up`, with an empty state directory and a log in dir, as
// a command that command makes: one of exec.Command, or of another network
// namespace. args are added to the command line.
func Run(program, dir string, command func(name string, args ...string) *exec.Cmd, args ...string) (*Process, error) {
	p := &Process{
		State: filepath.Join(dir, "state"), Log: filepath.Join(dir, "up.log"),
		program: program, done: make(chan error, 1),
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.RemoveAll(p.State)); err != nil {
		return nil, err
	}
	log, err := os.Create(p.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args = append([]string{"up", "--state", p.State, "--listen", "127.0.0.1:0"}, args...)
	p.cmd = command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches the caller, who stops it in order
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

// PID is the process's pid.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ready waits until a command in a container shows up as a session, with its
// process wherever this machine can have the kernel sensor, and, as the witness
// of requests may take longer, until somebody is named for it. It does not ask
// /status: from then on the kernel measures the sensor, which costs time.
func (p *Process) Ready(ctx context.Context, e *docker.Engine) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	canary, err := e.Run(ctx, docker.Image)
	if err != nil {
		return err
	}
	defer e.Remove(context.WithoutCancel(ctx), canary)
	sensor := testbed.Missing(testbed.BPF) == ""
	for seen := 0; seen < 5; {
		if _, err := docker.Output(e.CLI(ctx, "exec", canary, "/bin/busybox", "true")); err != nil {
			return err
		}
		pause(ctx, 500*time.Millisecond)
		sessions, err := p.Sessions(ctx)
		for _, s := range sessions {
			if s.Target.ContainerID != event.ContainerID(canary) || s.Kind != session.KindExec || sensor && len(s.Processes) == 0 {
				continue
			}
			if seen++; s.Attribution.Level == session.LevelExact || s.Attribution.Level == session.LevelStrong {
				return nil
			}
		}
		if failed := p.Failed(); failed != nil {
			return errors.Join(failed, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("sallyport up sees no session of a docker exec within a minute: %w: %s", errors.Join(ctx.Err(), err), tail(p.Log))
		}
	}
	return nil
}

// Failed returns an error when up is gone.
func (p *Process) Failed() error {
	select {
	case err := <-p.done:
		p.stopped = true
		return fmt.Errorf("sallyport up ended by itself: %v: %s", err, tail(p.Log))
	default:
		return nil
	}
}

// Sessions reads what the store holds, as a user would.
func (p *Process) Sessions(ctx context.Context) ([]session.Session, error) {
	return read[session.Session](ctx, p, "sessions", "--since", "24h")
}

// Findings reads what rules found, as a user would.
func (p *Process) Findings(ctx context.Context) ([]finding.Finding, error) {
	return read[finding.Finding](ctx, p, "findings")
}

// read runs a command that prints what the store holds, one JSON object each.
func read[T any](ctx context.Context, p *Process, command string, args ...string) ([]T, error) {
	cmd := exec.CommandContext(ctx, p.program, append([]string{command, "--state", p.State, "--json"}, args...)...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("sallyport %s: %w: %s", command, err, stderr.Bytes())
	}
	var all []T
	for dec := json.NewDecoder(&out); ; {
		var v T
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("sallyport %s: %w", command, err)
		}
		all = append(all, v)
	}
}

// Stop ends up in order. It may be called again.
func (p *Process) Stop() error {
	if p.stopped {
		return nil
	}
	p.stopped = true
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.done:
		if err != nil {
			return fmt.Errorf("sallyport up: %w: %s", err, tail(p.Log))
		}
		return nil
	case <-time.After(30 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("sallyport up does not end within 30 s of SIGTERM: %s", tail(p.Log))
	}
}

// tail returns the end of a log, for error messages.
func tail(path string) string {
	b, _ := os.ReadFile(path)
	return string(b[max(0, len(b)-2000):])
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
