package up

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/podman"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// TestUpBesidePodman: of what a Podman that nobody watches runs, the processes are seen,
// and nobody is said to have called the runtime by hand.
func TestUpBesidePodman(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Podman, testbed.BPF)
	s, err := podman.Start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	state := filepath.Join(t.TempDir(), "state")
	p := up.Print(t, program.New(t), state, &docker.Engine{Address: "unix:///nonexistent.sock"})
	up.Await(t, state, "kernel")
	id, err := s.Run(t.Context(), podman.Image)
	if err != nil {
		t.Fatal(err)
	}
	for word, cmd := range map[string]*exec.Cmd{
		"by podman": s.CLI(t.Context(), "", "exec", id, "/bin/echo", "by podman"),
		"by docker": s.Docker(t.Context(), "exec", id, "/bin/echo", "by docker"),
	} {
		if out, err := testbed.Output(cmd); err != nil || out != word {
			t.Fatalf("%q, %v", out, err)
		}
		var got session.Session
		testbed.Eventually(t, 30*time.Second, "the session of "+word, func() bool {
			for _, s := range p.Sessions() {
				if string(s.Target.ContainerID) == id && len(s.Argv) == 2 && s.Argv[1] == word {
					got = s
				}
			}
			return got.Unexplained.Is
		})
		if got.Kind != session.KindExec || got.Channel != event.ChannelUnknown || got.Attribution.Level != session.LevelNone {
			t.Errorf("%s: %s %s by %+v, %+v", word, got.Kind, got.Channel, got.Actor, got.Attribution)
		}
	}
}
