package up

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// TestUpOnDockerByTCP has several people use one daemon by TCP at the same time,
// from its own network namespace and from another one: each command is theirs
// beyond doubt, with the address that they came from.
func TestUpOnDockerByTCP(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	there, elsewhere := netns(t), netns(t)
	ip(t, there, "link", "set", "lo", "up")
	ip(t, there, "link", "add", "to", "type", "veth", "peer", "name", "to", "netns", strconv.Itoa(elsewhere))
	for pid, address := range map[int]string{there: "192.0.2.1/30", elsewhere: "192.0.2.2/30"} {
		ip(t, pid, "address", "add", address, "dev", "to")
		ip(t, pid, "link", "set", "to", "up")
	}
	e := docker.New(t, docker.Options{Dockerd: dockerdIn(t, there), Flags: []string{"-H", "tcp://0.0.0.0:2375"}})
	state := filepath.Join(t.TempDir(), "state")
	p := up.Print(t, program.New(t), state, e, "--client-requests", "always", "--containerd", e.ContainerdSocket)
	e.RunT(t, "--name", "box", docker.Image)
	awaitDoor(t, state, "tcp [::]:2375") // Go's listener takes both families

	clients := []struct {
		uid      uint32
		in       int
		to, from string
	}{
		{4321, there, "127.0.0.1", "127.0.0.1:"},
		{4322, there, "127.0.0.1", "127.0.0.1:"},
		{4323, elsewhere, "192.0.2.1", "192.0.2.2:"},
	}
	const each = 4
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			for i := range each {
				cmd := e.CLI(t.Context(), "-H", "tcp://"+c.to+":2375", "exec", "box", "/bin/busybox", "echo", fmt.Sprint(c.uid), fmt.Sprint(i))
				cmd.Path, cmd.Args = "/usr/bin/nsenter", append([]string{"nsenter", "--net=" + netPath(c.in), "-S", fmt.Sprint(c.uid), "-G", fmt.Sprint(c.uid), cmd.Path}, cmd.Args[1:]...)
				if out, err := docker.Output(cmd); err != nil {
					t.Errorf("uid %d: %s, %v", c.uid, out, err)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range clients {
		for i := range each {
			s := endedExec(t, p, "/bin/busybox", "echo", fmt.Sprint(c.uid), fmt.Sprint(i))
			a := s.Actor
			if s.Attribution.Level != session.LevelExact || a.UID == nil || *a.UID != c.uid || !strings.HasPrefix(a.Address, c.from) || a.PID == 0 || !strings.HasSuffix(a.Exe, "docker") {
				t.Errorf("uid %d: actor %+v, attribution %+v", c.uid, a, s.Attribution)
			}
		}
	}
}

// TestUpOnDockerByTLS: what goes through TLS is not read, but who is connected
// is known. Whoever is alone must have been it.
func TestUpOnDockerByTLS(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	dir := t.TempDir()
	testbed.Certificates(t, dir)
	flags := []string{"--tlsverify", "--tlscacert", dir + "/ca.pem", "--tlscert", dir + "/cert.pem", "--tlskey", dir + "/key.pem"}
	address := testbed.FreeAddress(t)
	e := docker.New(t, docker.Options{Flags: append([]string{"-H", "tcp://" + address}, flags...)})
	state := filepath.Join(t.TempDir(), "state")
	p := up.Print(t, program.New(t), state, e, "--client-requests", "always")
	e.RunT(t, "--name", "box", docker.Image)
	awaitDoor(t, state, "tcp "+address)
	by := func(mark string) *exec.Cmd {
		return e.CLI(t.Context(), append(slices.Clone(flags), "-H", "tcp://"+address, "exec", "box", "/bin/busybox", "sh", "-c", "sleep 1; : "+mark)...)
	}
	if out, err := docker.Output(docker.As(by("alone"), 4321)); err != nil {
		t.Fatal(out, err)
	}
	s := endedExec(t, p, "/bin/busybox", "sh", "-c", "sleep 1; : alone")
	if a := s.Actor; s.Attribution.Level != session.LevelStrong || a.UID == nil || *a.UID != 4321 || !strings.HasPrefix(a.Address, "127.0.0.1:") {
		t.Errorf("alone: actor %+v, attribution %+v", a, s.Attribution)
	}
	var wg sync.WaitGroup
	for _, uid := range []uint32{4322, 4323} {
		wg.Go(func() {
			if out, err := docker.Output(docker.As(by(fmt.Sprint(uid)), uid)); err != nil {
				t.Errorf("%s, %v", out, err)
			}
		})
	}
	wg.Wait()
	for _, uid := range []uint32{4322, 4323} {
		s := endedExec(t, p, "/bin/busybox", "sh", "-c", "sleep 1; : "+fmt.Sprint(uid))
		if !mayBe(s, uid) {
			t.Errorf("uid %d: actor %+v, attribution %+v", uid, s.Actor, s.Attribution)
		}
	}
}

// mayBe reports whether the session is that user's as far as it says.
func mayBe(s session.Session, uid uint32) bool {
	list := append(slices.Clone(s.Attribution.Candidates), s.Actor)
	return slices.ContainsFunc(list, func(a session.Actor) bool { return a.UID != nil && *a.UID == uid && a.Address != "" })
}

func endedExec(t *testing.T, p *up.Printing, argv ...string) session.Session {
	t.Helper()
	var got session.Session
	testbed.Eventually(t, 30*time.Second, fmt.Sprintf("the session of %q ends", argv), func() bool {
		for _, s := range p.Sessions() {
			if s.Kind == session.KindExec && slices.Equal(s.Argv, argv) && s.State == session.StateEnded {
				got = s // the last revision
			}
		}
		return got.ID != ""
	})
	return got
}

// awaitDoor waits until /status says that the door's clients are seen.
func awaitDoor(t *testing.T, state, door string) {
	t.Helper()
	testbed.Eventually(t, 60*time.Second, "the clients of "+door+" are seen", func() bool {
		code, body := up.Ask(state, "/status")
		var s struct {
			Sensor struct{ Doors []string }
		}
		return code == http.StatusOK && json.Unmarshal([]byte(body), &s) == nil && slices.Contains(s.Sensor.Doors, door)
	})
	up.Await(t, state, "kernel", "docker", "containerd")
}

// netns makes a network namespace that a sleeping process keeps, and returns
// that process.
func netns(t *testing.T) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, 10*time.Second, "a network namespace", func() bool {
		ns, err := os.Readlink(netPath(cmd.Process.Pid))
		return err == nil && ns != own
	})
	return cmd.Process.Pid
}

func netPath(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

func ip(t *testing.T, pid int, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "nsenter", append([]string{"--net=" + netPath(pid), "ip"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// dockerdIn is a program that runs dockerd in a process's network namespace.
func dockerdIn(t *testing.T, pid int) string {
	t.Helper()
	path, err := testbed.LookPath("dockerd")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dockerd")
	if err := os.WriteFile(file, fmt.Appendf(nil, "#!/bin/sh\nexec nsenter --net=%s %s \"$@\"\n", netPath(pid), path), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}
