//go:build linux

package docker_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// envCrash makes the test program start an engine and die without stopping it.
const envCrash = "TESTBED_DOCKER_CRASH"

func TestMain(m *testing.M) {
	if os.Getenv(envCrash) != "" {
		crash()
	}
	os.Exit(docker.Main(m))
}

func crash() {
	e, err := docker.Start(context.Background(), docker.Options{})
	if err == nil {
		_, err = e.Run(context.Background(), docker.Image)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(e.Dir)
	os.Exit(0)
}

func TestExec(t *testing.T) {
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
	for name, cmd := range map[string]*exec.Cmd{
		"ctr":  e.Ctr(t.Context(), "task", "exec", "--exec-id", "e1", id, "/bin/busybox", "id", "-u"),
		"runc": e.Runc(t.Context(), "exec", id, "/bin/busybox", "id", "-u"),
	} {
		if out, err := docker.Output(cmd); err != nil || out != "0" {
			t.Errorf("%s exec: %q, %v", name, out, err)
		}
	}
	out, err := docker.As(exec.Command("/bin/sh", "-c", "id -u; id -g"), 2001).Output()
	if want := fmt.Sprintf("2001\n%d\n", docker.ClientGID); err != nil || string(out) != want {
		t.Errorf("client runs as %q, %v", out, err)
	}
}

func TestHealthImage(t *testing.T) {
	e := docker.Shared(t)
	id := e.RunT(t, docker.HealthImage)
	deadline := time.Now().Add(20 * time.Second)
	for {
		out, err := docker.Output(e.CLI(t.Context(), "inspect", "-f", "{{.State.Health.Status}}", id))
		if err != nil {
			t.Fatal(err)
		}
		if out == "healthy" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("health is %q", out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestRestartKeepsContainers(t *testing.T) {
	t.Parallel()
	e := docker.New(t, docker.Options{})
	id := e.RunT(t, docker.Image)
	pid, daemon, runtime := e.HostPIDT(t, id), e.PID(), e.ContainerdPID()
	e.RestartT(t)
	if got := e.HostPIDT(t, id); got != pid {
		t.Errorf("container's pid %d, was %d", got, pid)
	}
	if e.PID() == daemon || e.ContainerdPID() == runtime {
		t.Error("a daemon was not restarted")
	}
}

func TestStopFrozen(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Docker)
	e, err := docker.Start(t.Context(), docker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(t.Context(), docker.Image); err != nil {
		t.Error(err)
	}
	e.Freeze()
	e.FreezeContainerd()
	if err := e.Stop(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, e.Dir)
}

func TestStartRefused(t *testing.T) {
	testbed.Require(t, testbed.Docker)
	_, err := docker.Start(t.Context(), docker.Options{Flags: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("start with a wrong flag: %v", err)
	}
}

// TestSweep lets a program die with its engine and a container running, and
// starts another engine.
func TestSweep(t *testing.T) {
	testbed.Require(t, testbed.Docker)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envCrash+"=1")
	dir, err := docker.Output(cmd)
	if err != nil {
		t.Fatalf("%v: %s", err, dir)
	}
	if left := leftovers(t, dir); len(left) < 3 {
		t.Fatalf("the program left only %q", left)
	}
	docker.New(t, docker.Options{})
	nothingLeft(t, dir)
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// leftovers lists the processes, mounts and files of an engine.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	var left []string
	if _, err := os.Lstat(dir); err == nil {
		left = append(left, dir)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			left = append(left, line)
		}
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		b, err := os.ReadFile("/proc/" + p.Name() + "/cmdline")
		if err == nil && strings.Contains(string(b), dir+"/") {
			left = append(left, string(b))
		}
	}
	return left
}

func TestTerminal(t *testing.T) {
	e := docker.Shared(t)
	id := e.RunT(t, docker.Image)
	cmd := docker.As(e.CLI(t.Context(), "exec", "-it", id, "/bin/busybox", "tty"), 2002)
	terminal, err := testbed.StartTerminal(cmd, 2002)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	out, _ := io.ReadAll(terminal) // ends with EIO
	if err := cmd.Wait(); err != nil || !strings.Contains(string(out), "/dev/pts/") {
		t.Errorf("exec -it prints %q, %v", out, err)
	}
}
