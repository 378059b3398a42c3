package up

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/crio"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// crioBed is a host with CRI-O, and the program that watches that.
type crioBed struct {
	*crio.Runtime
	t     *testing.T
	bin   string
	state string
	shell string // directory of programs that are a shell
}

func newCRIOBed(t *testing.T) *crioBed {
	testbed.Require(t, testbed.CRIO, testbed.BPF)
	b := &crioBed{Runtime: crio.New(t), t: t, bin: program.New(t), state: filepath.Join(t.TempDir(), "state"), shell: t.TempDir()}
	busybox, err := testbed.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ash", "crio"} {
		if _, err := testbed.Output(exec.Command("cp", busybox, filepath.Join(b.shell, name))); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *crioBed) up(requests string) *up.Printing {
	p := up.Print(b.t, b.bin, b.state, &docker.Engine{Address: "unix:///nonexistent.sock"}, "--crio", b.Socket, "--client-requests", requests)
	up.Await(b.t, b.state, "kernel", "crio")
	return p
}

// run runs a command in a container by one of CRI's calls, as somebody.
func (b *crioBed) run(uid uint32, how func(ctx context.Context, container string, argv ...string) *exec.Cmd, p crio.Pod, word string) {
	b.t.Helper()
	b.says(crio.As(how(b.t.Context(), p.Container, "/bin/busybox", "echo", word), uid), word)
}

// byHand calls the runtime beside CRI-O, from a shell whose program is called so.
func (b *crioBed) byHand(name string, p crio.Pod, word string) {
	b.t.Helper()
	cmd := exec.Command(filepath.Join(b.shell, name))
	cmd.Args = []string{"sh", "-c", "runc --root " + filepath.Join(b.Dir, "runc") + " exec " + p.Container + " /bin/busybox echo " + word + "; :"}
	cmd.Env = testbed.Environ()
	b.says(cmd, word)
}

func (b *crioBed) says(cmd *exec.Cmd, word string) {
	b.t.Helper()
	if out, err := testbed.Output(cmd); err != nil || out != word {
		b.t.Fatalf("it says %q, %v", out, err)
	}
}

// session waits for the session of a command, until it is as it has to be.
func (b *crioBed) session(p *up.Printing, word string, done func(session.Session) bool) (got session.Session) {
	b.t.Helper()
	testbed.Eventually(b.t, 30*time.Second, "the session of "+word, func() bool {
		for _, s := range p.Sessions() {
			if len(s.Argv) > 0 && s.Argv[len(s.Argv)-1] == word && s.State == session.StateEnded {
				got = s
			}
		}
		return got.Target.Pod != "" && done(got)
	})
	return got
}

// TestUpOnCRIO: of commands that came by CRI-O's socket up says in which pod they ran and
// who asked; what came beside it, under whatever name, is no request of CRI-O's.
func TestUpOnCRIO(t *testing.T) {
	t.Parallel()
	b := newCRIOBed(t)
	before := b.RunPodT(t, "shop", "before-0")
	p := b.up("always")
	web := b.RunPodT(t, "shop", "web-0")
	b.run(4321, b.ExecSync, web, "sync")
	b.run(4322, b.Exec, web, "stream")
	b.run(4323, b.Exec, before, "before")
	b.byHand("ash", web, "beside")
	b.byHand("crio", web, "disguised")
	for _, want := range []struct {
		word    string
		pod     crio.Pod
		channel event.Channel
		uid     uint32
	}{
		{"sync", web, event.ChannelRuntimeCRI, 4321},
		{"stream", web, event.ChannelRuntimeCRI, 4322},
		{"before", before, event.ChannelRuntimeCRI, 4323},
		{"beside", web, event.ChannelRuntimeRunc, 0},
		{"disguised", web, event.ChannelRuntimeRunc, 0},
	} {
		s := b.session(p, want.word, func(s session.Session) bool { return s.Unexplained.Is })
		if s.Channel != want.channel || s.Actor.UID == nil || *s.Actor.UID != want.uid || s.Attribution.Level != session.LevelExact {
			t.Errorf("%s: %s by %+v, %+v", want.word, s.Channel, s.Actor, s.Attribution)
		}
		if to := s.Target; to.Namespace != "shop" || to.Pod != want.pod.Name || to.PodUID != want.pod.UID || to.ContainerName != "app" ||
			to.Image != crio.Image || string(to.ContainerID) != want.pod.Container {
			t.Errorf("%s: target %+v", want.word, to)
		}
	}
}

// TestUpOnCRIOWithoutRequests: when requests are not read, nobody is named for a command,
// and whoever was connected is a candidate.
func TestUpOnCRIOWithoutRequests(t *testing.T) {
	t.Parallel()
	b := newCRIOBed(t)
	web := b.RunPodT(t, "shop", "web-0")
	p := b.up("off")
	b.run(4321, b.ExecSync, web, "unread sync")
	b.run(4322, b.Exec, web, "unread stream")
	for word, uid := range map[string]uint32{"unread sync": 4321, "unread stream": 4322} {
		s := b.session(p, word, func(s session.Session) bool { return s.Attribution.Level != session.LevelNone })
		is := func(a session.Actor) bool { return a.UID != nil && *a.UID == uid }
		if s.Kind != session.KindExec || s.Actor.UID != nil || s.Attribution.Level != session.LevelSet || !slices.ContainsFunc(s.Attribution.Candidates, is) {
			t.Errorf("%s: %s by %+v, %+v", word, s.Channel, s.Actor, s.Attribution)
		}
	}
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up ended with %v: %s", err, &p.Stderr)
	}
}
