//go:build linux

// Package crio starts a private CRI-O: that of testbed/crio/build (make test-crio),
// with Debian's conmon and runc, its own storage, state and socket, and images that
// were made without a registry.
//
// The core (Start, Boot, Runtime) returns errors and serves programs as well as tests;
// New and the methods that end in T are for tests.
package crio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/crio/release"
	"github.com/sallyport/sallyport/testbed/daemon"
	"github.com/sallyport/sallyport/testbed/images"
)

// Image holds static busybox with its applets as symbolic links in /bin, and
// /bin/actor (see testbed/actor). It sleeps by default.
const Image = "sallyport.test/box:1"

// ClientGID is the group of the socket of a CRI-O that Start started: a process of any
// uid with this group may talk to it.
const ClientGID = 2375

// Runtime is a running CRI-O.
type Runtime struct {
	Dir    string // everything of it is under this directory
	Socket string

	programs string
	place    Place
	cgroup   string // of its pods
	d        *daemon.Daemon
	pods     atomic.Uint32 // so far
}

// Place is where a CRI-O of somebody else's is.
type Place struct {
	Dir     string // exists, for everything of CRI-O's
	Network string // directory with the configuration of the pods' network
	// Start starts a daemon in the network namespace where CRI-O is to be.
	Start func(program, log string, args ...string) (*daemon.Daemon, error)
}

// Start starts a CRI-O and returns when it answers and has Image. Its pods have no
// network but the machine's. ctx bounds the start only. A nil logger is silent.
func Start(ctx context.Context, log *slog.Logger) (*Runtime, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	daemon.Sweep(log)
	dir, err := daemon.NewDir("crio")
	if err != nil {
		return nil, fmt.Errorf("start CRI-O: %w", err)
	}
	r := newRuntime(dir)
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start CRI-O: %w", err), r.Stop())
	}
	return r, nil
}

func newRuntime(dir string) *Runtime {
	return &Runtime{
		Dir: dir, Socket: filepath.Join(dir, "crio.sock"), programs: os.Getenv(testbed.EnvCRIO),
		cgroup: filepath.Join(filepath.Base(dir), "pods"),
	}
}

func (r *Runtime) start(ctx context.Context) error {
	err := errors.Join(daemon.MakeCgroup(r.cgroup), testbed.LendFrom(r.programs, r.Dir, release.Client), r.importBox(ctx))
	if err != nil {
		return err
	}
	r.place = Place{Network: r.path("network"), Start: daemon.Start}
	return errors.Join(r.boot(ctx), os.Chown(r.Socket, 0, ClientGID))
}

// Restart stops CRI-O in order and starts it again; pods keep running.
func (r *Runtime) Restart(ctx context.Context) error {
	if err := r.d.Halt(ctx); err != nil {
		return fmt.Errorf("restart CRI-O: %w", err)
	}
	if err := errors.Join(r.boot(ctx), os.Chown(r.Socket, 0, ClientGID)); err != nil {
		return fmt.Errorf("restart CRI-O: %w", err)
	}
	return nil
}

// Boot starts a CRI-O in a place whose owner stops it and cleans up. It has no image
// yet.
func Boot(ctx context.Context, p Place) (*Runtime, error) {
	r := newRuntime(p.Dir)
	r.place = p
	if err := r.boot(ctx); err != nil {
		return nil, fmt.Errorf("start CRI-O: %w", err)
	}
	return r, nil
}

func (r *Runtime) boot(ctx context.Context) error {
	file, err := r.configure(r.place.Network)
	if err != nil {
		return err
	}
	// CRI-O adds the machine's configuration unless it is given another directory.
	if r.d, err = r.place.Start(filepath.Join(r.programs, release.CRIO), r.path("log"), "--config", file, "--config-dir", r.path("no-more")); err != nil {
		return err
	}
	return r.d.Ready(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := testbed.Output(r.Client(ctx, "Version", "{}"))
		return err
	})
}

// Import puts the image of an OCI archive into CRI-O's storage.
func (r *Runtime) Import(ctx context.Context, archive, name string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(r.programs, release.Copy), "--root", r.path("data"), "--runroot", r.path("x"),
		"--storage-driver", "vfs", "--signature-policy", r.path("policy.json"), "--import-from", "oci-archive:"+archive, "--image-name", name)
	_, err := testbed.Output(cmd)
	return err
}

func (r *Runtime) importBox(ctx context.Context) error {
	layer := r.path("rootfs.tar")
	if err := testbed.WriteRootfs(ctx, layer); err != nil {
		return err
	}
	content, err := os.ReadFile(layer)
	if err != nil {
		return err
	}
	files, _ := images.OCI(&images.Image{Layers: [][]byte{content}, Cmd: []string{"/bin/sleep", "100000"}})
	archive := r.path("box.tar")
	if err := errors.Join(os.WriteFile(archive, files.Tar(), 0o644), os.WriteFile(r.path("policy.json"), []byte(policy), 0o644)); err != nil {
		return err
	}
	return r.Import(ctx, archive, Image)
}

func (r *Runtime) path(name string) string { return filepath.Join(r.Dir, name) }

// Daemon is the running CRI-O, to freeze or stop it or ask its pid.
func (r *Runtime) Daemon() *daemon.Daemon { return r.d }

// PID returns the host pid of a container's first process.
func (r *Runtime) PID(container string) (int, error) {
	b, err := os.ReadFile(filepath.Join(r.path("x"), "vfs-containers", container, "userdata", "pidfile"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// Stop ends CRI-O and its containers and removes all of it.
func (r *Runtime) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = r.d.Halt(ctx) // best effort: Clean kills
	if err := daemon.Clean(r.Dir); err != nil {
		return fmt.Errorf("stop CRI-O: %w", err)
	}
	return nil
}
