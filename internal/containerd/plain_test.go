//go:build linux

package containerd_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	events "github.com/containerd/containerd/api/events"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed"
	bed "github.com/sallyport/sallyport/testbed/containerd"
)

// TestPlain watches a containerd without Docker: what runs before the witness
// comes, and a container of another namespace that comes later.
func TestPlain(t *testing.T) {
	t.Parallel()
	b := bed.New(t)
	early := b.RunT(t, "/bin/sleep", "1000")
	if _, err := testbed.Output(b.Ctr(t.Context(), "task", "exec", "-d", "--exec-id", "shell", early, "/bin/sleep", "1000")); err != nil {
		t.Fatal(err)
	}
	r := watch(t, containerd.Options{Address: b.Socket})
	state := await(t, r, 0, "state", up)
	if int(state.DaemonPID) != b.PID() {
		t.Errorf("daemon pid %d, want %d", state.DaemonPID, b.PID())
	}
	init := await(t, r, 0, "task", func(o event.RuntimeTask) bool { return string(o.Container) == early && o.ExecID == "" })
	if init.Namespace != bed.Namespace || !init.Running || init.PID == 0 {
		t.Errorf("task: %+v", init)
	}
	exec := await(t, r, 0, "task of the exec", func(o event.RuntimeTask) bool { return o.ExecID == "shell" })
	if exec.PID == 0 || exec.PID == init.PID {
		t.Errorf("task of the exec: %+v", exec)
	}

	other := b.Ctr(t.Context(), "-n", "elsewhere", "run", "--rm", "--runc-root", b.Dir+"/runc",
		"--rootfs", b.Rootfs, early+"-other", "/bin/actor", "exit", "5")
	if out, err := other.CombinedOutput(); other.ProcessState.ExitCode() != 5 {
		t.Fatalf("run in another namespace: %v: %s", err, out)
	}
	exit := await(t, r, 0, "exit", func(e event.RuntimeEvent) bool {
		return e.Action == event.RuntimeExit && e.Namespace == "elsewhere"
	})
	if exit.ExecID != "" || *exit.ExitCode != 5 {
		t.Errorf("exit: %+v", exit)
	}
}

// TestContainers: what a container is, for one that ran before the witness came
// and for one that is made later, by the labels that CRI gives it.
func TestContainers(t *testing.T) {
	t.Parallel()
	b := bed.New(t)
	run := func(id string, flags ...string) {
		args := append([]string{"-n", "elsewhere", "run", "-d", "--runc-root", b.Dir + "/runc"}, flags...)
		if _, err := testbed.Output(b.Ctr(t.Context(), append(args, "--rootfs", b.Rootfs, id, "/bin/sleep", "1000")...)); err != nil {
			t.Fatal(err)
		}
	}
	early := filepath.Base(b.Dir) + "-early"
	late := filepath.Base(b.Dir) + "-late"
	run(early)
	r := watch(t, containerd.Options{Address: b.Socket})
	await(t, r, 0, "state", up)
	c := await(t, r, 0, "container", func(c event.RuntimeContainer) bool { return string(c.ID) == early })
	if c.HostAccess == nil || !c.HostAccess.Plain() {
		t.Errorf("a plain container: %+v", c.HostAccess)
	}
	if c.Namespace != "elsewhere" || !slices.Equal(c.Argv, []string{"/bin/sleep", "1000"}) || c.Runtime == "" || c.Created.IsZero() || c.Pod != "" {
		t.Errorf("container: %+v", c)
	}
	run(late, "--label", "io.kubernetes.pod.name=web", "--label", "io.kubernetes.pod.namespace=shop", "--label", "io.kubernetes.pod.uid=u",
		"--label", "io.kubernetes.container.name=app", "--privileged", "--net-host", "--mount", "type=bind,src=/etc,dst=/e,options=rbind:ro")
	c = await(t, r, 0, "container in a pod", func(c event.RuntimeContainer) bool { return string(c.ID) == late })
	if c.Pod != "web" || c.PodNamespace != "shop" || c.PodUID != "u" || c.Name != "app" || c.Sandbox {
		t.Errorf("container in a pod: %+v", c)
	}
	if h := c.HostAccess; h == nil || !h.Privileged || !slices.Contains(h.Namespaces, "network") || slices.Contains(h.Namespaces, "pid") ||
		!slices.Contains(h.Capabilities, "SYS_ADMIN") || !slices.Contains(h.Paths, "/etc") {
		t.Errorf("what it has of the host: %+v", c.HostAccess)
	}
}

// TestNothingBetweenSubscribeAndUp publishes an event the moment a witness
// says it is up, many times: containerd itself confirms no subscription.
func TestNothingBetweenSubscribeAndUp(t *testing.T) {
	t.Parallel()
	b := bed.New(t)
	conn, err := grpc.NewClient("unix://"+b.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 150 {
		ctx, cancel := context.WithCancel(t.Context())
		id := fmt.Sprintf("published-%d", i)
		seen := make(chan struct{}, 1)
		done := make(chan error, 1)
		go func() {
			done <- containerd.New(containerd.Options{Address: b.Socket}).Run(ctx, func(o event.Observation) {
				switch o := o.(type) {
				case event.WitnessState:
					publish(t, conn, id)
				case event.RuntimeEvent:
					if string(o.Container) == id {
						seen <- struct{}{}
					}
				}
			})
		}()
		select {
		case <-seen:
		case <-time.After(5 * time.Second):
			t.Errorf("event %d was missed", i)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func publish(t *testing.T, conn grpc.ClientConnInterface, id string) {
	body, err := proto.Marshal(&events.TaskStart{ContainerID: id, Pid: 7})
	if err != nil {
		t.Error(err)
		return
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "containerd-namespace", "test")
	_, err = eventsapi.NewEventsClient(conn).Publish(ctx, &eventsapi.PublishRequest{
		Topic: "/tasks/start", Event: &anypb.Any{TypeUrl: "containerd.events.TaskStart", Value: body},
	})
	if err != nil {
		t.Error(err)
	}
}

// TestUnreadable publishes bodies that are not what they say: each is counted
// and reported as a loss, and the witness goes on.
func TestUnreadable(t *testing.T) {
	b := bed.New(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	conn, err := grpc.NewClient("unix://"+b.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := containerd.New(containerd.Options{Address: b.Socket})
	r := &recorder{changed: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, r.add) }()
	await(t, r, 0, "state", up)
	publish(t, conn, "") // no container
	await(t, r, 0, "loss", func(l event.Loss) bool { return l.Count == 1 && l.What == "events" })
	publish(t, conn, "good")
	await(t, r, 0, "event", func(e event.RuntimeEvent) bool { return e.Container == "good" })
	if s := w.Stats(); s.Bad != 1 || s.Events != 1 || s.Connects != 1 {
		t.Errorf("stats: %+v", s)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestPlainFrozenAtStart meets a containerd that hangs from the beginning.
func TestPlainFrozenAtStart(t *testing.T) {
	t.Parallel()
	b := bed.New(t)
	if err := b.Freeze(); err != nil {
		t.Fatal(err)
	}
	r := watch(t, containerd.Options{Address: b.Socket})
	await(t, r, 0, "down", down)
	b.Thaw()
	await(t, r, 0, "up", up)
}

// TestFrozenShim comes while one container's shim hangs: events and the other
// containers are reported all the same, and that one when its shim goes on.
func TestFrozenShim(t *testing.T) {
	t.Parallel()
	b := bed.New(t)
	hung, other := b.RunT(t, "/bin/sleep", "1000"), b.RunT(t, "/bin/sleep", "1000")
	shim := shimOf(t, b, hung)
	if err := syscall.Kill(shim, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(shim, syscall.SIGCONT) })
	r := watch(t, containerd.Options{Address: b.Socket})
	await(t, r, 0, "state", up)
	await(t, r, 0, "task of the other", func(o event.RuntimeTask) bool { return string(o.Container) == other && o.Running })
	if _, err := testbed.Output(b.Ctr(t.Context(), "task", "exec", "--exec-id", "e", other, "/bin/true")); err != nil {
		t.Fatal(err)
	}
	await(t, r, 0, "exit in the other", func(e event.RuntimeEvent) bool { return e.ExecID == "e" && e.Action == event.RuntimeExit })
	mark := r.mark()
	syscall.Kill(shim, syscall.SIGCONT)
	await(t, r, mark, "task of the hung", func(o event.RuntimeTask) bool { return string(o.Container) == hung && o.Running && o.PID != 0 })
}

// shimOf returns the pid of the shim of a container: its first process's parent.
func shimOf(t *testing.T, b *bed.Runtime, id string) int {
	t.Helper()
	out, err := testbed.Output(b.Ctr(t.Context(), "task", "ls"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if f[0] != id {
			continue
		}
		stat, err := os.ReadFile("/proc/" + f[1] + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		ppid, err := strconv.Atoi(strings.Fields(string(stat))[3])
		if err != nil {
			t.Fatal(err)
		}
		return ppid
	}
	t.Fatalf("no task %s in %q", id, out)
	return 0
}
