//go:build linux

package containerd_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/testbed"
	bed "github.com/sallyport/sallyport/testbed/containerd"
	"github.com/sallyport/sallyport/testbed/docker"
)

// tap runs the kernel sensor with the parser of requests until the end of the
// test. Each piece that is sampled goes to also, when it is not nil.
func tap(t testing.TB, socket string, also func(event.Segment)) (*recorder, func() containerd.RequestStats) {
	t.Helper()
	testbed.Require(t, testbed.BPF)
	parser := containerd.NewRequests(containerd.RequestOptions{})
	var mu sync.Mutex
	r := &recorder{changed: make(chan struct{})}
	sensor := kernel.New(kernel.Options{
		Requests: kernel.ModeAlways, Sockets: []kernel.Socket{{Service: event.ServiceContainerd, Path: socket}},
		OnSegment: func(s event.Segment) []event.Observation {
			mu.Lock()
			defer mu.Unlock()
			if also != nil {
				also(s)
			}
			return parser.Segment(s)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sensor.Run(ctx, r.add) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	await(t, r, 0, "the tap", func(s event.WitnessState) bool { return s.Requests })
	return r, func() containerd.RequestStats {
		mu.Lock()
		defer mu.Unlock()
		return parser.Stats()
	}
}

// open lets everybody use a containerd, as an administrator might.
func open(t testing.TB, b *bed.Runtime) (fifos string) {
	t.Helper()
	fifos = filepath.Join(b.Dir, "fifos")
	if err := os.Mkdir(fifos, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifos, b.Socket} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return fifos
}

// TestRequestsOfTwoUsers has two users run the same command in the same
// container at once: every exec id is tied to the user and the process that
// asked for it, and so is every start.
func TestRequestsOfTwoUsers(t *testing.T) {
	b := bed.New(t)
	id := b.RunT(t, "/bin/sleep", "1000")
	fifos := open(t, b)
	r, stats := tap(t, b.Socket, nil)
	const each = 6
	var mu sync.Mutex
	pids := map[event.ExecID]uint32{}
	var all errgroup.Group
	for _, uid := range []uint32{5, 34} {
		for i := range each {
			x := event.ExecID(fmt.Sprintf("exec-%d-%d", uid, i))
			all.Go(func() error {
				cmd := docker.As(b.Ctr(t.Context(), "task", "exec", "--fifo-dir", fifos, "--exec-id", string(x), id, "/bin/busybox", "true"), uid)
				out, err := cmd.CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				mu.Lock()
				defer mu.Unlock()
				pids[x] = uint32(cmd.Process.Pid)
				return nil
			})
		}
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	for x, pid := range pids {
		uid, _ := strconv.Atoi(strings.Split(string(x), "-")[1])
		for _, op := range []event.RuntimeOp{event.RuntimeOpExec, event.RuntimeOpStart} {
			o := await(t, r, 0, string(op), func(o event.RuntimeRequest) bool { return o.ExecID == x && o.Op == op })
			if o.Peer.Cred.UID != uint32(uid) || o.Peer.ID.PID != pid || string(o.Container) != id ||
				o.Namespace != bed.Namespace || !o.Certain || o.Cut || o.API != event.APIContainerd {
				t.Errorf("%s by pid %d: %+v", op, pid, o)
			}
			if op == event.RuntimeOpExec && strings.Join(o.Argv, " ") != "/bin/busybox true" {
				t.Errorf("argv %q", o.Argv)
			}
		}
	}
	if s := stats(); s.Lost != 0 || s.Uncertain != 0 || s.Requests != 4*each {
		t.Errorf("%+v", s)
	}
}

// TestRequestsUnderLoad sends a large blob through the same socket meanwhile,
// and on that very connection.
func TestRequestsUnderLoad(t *testing.T) {
	b := bed.New(t)
	id := b.RunT(t, "/bin/sleep", "1000")
	var sampled, passed atomic.Int64
	r, stats := tap(t, b.Socket, func(s event.Segment) {
		sampled.Add(int64(len(s.Data)))
		passed.Store(max(passed.Load(), int64(s.Offset)))
	})
	const size = 64 << 20
	load := b.Ctr(t.Context(), "content", "ingest", "--expected-size", strconv.Itoa(size), "blob")
	load.Stdin = bytes.NewReader(make([]byte, size))
	var all errgroup.Group
	all.Go(load.Run)
	for i := range 5 {
		if _, err := testbed.Output(b.Ctr(t.Context(), "task", "exec", "--exec-id", "x"+strconv.Itoa(i), id, "/bin/busybox", "true")); err != nil {
			t.Fatal(err)
		}
		await(t, r, 0, "start", func(o event.RuntimeRequest) bool {
			return o.Op == event.RuntimeOpStart && o.ExecID == event.ExecID("x"+strconv.Itoa(i)) && o.Certain
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(20 * time.Millisecond); passed.Load() < size && time.Now().Before(deadline); {
		<-tick.C
	}
	t.Logf("%d bytes passed, %d were sampled, %+v", passed.Load(), sampled.Load(), stats())
	if s := stats(); s.Lost != 0 || s.Requests != 10 {
		t.Errorf("%+v", s)
	}
	if passed.Load() < size || sampled.Load() > size/20 {
		t.Errorf("%d bytes passed, %d were sampled", passed.Load(), sampled.Load())
	}
}

var record = flag.Bool("record", false, "record testdata/*.bin anew")

// TestRecord records what ctr says when it starts a container and when it runs a
// command in it. The container has no environment, so none is recorded.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("only with -record")
	}
	b := bed.New(t)
	text, err := testbed.Output(b.Ctr(t.Context(), "oci", "spec"))
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		t.Fatal(err)
	}
	process := spec["process"].(map[string]any)
	process["env"], process["args"] = []string{}, []string{"/bin/busybox", "sleep", "1000"}
	spec["root"].(map[string]any)["path"] = b.Rootfs
	file := filepath.Join(b.Dir, "spec.json")
	if data, err := json.Marshal(spec); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	streams := map[uint32][]byte{} // by the client's pid
	r, _ := tap(t, b.Socket, func(s event.Segment) {
		mu.Lock()
		defer mu.Unlock()
		streams[s.Peer.ID.PID] = append(streams[s.Peer.ID.PID], s.Data...)
	})
	for _, c := range []struct {
		name string
		args []string
	}{
		{"ctr-run", []string{"run", "-d", "--runc-root", b.Dir + "/runc", "--config", file, "job1"}},
		{"ctr-exec", []string{"task", "exec", "--exec-id", "mine", "job1", "/bin/busybox", "echo", "hello"}},
	} {
		cmd := b.Ctr(t.Context(), c.args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		pid := uint32(cmd.Process.Pid)
		conn := await(t, r, 0, "the connect", func(o event.ClientConnect) bool { return o.Peer.ID.PID == pid }).Conn
		await(t, r, 0, "the end", func(o event.ClientClose) bool { return o.Conn == conn })
		mu.Lock()
		if err := os.WriteFile("testdata/"+c.name+".bin", streams[pid], 0o644); err != nil {
			t.Error(err)
		}
		mu.Unlock()
	}
}

// The test binary is its own client: the sensor leaves out the connections of
// its own process.
const envClient = "SALLYPORT_TEST_CONTAINERD"

// clientMain asks for the start of each exec that it is told on stdin, on one
// connection.
func clientMain(socket string) int {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 1
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "containerd-namespace", bed.Namespace)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		_, err := tasksapi.NewTasksClient(conn).Start(ctx, &tasksapi.StartRequest{ContainerID: "none", ExecID: lines.Text()})
		fmt.Println(status.Code(err))
	}
	return 0
}

// TestRequestsFoundInTheMiddle comes to a connection that was there before: what
// it asks is found, and is not certain.
func TestRequestsFoundInTheMiddle(t *testing.T) {
	b := bed.New(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envClient+"="+b.Socket)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	answers := bufio.NewScanner(out)
	start := func(id string) {
		t.Helper()
		fmt.Fprintln(in, id)
		if !answers.Scan() || answers.Text() != "NotFound" {
			t.Fatalf("answer %q", answers.Text())
		}
	}
	start("before") // from here on the method is a number
	r, stats := tap(t, b.Socket, nil)
	start("hidden")
	r2 := await(t, r, 0, "the connection", func(o event.ClientConnect) bool { return o.Peer.ID.PID == uint32(cmd.Process.Pid) })
	if !r2.Found || r2.Tapped {
		t.Errorf("connect %+v", r2)
	}
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(20 * time.Millisecond); stats().Calls == 0 && time.Now().Before(deadline); {
		<-tick.C
	}
	if s := stats(); s.Calls == 0 || s.Requests != 0 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}
