package procedures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/testbed"
)

// Act is what a stage plays of one procedure.
type Act struct {
	Procedure string
	Play      func(context.Context) error
}

// programs are the names of stand-ins, by the directory that they lie in.
var programs = map[string][]string{
	"bin": {
		"standin", "apt-get", "yum", "apk", "curl", "ssh", "tmate", "masscan", "chattr", "systemctl",
	},
	"sbin": {"service", "cron"},
}

// build makes the directory dir with bin and sbin, which hold one program under
// all of its names.
func build(ctx context.Context, dir string) (standin string, err error) {
	standin = filepath.Join(dir, "bin", "standin")
	for sub := range programs {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", standin,
		"github.com/sallyport/sallyport/testbed/procedures/standin")
	cmd.Env = append(testbed.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build stand-in: %w: %s", err, out)
	}
	for sub, names := range programs {
		for _, name := range names {
			if name == "standin" {
				continue
			}
			if err := os.Link(standin, filepath.Join(dir, sub, name)); err != nil {
				return "", err
			}
		}
	}
	return standin, nil
}

// server is a running program that others fetch from.
type server struct {
	cmd *exec.Cmd
	out *bytes.Buffer
}

func serve(cmd *exec.Cmd) (*server, error) {
	s := &server{cmd, new(bytes.Buffer)}
	cmd.Stdout, cmd.Stderr = s.out, s.out
	return s, cmd.Start()
}

func (s *server) stop() error {
	if s == nil {
		return nil
	}
	killed := s.cmd.Process.Kill()
	s.cmd.Wait() // killed
	if errors.Is(killed, os.ErrProcessDone) {
		return fmt.Errorf("the source ended by itself: %s", s.out)
	}
	return killed
}

// run runs commands one after the other, each to its end.
func run(cmds ...*exec.Cmd) error {
	for _, cmd := range cmds {
		if _, err := testbed.Output(cmd); err != nil {
			return err
		}
	}
	return nil
}

// await asks until there is no error; ctx or half a minute bounds that.
func await(ctx context.Context, what string, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}
