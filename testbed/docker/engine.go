//go:build linux

// Package docker starts a private Docker engine: Debian's dockerd with its own
// containerd, data root, exec root and socket, that leaves the host's network
// alone, with images that were built without a registry.
//
// The core (Start, Engine) returns errors and serves programs as well as
// tests; Main, Shared and the methods that end in T are for tests.
//
// Everything of an engine lives under one run-unique directory, so any number
// of engines run side by side; Stop removes all of it. What a killed program
// left behind is removed by the next Start of anybody.
package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/testbed"
)

// ClientGID is the group of the engine's socket. A process of any uid with this
// group may talk to the engine; the group needs no entry in /etc/group.
const ClientGID = 2375

// Options tunes an engine; the zero value is good.
type Options struct {
	// Flags are added to dockerd's.
	Flags []string
	// Dockerd is the program to run; "" finds dockerd.
	Dockerd string
	// Logger hears about clean-up that did not go well; nil is silent.
	Logger *slog.Logger
}

// Engine is a running private Docker engine. Its methods may be called from
// several goroutines, except Restart and Stop, which may not overlap anything.
type Engine struct {
	Dir              string // everything of this engine is under it
	Socket           string // path of the API's unix socket, group ClientGID
	Address          string // "unix://" + Socket, for DOCKER_HOST
	ContainerdSocket string // path of the daemon's own containerd
	ExecRoot         string
	DataRoot         string
	Log              string // path of dockerd's log

	opts Options
	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when dockerd has exited
}

// Start starts an engine and returns when it answers and has the images. ctx
// bounds the start only.
func Start(ctx context.Context, opts Options) (*Engine, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	sweep(opts.Logger)
	dir, err := newDir()
	if err != nil {
		return nil, fmt.Errorf("start docker engine: %w", err)
	}
	e := &Engine{
		Dir:      dir,
		Socket:   filepath.Join(dir, "d.sock"),
		Address:  "unix://" + filepath.Join(dir, "d.sock"),
		ExecRoot: filepath.Join(dir, "x"),
		DataRoot: filepath.Join(dir, "data"),
		Log:      filepath.Join(dir, "dockerd.log"),
		opts:     opts,
	}
	e.ContainerdSocket = filepath.Join(e.ExecRoot, "containerd", "containerd.sock")
	err = e.boot(ctx)
	if err == nil {
		err = e.importImages(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start docker engine: %w", err), e.Stop())
	}
	return e, nil
}

// PID is dockerd's pid; it changes with Restart.
func (e *Engine) PID() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cmd == nil {
		return 0
	}
	return e.cmd.Process.Pid
}

// ContainerdPID is the pid of the daemon's own containerd, 0 when it is not
// running.
func (e *Engine) ContainerdPID() int {
	b, err := os.ReadFile(filepath.Join(e.ExecRoot, "containerd", "containerd.pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// boot starts dockerd and waits until it answers.
func (e *Engine) boot(ctx context.Context) error {
	program := e.opts.Dockerd
	if program == "" {
		p, err := testbed.LookPath("dockerd")
		if err != nil {
			return err
		}
		program = p
	}
	logFile, err := os.OpenFile(e.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	cmd := exec.Command(program, e.flags()...)
	cmd.Env = testbed.Environ()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	// A group of its own: Ctrl-C at the terminal must reach the test program
	// first, which then stops the engine in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	e.mu.Lock()
	e.cmd, e.done = cmd, done
	e.mu.Unlock()
	go func() {
		cmd.Wait()
		close(done)
	}()
	return e.ready(ctx, done)
}

// flags are dockerd's. Those about bridge, iptables and forwarding keep it from
// touching the network of the machine. live-restore keeps containers running
// over Restart, as a host's operator would want it.
func (e *Engine) flags() []string {
	return append([]string{
		"--data-root", e.DataRoot, "--exec-root", e.ExecRoot, "--pidfile", filepath.Join(e.Dir, "dockerd.pid"),
		"--host", e.Address, "--group", strconv.Itoa(ClientGID), "--config-file", filepath.Join(e.Dir, "daemon.json"),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--live-restore",
	}, e.opts.Flags...)
}

// ready waits until dockerd answers a ping or has exited.
func (e *Engine) ready(ctx context.Context, done <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client := e.HTTPClient()
	defer client.CloseIdleConnections()
	for tick := time.NewTicker(25 * time.Millisecond); ; {
		if ping(ctx, client) == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-done:
			return fmt.Errorf("dockerd exited: %s", tail(e.Log))
		case <-ctx.Done():
			return fmt.Errorf("dockerd does not answer: %w: %s", ctx.Err(), tail(e.Log))
		}
	}
}

// HTTPClient returns a client of the engine's API, for URLs of any host:
// "http://docker/v1.41/…".
func (e *Engine) HTTPClient() *http.Client {
	var d net.Dialer
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", e.Socket)
		},
	}}
}

func ping(ctx context.Context, c *http.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 1<<10))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ping docker: %s", res.Status)
	}
	return nil
}

// tail returns the end of a log file, for error messages.
func tail(path string) string {
	b, _ := os.ReadFile(path)
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return strings.TrimSpace(string(b))
}

// Restart stops dockerd and its containerd in order and starts them again on
// the same data. Containers keep running.
func (e *Engine) Restart(ctx context.Context) error {
	if err := e.halt(ctx); err != nil {
		return fmt.Errorf("restart docker engine: %w", err)
	}
	if err := e.boot(ctx); err != nil {
		return fmt.Errorf("restart docker engine: %w", err)
	}
	return nil
}

// halt ends dockerd, first asking, then killing it.
func (e *Engine) halt(ctx context.Context) error {
	e.mu.Lock()
	cmd, done := e.cmd, e.done
	e.mu.Unlock()
	if cmd == nil {
		return nil
	}
	e.Thaw()
	cmd.Process.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		cmd.Process.Kill()
		<-done
		return fmt.Errorf("dockerd did not stop when asked: %w", ctx.Err())
	}
}

// Freeze stops dockerd with SIGSTOP: its socket takes connections and answers
// nothing.
func (e *Engine) Freeze() error { return syscall.Kill(e.PID(), syscall.SIGSTOP) }

// Thaw ends Freeze and FreezeContainerd.
func (e *Engine) Thaw() {
	for _, pid := range []int{e.PID(), e.ContainerdPID()} {
		if pid > 1 {
			syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}

// FreezeContainerd stops the daemon's containerd with SIGSTOP.
func (e *Engine) FreezeContainerd() error { return syscall.Kill(e.ContainerdPID(), syscall.SIGSTOP) }
