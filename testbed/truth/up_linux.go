package truth

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
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/docker"
)

// up is a running `sallyport up`, known only by its command line, as to a user.
type up struct {
	program string
	state   string
	log     string
	cmd     *exec.Cmd
	done    chan error
	stopped bool
}

func startUp(program, keep string, e *docker.Engine, mode Mode) (*up, error) {
	u := &up{program: program, state: filepath.Join(keep, "state"), log: filepath.Join(keep, "up.log"), done: make(chan error, 1)}
	if err := os.RemoveAll(u.state); err != nil {
		return nil, err
	}
	log, err := os.Create(u.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	u.cmd = exec.Command(program, "up", "--state", u.state, "--docker", e.Address,
		"--listen", "127.0.0.1:0", "--client-requests", string(mode))
	u.cmd.Stdout, u.cmd.Stderr = log, log
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches the harness, which stops it in order
	if err := u.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { u.done <- u.cmd.Wait() }()
	return u, nil
}

// ready waits until a command in a container shows up as a session, and, as
// the witness of requests may take longer, until somebody is named for it.
func (u *up) ready(ctx context.Context, e *docker.Engine) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	canary, err := e.Run(ctx, docker.Image)
	if err != nil {
		return err
	}
	defer e.Remove(context.WithoutCancel(ctx), canary)
	seen := 0
	for seen < 5 {
		if _, err := docker.Output(e.CLI(ctx, "exec", canary, "/bin/busybox", "true")); err != nil {
			return err
		}
		pause(ctx, 500*time.Millisecond)
		sessions, err := u.sessions(ctx)
		for _, s := range sessions {
			if s.Target.ContainerID != event.ContainerID(canary) || s.Kind != session.KindExec {
				continue
			}
			if seen++; s.Attribution.Level == session.LevelExact || s.Attribution.Level == session.LevelStrong {
				return nil
			}
		}
		if failed := u.failed(); failed != nil {
			return errors.Join(failed, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("sallyport up sees no session of a docker exec within a minute: %w: %s", errors.Join(ctx.Err(), err), tail(u.log))
		}
	}
	return nil
}

// failed returns an error when up is gone.
func (u *up) failed() error {
	select {
	case err := <-u.done:
		u.stopped = true
		return fmt.Errorf("sallyport up ended by itself: %v: %s", err, tail(u.log))
	default:
		return nil
	}
}

// sessions reads what the store holds, as a user would.
func (u *up) sessions(ctx context.Context) ([]session.Session, error) {
	cmd := exec.CommandContext(ctx, u.program, "sessions", "--state", u.state, "--since", "24h", "--json")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("sallyport sessions: %w: %s", err, stderr.Bytes())
	}
	var sessions []session.Session
	for dec := json.NewDecoder(&out); ; {
		var s session.Session
		if err := dec.Decode(&s); errors.Is(err, io.EOF) {
			return sessions, nil
		} else if err != nil {
			return nil, fmt.Errorf("sallyport sessions: %w", err)
		}
		sessions = append(sessions, s)
	}
}

// settle waits until every deed has an ended session, for half a minute at most.
func (u *up) settle(ctx context.Context, deeds []Deed) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); pause(ctx, time.Second) {
		sessions, err := u.sessions(ctx)
		if err != nil {
			return err
		}
		if err := u.failed(); err != nil {
			return err
		}
		if settled(deeds, sessions) {
			return nil
		}
	}
	return ctx.Err() // late is not an error: the score tells
}

func settled(deeds []Deed, sessions []session.Session) bool {
	x := newIndex(sessions)
	for i := range deeds {
		found := x.find(&deeds[i])
		if len(found) == 0 || found[0].State == session.StateRunning {
			return false
		}
	}
	return true
}

// stop ends up in order. It may be called again.
func (u *up) stop() error {
	if u.stopped {
		return nil
	}
	u.stopped = true
	u.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-u.done:
		if err != nil {
			return fmt.Errorf("sallyport up: %w: %s", err, tail(u.log))
		}
		return nil
	case <-time.After(30 * time.Second):
		u.cmd.Process.Kill()
		<-u.done
		return fmt.Errorf("sallyport up does not end within 30 s of SIGTERM: %s", tail(u.log))
	}
}

// tail returns the end of a log, for error messages.
func tail(path string) string {
	b, _ := os.ReadFile(path)
	return string(b[max(0, len(b)-2000):])
}

func keepJSON[T any](path string, values []T) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}
