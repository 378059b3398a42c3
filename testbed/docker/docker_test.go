//go:build linux

package docker_test

import (
	"os"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/testbed/docker"
)

func TestMain(m *testing.M) { os.Exit(docker.Main(m)) }

func TestExecAsUser(t *testing.T) {
	e := docker.Shared(t)
	id := e.RunT(t, docker.Image)
	if len(id) != 64 {
		t.Fatalf("container id %q", id)
	}
	if got := e.ExecT(t, 2001, id, "/bin/actor", "fork", "print"); !strings.HasSuffix(got, " 0") {
		t.Errorf("actor prints %q", got)
	}
	if pid := e.HostPIDT(t, id); pid < 2 {
		t.Errorf("host pid %d", pid)
	}
	out, err := docker.Output(e.Ctr(t.Context(), "task", "exec", "--exec-id", "e1", id, "/bin/busybox", "id", "-u"))
	if err != nil || out != "0" {
		t.Errorf("ctr task exec: %q %v", out, err)
	}
	out, err = docker.Output(e.Runc(t.Context(), "exec", id, "/bin/busybox", "id", "-u"))
	if err != nil || out != "0" {
		t.Errorf("runc exec: %q %v", out, err)
	}
}
