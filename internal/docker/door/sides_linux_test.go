package door_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// side is one of two ways to the daemon, and what a person sees who goes it.
type side struct {
	t    testing.TB
	e    *docker.Engine
	cli  string   // the program
	sub  []string // what its arguments begin with
	env  []string
	name string // of whatever is made, other than on the other side
	dir  string // an empty directory
	mark string // what the name is written as in steps
	all  []step
	last time.Time // when a step was over
	// kills says that the command is killed on purpose.
	kills bool
}

// step is one command, and what comes of it.
type step struct {
	Args           string
	Exit           int
	Stdout, Stderr string
}

// sides does the same directly and through the door, at once, and compares what
// is seen.
func sides(t *testing.T, d *doorway, cli string, work func(*side)) {
	t.Helper()
	way := func(which, host string) *side {
		s := &side{t: t, e: d.engine, cli: cli, name: "wf" + which + strings.ToLower(regexp.MustCompile(`\W+`).ReplaceAllString(t.Name(), "")), dir: t.TempDir(), mark: "NAME", last: time.Now()}
		s.env = append(testbed.Environ(), "DOCKER_HOST="+host, "DOCKER_CONFIG="+filepath.Join(d.engine.Dir, "cli"), "HOME="+s.dir)
		return s
	}
	direct, behind := way("d", d.engine.Address), way("g", "unix://"+d.socket)
	var both sync.WaitGroup
	both.Go(func() { work(direct) })
	both.Go(func() { work(behind) })
	both.Wait()
	if len(direct.all) == 0 && !t.Failed() {
		t.Error("nothing was done")
	}
	if diff := cmp.Diff(direct.all, behind.all); diff != "" {
		t.Errorf("-direct +behind the door:\n%s", diff)
	}
}

// patience is how long anything may take before it counts as stuck.
const patience = 2 * time.Minute

// command returns the docker command line, to be run this way.
func (s *side) command(args ...string) *exec.Cmd {
	return s.program(s.cli, append(s.sub[:len(s.sub):len(s.sub)], args...)...)
}

func (s *side) program(path string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir = s.env, s.dir
	cmd.WaitDelay = time.Second
	return cmd
}

// docker runs a command line and keeps what comes of it.
func (s *side) docker(args ...string) step { return s.run(nil, s.command(args...)) }

// in is docker with input.
func (s *side) in(input string, args ...string) step {
	return s.run(strings.NewReader(input), s.command(args...))
}

// ok is docker that has to succeed.
func (s *side) ok(args ...string) step {
	s.t.Helper()
	got := s.docker(args...)
	if got.Exit != 0 {
		s.t.Errorf("%s: %+v", s.name, got)
	}
	return got
}

func (s *side) run(input io.Reader, cmd *exec.Cmd) step {
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &out, &errs
	err := cmd.Run()
	return s.keep(cmd, err, out.String(), errs.String())
}

func (s *side) keep(cmd *exec.Cmd, err error, stdout, stderr string) step {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Errorf("%s: %s: %v", s.name, cmd, err)
	}
	if cmd.ProcessState == nil {
		return step{}
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signal() == syscall.SIGKILL && !s.kills {
		s.t.Errorf("%s: %s does not end after %q %q", s.name, cmd, stdout, stderr)
	}
	got := step{s.plain(strings.Join(cmd.Args, " ")), cmd.ProcessState.ExitCode(), s.plain(stdout), s.plain(stderr)}
	s.all = append(s.all, got)
	s.t.Logf("%s: %s: %d, after %v and %v of CPU", s.name, got.Args, got.Exit, time.Since(s.last).Round(time.Millisecond),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(time.Millisecond))
	s.last = time.Now()
	return got
}

var (
	hexes  = regexp.MustCompile(`\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b`)
	asked  = regexp.MustCompile(`([cC])ontainer "?(NAME\w*|[0-9a-f]{64})\b"?`)
	stamps = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ][0-9:.]+(Z|[ +0-9UTC]+)?`)
)

// plain takes out of a text what differs from one run to the next.
func (s *side) plain(text string) string {
	text = strings.NewReplacer(s.name, s.mark, s.dir, "DIR").Replace(text)
	// The daemon is asked for the full id, and some of its messages repeat what it was
	// asked for.
	text = asked.ReplaceAllString(text, "${1}ontainer WHICH")
	return stamps.ReplaceAllString(hexes.ReplaceAllString(text, "ID"), "TIME")
}

// box starts a container that stays, and is removed at the end.
func (s *side) box(args ...string) {
	s.t.Helper()
	s.gone(s.name)
	if got := s.ok(append([]string{"run", "-d", "--name", s.name}, args...)...); got.Stdout != "ID\n" {
		s.t.Errorf("%+v", got)
	}
}

// gone removes a container at the end.
func (s *side) gone(name string) {
	s.t.Cleanup(func() { _ = s.e.Remove(context.Background(), name) })
}

func (s *side) file(name, text string) string {
	path := filepath.Join(s.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
		s.t.Error(err)
	}
	return path
}

// screen is a person at a terminal.
type screen struct {
	side   *side
	master *os.File
	cmd    *exec.Cmd
	seen   lines
	ended  chan struct{}
}

// terminal runs a command on a terminal; script says what the person does.
func (s *side) terminal(script func(*screen), cmd *exec.Cmd) step {
	cmd.Env = append(cmd.Env, "TERM=dumb")
	master, err := testbed.StartTerminal(cmd, 0)
	if err != nil {
		s.t.Error(err)
		return step{}
	}
	defer master.Close()
	c := &screen{side: s, master: master, cmd: cmd, ended: make(chan struct{})}
	go func() { _, _ = io.Copy(&c.seen, master); close(c.ended) }() // ends with EIO
	script(c)
	err = cmd.Wait()
	<-c.ended
	return s.keep(cmd, err, distinct(c.seen.String()), "")
}

// distinct leaves out lines that repeat the one before.
func distinct(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if len(out) == 0 || out[len(out)-1] != line {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// await waits until a text stands on the screen.
func (c *screen) await(text string) {
	if !c.side.until(func() bool { return strings.Contains(c.seen.String(), text) }) {
		c.side.t.Errorf("%s: %s does not say %q but %q", c.side.name, c.cmd, text, c.seen.String())
	}
}

// until waits until something has come about, and reports whether it did.
func (s *side) until(ok func() bool) bool {
	for end := time.Now().Add(patience / 2); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// talks runs a command whose input follows from its output.
func (s *side) talks(script func(say func(string), await func(string)), cmd *exec.Cmd) {
	seen := &lines{}
	cmd.Stdout = seen
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Error(err)
		return
	}
	script(func(text string) {
		if _, err := io.WriteString(stdin, text); err != nil {
			s.t.Error(err)
		}
	}, func(text string) {
		if !s.until(func() bool { return strings.Contains(seen.String(), text) }) {
			s.t.Errorf("%s: %s says %q", s.name, cmd, seen.String())
		}
	})
	_ = stdin.Close()
	s.keep(cmd, cmd.Wait(), seen.String(), "")
}

// types types.
func (c *screen) types(text string) {
	if _, err := io.WriteString(c.master, text); err != nil {
		c.side.t.Error(err)
	}
}

// size changes the size of the terminal.
func (c *screen) size(rows, cols uint16) {
	raw, err := c.master.SyscallConn()
	if err == nil {
		err = errors.Join(err, raw.Control(func(fd uintptr) {
			err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
		}))
	}
	if err != nil {
		c.side.t.Error(err)
	}
}

// watch runs a command that does not end by itself, until a signal: enough says
// when it has said enough. Lines that repeat the one before are kept once.
func (s *side) watch(sig syscall.Signal, enough func(seen string) bool, cmd *exec.Cmd) step {
	seen, errs := &lines{}, &lines{}
	cmd.Stdout, cmd.Stderr = seen, errs
	if err := cmd.Start(); err != nil {
		s.t.Error(err)
		return step{}
	}
	if !s.until(func() bool { return enough(seen.String()) }) {
		s.t.Errorf("%s: %s says %q", s.name, cmd, seen.String())
	}
	s.kills = sig == syscall.SIGKILL
	defer func() { s.kills = false }()
	_ = cmd.Process.Signal(sig)
	return s.keep(cmd, cmd.Wait(), distinct(seen.String()), errs.String())
}
