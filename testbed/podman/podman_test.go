//go:build linux

package podman_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/podman"
)

// TestService: containers run and are asked for by both command lines, and of a
// service that was stopped nothing is left, in the system or of its containers.
func TestService(t *testing.T) {
	testbed.Require(t, testbed.Podman)
	s, err := podman.Start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.Run(t.Context(), podman.Image)
	if err != nil {
		t.Error(err)
	}
	if out, err := testbed.Output(s.CLI(t.Context(), "", "exec", id, "/bin/echo", "hello")); err != nil || out != "hello" {
		t.Errorf("podman exec: %q, %v", out, err)
	}
	if out, err := testbed.Output(s.Docker(t.Context(), "exec", id, "/bin/echo", "hello")); err != nil || out != "hello" {
		t.Errorf("docker exec: %q, %v", out, err)
	}
	pid, err := s.HostPID(t.Context(), id)
	if err != nil || pid < 2 {
		t.Errorf("host pid %d, %v", pid, err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{s.Dir, "/sys/fs/cgroup/pids/libpod_parent/libpod-" + id, "/run/runc/" + id} {
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), s.Dir) {
		t.Errorf("mounts are left: %v", err)
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, l := range lines {
		if b, err := os.ReadFile(l); err == nil && strings.Contains(string(b), s.Dir+"/") {
			t.Errorf("left: %q", b)
		}
	}
}
