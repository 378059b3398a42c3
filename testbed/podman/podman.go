//go:build linux

// Package podman starts a private Podman API service: Debian's podman with its own
// storage, state and socket, an image that was built without a registry, and no
// network but a loopback.
//
// The core (Start, Service) returns errors and serves programs as well as tests;
// Main, Shared and the methods that end in T are for tests.
package podman

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
	"strings"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/daemon"
)

// Image holds static busybox with its applets as symbolic links in /bin, and
// /bin/actor (see testbed/actor). It sleeps by default.
const Image = "sallyport.test/box:1"

// Service is a running Podman service.
type Service struct {
	Dir     string // everything of it is under this directory
	Socket  string
	Address string // "unix://" + Socket, for DOCKER_HOST and CONTAINER_HOST

	d *daemon.Daemon
}

// config keeps containers off the host's network, since the plugins that would change
// it cannot be found; locks and events in the service's directory; and asks for
// limits that a machine without CAP_SYS_RESOURCE can set.
const config = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "none"
[engine]
events_logger = "file"
lock_type = "file"
image_copy_tmp_dir = %[1]q
[network]
cni_plugin_dirs = [%[2]q]
network_config_dir = %[2]q
`

// storage is Podman's, which is not asked for the machine's own.
const storage = `[storage]
driver = "vfs"
graphroot = %[1]q
runroot = %[2]q
`

// runtime has runc keep its state in the service's directory, too.
const runtime = "#!/bin/sh\nexec %s --root %s \"$@\"\n"

// Start starts a service and returns when it answers and has the image. ctx bounds
// the start only. A nil logger is silent.
func Start(ctx context.Context, log *slog.Logger) (*Service, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	daemon.Sweep(log)
	dir, err := daemon.NewDir("podman")
	if err != nil {
		return nil, fmt.Errorf("start podman: %w", err)
	}
	s := &Service{Dir: dir, Socket: filepath.Join(dir, "p.sock"), Address: "unix://" + filepath.Join(dir, "p.sock")}
	err = s.boot(ctx)
	if err == nil {
		err = s.importImage(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start podman: %w", err), s.Stop())
	}
	return s, nil
}

func (s *Service) path(name string) string { return filepath.Join(s.Dir, name) }

func (s *Service) boot(ctx context.Context) error {
	runc, err := testbed.LookPath("runc")
	if err != nil {
		return err
	}
	env := "CONTAINERS_CONF=" + s.path("containers.conf") + " CONTAINERS_STORAGE_CONF=" + s.path("storage.conf")
	err = errors.Join(
		os.Mkdir(s.path("bin"), 0o755), os.Mkdir(s.path("copies"), 0o755), os.Mkdir(s.path("no-plugins"), 0o755),
		os.WriteFile(s.path("containers.conf"), fmt.Appendf(nil, config, s.path("copies"), s.path("no-plugins")), 0o644),
		os.WriteFile(s.path("storage.conf"), fmt.Appendf(nil, storage, s.path("data"), s.path("x")), 0o644),
		os.WriteFile(s.path("bin/runc"), fmt.Appendf(nil, runtime, runc, s.path("runc")), 0o755),
	)
	if err != nil {
		return err
	}
	args := append(append([]string{}, strings.Fields(env)...), "podman", "--root", s.path("data"), "--runroot", s.path("x"), "--tmpdir", s.path("tmp"),
		"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", s.path("bin/runc"), "system", "service", "--time", "0", s.Address)
	if s.d, err = daemon.Start("env", s.path("log"), args...); err != nil {
		return err
	}
	return s.d.Ready(ctx, func(ctx context.Context) error {
		_, err := s.Get(ctx, "/_ping")
		return err
	})
}

// Get asks the API, and returns the answer to what succeeds.
func (s *Service) Get(ctx context.Context, path string) ([]byte, error) {
	return s.request(ctx, http.MethodGet, path, nil)
}

func (s *Service) request(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	var dialer net.Dialer
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", s.Socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://podman"+path, body)
	if err != nil {
		return nil, err
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if res.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	return answer, err
}

func (s *Service) importImage(ctx context.Context) error {
	file := s.path("rootfs.tar")
	if err := testbed.WriteRootfs(ctx, file); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = s.request(ctx, http.MethodPost, "/v4.0.0/libpod/images/import?reference="+Image+
		"&changes=CMD+%5B%22/bin/sleep%22%2C%22100000%22%5D&changes=ENV+PATH%3D/bin", f)
	return err
}

// CLI returns podman with args, as a client of a socket: "" is the service's own.
func (s *Service) CLI(ctx context.Context, socket string, args ...string) *exec.Cmd {
	path, err := testbed.LookPath("podman")
	if err != nil {
		path = "podman" // Start reports it
	}
	if socket == "" {
		socket = s.Socket
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"--remote", "--url", "unix://" + socket}, args...)...)
	cmd.Env = append(testbed.Environ(), "CONTAINERS_CONF="+s.path("containers.conf"), "CONTAINERS_STORAGE_CONF="+s.path("storage.conf"))
	return cmd
}

// Docker returns the docker command line with args, as a client of the service.
func (s *Service) Docker(ctx context.Context, args ...string) *exec.Cmd {
	path, err := testbed.LookPath("docker")
	if err != nil {
		path = "docker"
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(testbed.Environ(), "DOCKER_HOST="+s.Address, "DOCKER_CONFIG="+s.path("cli"), "DOCKER_BUILDKIT=0")
	return cmd
}

// Run starts a container in the background, "podman run -d ARGS…", and returns its
// full id. It has no network unless ARGS say so.
func (s *Service) Run(ctx context.Context, args ...string) (string, error) {
	return testbed.Output(s.CLI(ctx, "", append([]string{"run", "-d"}, args...)...))
}

// Remove kills and removes a container.
func (s *Service) Remove(ctx context.Context, container string) error {
	_, err := testbed.Output(s.CLI(ctx, "", "rm", "-f", "-t", "0", container))
	return err
}

// HostPID returns the host pid of a container's first process.
func (s *Service) HostPID(ctx context.Context, container string) (int, error) {
	out, err := testbed.Output(s.CLI(ctx, "", "inspect", "-f", "{{.State.Pid}}", container))
	if err != nil {
		return 0, err
	}
	var pid int
	if _, err := fmt.Sscan(out, &pid); err != nil || pid == 0 {
		return 0, fmt.Errorf("inspect container %s: it has no process (pid %q)", container, out)
	}
	return pid, nil
}

// Stop ends the service and its containers and removes all of it.
func (s *Service) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	// Best effort: Clean finds what is left.
	_, _ = testbed.Output(s.CLI(ctx, "", "rm", "-fa", "-t", "0"))
	_ = s.d.Halt(ctx)
	if err := daemon.Clean(s.Dir); err != nil {
		return fmt.Errorf("stop podman: %w", err)
	}
	// Another service's are not empty, and stay.
	for _, name := range []string{"libpod_parent/conmon", "libpod_parent"} {
		dirs, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
		for _, dir := range append(dirs, "/sys/fs/cgroup/"+name) {
			_ = os.Remove(dir)
		}
	}
	return nil
}
