//go:build linux

// Package docker starts a private Docker engine: Debian's dockerd, or the one that
// SALLYPORT_ENGINE names (make test-engine), with its own containerd, data root, exec
// root and socket, that leaves the host's network alone, with images that were built
// without a registry.
//
// The core (Start, Engine) returns errors and serves programs as well as
// tests; Main, Shared and the methods that end in T are for tests.
//
// Everything of an engine lives under one run-unique directory, so any number
// of engines run side by side; Stop removes all of it. What a killed program
// left behind is removed by the next Start of anybody.
package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/daemon"
	"github.com/sallyport/sallyport/testbed/docker/release"
)

// ClientGID is the group of the engine's socket. A process of any uid with this
// group may talk to the engine; the group needs no entry in /etc/group.
const ClientGID = 2375

// Options tunes an engine; the zero value is good.
type Options struct {
	// Flags are added to dockerd's.
	Flags []string
	// Config is what daemon.json holds; "" is {}.
	Config string
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
	d    *daemon.Daemon // guarded by mu: Restart changes it
}

// Start starts an engine and returns when it answers and has the images. ctx
// bounds the start only.
func Start(ctx context.Context, opts Options) (*Engine, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	daemon.Sweep(opts.Logger)
	dir, err := newDir(cmp.Or(opts.Config, "{}\n"))
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

// newDir makes the engine's directory, with a configuration for dockerd and for
// its clients that keeps both from reading the machine's.
func newDir(config string) (string, error) {
	dir, err := daemon.NewDir("docker")
	if err != nil {
		return "", err
	}
	cli := filepath.Join(dir, "cli")
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "daemon.json"), []byte(config), 0o644),
		os.Mkdir(cli, 0o755), testbed.Lend(cli, "docker"),
	)
	if engine := os.Getenv(testbed.EnvEngine); engine != "" {
		err = errors.Join(err, os.Symlink(filepath.Join(engine, release.Plugins), filepath.Join(cli, release.Plugins)))
	}
	return dir, err
}

// daemon returns the running dockerd, nil before the first start.
func (e *Engine) daemon() *daemon.Daemon {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.d
}

// PID is dockerd's pid; it changes with Restart.
func (e *Engine) PID() int { return e.daemon().PID() }

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
	d, err := daemon.Start(cmp.Or(e.opts.Dockerd, "dockerd"), e.Log, e.flags()...)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.d = d
	e.mu.Unlock()
	client := e.HTTPClient()
	defer client.CloseIdleConnections()
	return d.Ready(ctx, func(ctx context.Context) error { return ping(ctx, client) })
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

// Restart stops dockerd and its containerd in order and starts them again on
// the same data. Containers keep running.
func (e *Engine) Restart(ctx context.Context) error {
	if err := e.Halt(ctx); err != nil {
		return fmt.Errorf("restart docker engine: %w", err)
	}
	return e.Boot(ctx)
}

// Halt ends dockerd and its containerd, as Restart does; containers keep
// running. Boot starts them again.
func (e *Engine) Halt(ctx context.Context) error {
	e.Thaw()
	return e.daemon().Halt(ctx)
}

// Kill kills dockerd and its containerd with SIGKILL; containers keep running. Boot
// starts them again.
func (e *Engine) Kill() error {
	containerd := e.ContainerdPID()
	e.daemon().Kill()
	_ = signal(containerd, syscall.SIGKILL) // it may have died with dockerd
	// Until somebody reaps it, the next dockerd would take it for one that runs.
	if err := os.Remove(filepath.Join(e.ExecRoot, "containerd", "containerd.pid")); err != nil {
		return fmt.Errorf("kill docker engine: %w", err)
	}
	return nil
}

// Boot starts the daemons that Halt or Kill ended and returns when dockerd answers.
func (e *Engine) Boot(ctx context.Context) error {
	if err := e.boot(ctx); err != nil {
		return fmt.Errorf("boot docker engine: %w", err)
	}
	return nil
}

// Freeze stops dockerd with SIGSTOP: its socket takes connections and answers
// nothing.
func (e *Engine) Freeze() error { return e.daemon().Freeze() }

// FreezeContainerd stops the daemon's containerd with SIGSTOP.
func (e *Engine) FreezeContainerd() error { return signal(e.ContainerdPID(), syscall.SIGSTOP) }

// Thaw ends Freeze and FreezeContainerd.
func (e *Engine) Thaw() {
	signal(e.PID(), syscall.SIGCONT)
	signal(e.ContainerdPID(), syscall.SIGCONT)
}

// signal never signals pid 0, which would be the caller's own group.
func signal(pid int, sig syscall.Signal) error {
	if pid <= 1 {
		return os.ErrProcessDone
	}
	return syscall.Kill(pid, sig)
}
