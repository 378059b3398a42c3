//go:build linux

// Package containerd starts a private containerd without Docker: own root,
// state and socket, no CRI, containers from a root file system instead of
// images.
//
// The core (Start, Runtime) returns errors and serves programs as well as
// tests; New and RunT are for tests.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/daemon"
)

// Namespace is where Run puts containers.
const Namespace = "default"

// Runtime is a running private containerd.
type Runtime struct {
	Dir    string // everything of it is under this directory
	Socket string
	Rootfs string // busybox with its applets and actor, shared by all containers

	d *daemon.Daemon
	n atomic.Uint32 // containers so far
}

// config is for containerd 1.6 and, because it keeps reading version 2, for 2.x.
const config = `version = 2
root = %[1]q
state = %[2]q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = %[3]q
[ttrpc]
  address = %[4]q
`

// Start starts a containerd and returns when it answers. ctx bounds the start
// only. A nil logger is silent.
func Start(ctx context.Context, log *slog.Logger) (*Runtime, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	daemon.Sweep(log)
	dir, err := daemon.NewDir("containerd")
	if err != nil {
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	r := &Runtime{Dir: dir, Socket: filepath.Join(dir, "containerd.sock"), Rootfs: filepath.Join(dir, "rootfs")}
	if err := r.boot(ctx); err != nil {
		r.Stop()
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	return r, nil
}

func (r *Runtime) boot(ctx context.Context) error {
	if err := errors.Join(testbed.UnpackRootfs(ctx, r.Rootfs), testbed.Lend(r.Dir, "ctr")); err != nil {
		return err
	}
	text := fmt.Sprintf(config, filepath.Join(r.Dir, "root"), filepath.Join(r.Dir, "state"), r.Socket, r.Socket+".ttrpc")
	file := filepath.Join(r.Dir, "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	d, err := daemon.Start("containerd", filepath.Join(r.Dir, "log"), "--config", file)
	if err != nil {
		return err
	}
	r.d = d
	return d.Ready(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return r.Ctr(ctx, "version").Run()
	})
}

// PID is containerd's pid.
func (r *Runtime) PID() int { return r.d.PID() }

// Freeze stops containerd with SIGSTOP; Thaw ends that.
func (r *Runtime) Freeze() error { return r.d.Freeze() }

// Thaw ends Freeze.
func (r *Runtime) Thaw() error { return r.d.Thaw() }

// Ctr returns ctr with args, for this containerd and Namespace.
func (r *Runtime) Ctr(ctx context.Context, args ...string) *exec.Cmd {
	path, err := testbed.LookPathIn(r.Dir, "ctr")
	if err != nil {
		path = "ctr" // Start reports it
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"-a", r.Socket, "-n", Namespace}, args...)...)
	cmd.Env = testbed.Environ()
	return cmd
}

// Run starts a container in the background and returns its id, which is unique
// on the machine: runc's state and cgroups are not below Dir.
func (r *Runtime) Run(ctx context.Context, argv ...string) (string, error) {
	id := filepath.Base(r.Dir) + "-" + strconv.Itoa(int(r.n.Add(1)))
	args := append([]string{"run", "-d", "--runc-root", filepath.Join(r.Dir, "runc"), "--rootfs", r.Rootfs, id}, argv...)
	_, err := testbed.Output(r.Ctr(ctx, args...))
	return id, err
}

// Stop ends containerd and its containers and removes all of it.
func (r *Runtime) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r.d.Halt(ctx) // best effort: Clean kills
	if err := daemon.Clean(r.Dir); err != nil {
		return fmt.Errorf("stop containerd: %w", err)
	}
	return nil
}

// New starts a containerd for one test. It skips the test without the
// capability containerd.
func New(t testing.TB) *Runtime {
	t.Helper()
	testbed.Require(t, testbed.Containerd)
	r, err := Start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// RunT is Run.
func (r *Runtime) RunT(t testing.TB, argv ...string) string {
	t.Helper()
	id, err := r.Run(t.Context(), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
