package up

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/store"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// TestUpOnDocker runs the whole program beside a real engine: somebody who is
// not root runs a command in a container, and it is there, in every form, with
// the name of who asked.
func TestUpOnDocker(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	e, bin, state := docker.New(t, docker.Options{}), program.New(t), filepath.Join(t.TempDir(), "state")
	p := up.Print(t, bin, state, e, "--client-requests", "always")
	box := e.RunT(t, "--name", "box", docker.Image)
	up.Await(t, state, "kernel", "docker", "containerd")
	e.ExecT(t, 4321, "box", "/bin/busybox", "echo", "made by 4321")

	var got session.Session
	testbed.Eventually(t, 20*time.Second, "the session ends", func() bool {
		for _, s := range p.Sessions() {
			if s.Kind == session.KindExec && slices.Contains(s.Argv, "made by 4321") && s.State == session.StateEnded {
				got = s
				return true
			}
		}
		return false
	})
	if got.Actor.UID == nil || *got.Actor.UID != 4321 || got.Attribution.Level != session.LevelExact {
		t.Errorf("actor %+v, attribution %+v, want uid 4321, exact", got.Actor, got.Attribution)
	}
	if string(got.Target.ContainerID) != box || got.Target.ContainerName != "box" || got.ExitCode == nil || *got.ExitCode != 0 {
		t.Errorf("session %+v", got)
	}
	if len(got.Processes) == 0 || !slices.Equal(got.Processes[0].Argv, []string{"/bin/busybox", "echo", "made by 4321"}) {
		t.Errorf("processes %+v", got.Processes)
	}

	list := program.Run(t, bin, "sessions", "--state", state, "--actor", "4321", "--json")
	if strings.Count(list, "\n") != 1 || !strings.Contains(list, string(got.ID)) {
		t.Errorf("sessions --actor 4321 --json printed %s", list)
	}
	if shown := program.Run(t, bin, "show", view.ShortID(got.ID), "--state", state, "--evidence"); !strings.Contains(shown, "exact (tied by an id)") {
		t.Errorf("show printed %s", shown)
	}
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up ended with %v: %s", err, &p.Stderr)
	}
	if out := program.Run(t, bin, "verify", "--state", state); !strings.HasPrefix(out, "Proven:") {
		t.Errorf("verify printed %s", out)
	}
	if _, err := os.Stat(filepath.Join(state, statedir.Address)); err == nil {
		t.Error("the address of a server that is gone is still there")
	}
}

// TestKill kills up with SIGKILL at random points of a storm, 50 times, and more
// often where a busy machine brings few sessions: what it had printed, and so
// acknowledged, is in the store, and the ledger proves it.
func TestKill(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	if testing.Short() {
		t.Skip("takes a minute or two")
	}
	e, bin, state := docker.New(t, docker.Options{}), program.New(t), filepath.Join(t.TempDir(), "state")
	e.RunT(t, "--name", "box", docker.Image)
	stop := storm(t, e, 3)
	defer stop()
	acked := map[session.ID]uint32{}
	const sessions = 50
	for round := 0; round < 50 || len(acked) < sessions && round < 150; round++ {
		p := up.Print(t, bin, state, e)
		before := len(p.Sessions())
		if round%5 == 0 { // now and then wait for it to be in full swing
			testbed.Eventually(t, 30*time.Second, "sessions are printed", func() bool { return len(p.Sessions()) > before })
		}
		time.Sleep(rand.N(1200 * time.Millisecond))
		_ = p.End(syscall.SIGKILL)
		for _, s := range p.Sessions() {
			acked[s.ID] = max(acked[s.ID], s.Revision)
		}
		checkStore(t, round, state, acked, p)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d acknowledged sessions survived", len(acked))
	if len(acked) < sessions {
		t.Errorf("only %d sessions were acknowledged: the storm proves little", len(acked))
	}
}

// TestFullDiskOnDocker fills the disk under a running up: it keeps watching,
// says so, and stores what it saw as soon as there is space.
func TestFullDiskOnDocker(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	e, bin, disk := docker.New(t, docker.Options{}), program.New(t), t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	state := filepath.Join(disk, "state")
	e.RunT(t, "--name", "box", docker.Image)
	p := up.Print(t, bin, state, e)
	up.Await(t, state, "docker", "containerd")

	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	n := 0
	testbed.Eventually(t, time.Minute, "the store fails", func() bool {
		n++
		e.ExecT(t, 4321, "box", "/bin/busybox", "echo", fmt.Sprintf("full %d", n))
		code, body := up.Ask(state, "/healthz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "no space left")
	})
	e.ExecT(t, 4321, "box", "/bin/busybox", "echo", "while full")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, 30*time.Second, "the store recovers", func() bool {
		code, _ := up.Ask(state, "/healthz")
		return code == http.StatusOK
	})
	testbed.Eventually(t, 30*time.Second, "what happened meanwhile is stored", func() bool {
		return strings.Contains(program.Run(t, bin, "sessions", "--state", state), "while full")
	})
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up ended with %v: %s", err, &p.Stderr)
	}
	list := program.Run(t, bin, "sessions", "--state", state)
	for i := range n {
		if want := fmt.Sprintf("full %d'", i+1); !strings.Contains(list, want) {
			t.Errorf("no session with %q", want)
		}
	}
	if out := program.Run(t, bin, "verify", "--state", state); !strings.HasPrefix(out, "Proven:") {
		t.Errorf("verify printed %s", out)
	}
	for _, want := range []string{"store does not take records", "store takes records again"} {
		if !strings.Contains(p.Stderr.String(), want) {
			t.Errorf("it did not say %q: %s", want, &p.Stderr)
		}
	}
}

// fill writes a file until the disk is full.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
}

// storm runs docker exec from n clients until stop is called.
func storm(t *testing.T, e *docker.Engine, n int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var count atomic.Int64
	for i := range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				cmd := docker.As(e.CLI(ctx, "exec", "box", "/bin/busybox", "echo", fmt.Sprint(count.Add(1))), uint32(5000+i))
				_ = cmd.Run()
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
		t.Logf("the storm ran %d commands", count.Load())
	}
}

func checkStore(t *testing.T, round int, state string, acked map[session.ID]uint32, p *up.Printing) {
	t.Helper()
	ctx := t.Context()
	r, err := store.OpenReadOnly(state)
	if err != nil {
		if len(acked) > 0 {
			t.Errorf("round %d: %v\n%s", round, err, &p.Stderr)
		}
		return
	}
	defer r.Close()
	report, err := r.Verify(ctx, store.VerifyOptions{})
	if err != nil || report.Damage != nil {
		t.Errorf("round %d: verify: %v, %v", round, err, report.Damage)
	}
	for id, revision := range acked {
		s, _, err := r.Session(ctx, string(id))
		if err != nil || s.Revision < revision {
			t.Errorf("round %d: session %s revision %d was acknowledged: %v, has revision %d", round, id, revision, err, s.Revision)
		}
	}
}
