package containerd_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed/crio"
)

// watchCRIO runs a witness until the end of the test.
func watchCRIO(t *testing.T, socket string) *recorder {
	r := &recorder{changed: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- containerd.NewCRIO(socket, nil).Run(ctx, r.add) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestCRIO: what the witness says of the pods of a real CRI-O, before and after that
// starts anew.
func TestCRIO(t *testing.T) {
	c := crio.New(t)
	before := c.RunPodT(t, "shop", "before-0")
	r := watchCRIO(t, c.Socket)
	serves := func(s event.WitnessState) bool {
		return s.Up && s.Witness == event.WitnessCRIO && int(s.DaemonPID) == c.Daemon().PID()
	}
	await(t, r, 0, "word of CRI-O", serves)
	after := c.RunPodT(t, "stock", "after-0")
	describes(t, r, 0, before)
	describes(t, r, 0, after)
	mark := r.mark()
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, r, mark, "end of CRI-O", down)
	await(t, r, mark, "word of the new CRI-O", serves)
	describes(t, r, mark, after)
}

// describes waits until it was told what a pod and its container are.
func describes(t *testing.T, r *recorder, from int, p crio.Pod) {
	t.Helper()
	of := func(id string) event.RuntimeContainer {
		return await(t, r, from, "word of "+id, func(c event.RuntimeContainer) bool { return string(c.ID) == id })
	}
	sandbox, container := of(p.Sandbox), of(p.Container)
	if !sandbox.Sandbox || container.Sandbox || container.Name != "app" || container.Image != crio.Image {
		t.Errorf("sandbox %+v, container %+v", sandbox, container)
	}
	for _, c := range []event.RuntimeContainer{sandbox, container} {
		if c.Pod != p.Name || c.PodNamespace != p.Namespace || c.PodUID != p.UID || string(c.SandboxID) != p.Sandbox ||
			time.Since(c.Created).Abs() > time.Minute {
			t.Errorf("%+v, want pod %+v", c, p)
		}
	}
}

// recordedCRIO answers as a real CRI-O 1.34 did that ran one pod (testdata/crio), and
// is as particular about what a client says it sends.
func recordedCRIO(t *testing.T, socket string) *grpc.Server {
	t.Helper()
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		md, _ := metadata.FromIncomingContext(stream.Context())
		if kind := strings.Join(md.Get("content-type"), ","); kind != "application/grpc" {
			return status.Error(codes.Internal, "content type "+kind)
		}
		b, err := os.ReadFile(filepath.Join("testdata", "crio", filepath.Base(method)))
		if err != nil {
			return status.Error(codes.Unimplemented, err.Error())
		}
		var request []byte
		return errors.Join(stream.RecvMsg(&request), stream.SendMsg(b))
	}), grpc.ForceServerCodec(plainCodec{}))
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	return s
}

// plainCodec leaves messages as they are.
type plainCodec struct{}

func (plainCodec) Name() string                  { return "" }
func (plainCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (plainCodec) Unmarshal(b []byte, v any) (_ error) {
	*v.(*[]byte) = append([]byte(nil), b...)
	return
}

// TestCRIORecorded: the same of what a real one answered, where there is none.
func TestCRIORecorded(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "crio.sock")
	r := watchCRIO(t, socket)
	await(t, r, 0, "word that nobody is there", down)
	s := recordedCRIO(t, socket)
	if at := await(t, r, 0, "word of CRI-O", up); int(at.DaemonPID) != os.Getpid() {
		t.Errorf("state %+v", at)
	}
	await(t, r, 0, "last of the containers", func(c event.RuntimeContainer) bool { return !c.Sandbox && c.Pod == "before-0" })
	want := [][6]string{ // id, sandbox, names, image
		{"6b3a3fa23950", "6b3a3fa23950", "stock", "after-0", "", ""},
		{"a3a2d00535e1", "a3a2d00535e1", "shop", "before-0", "", ""},
		{"db49a2b21487", "6b3a3fa23950", "stock", "after-0", "app", "sallyport.test/box:1"},
		{"2df31fb05ff7", "a3a2d00535e1", "shop", "before-0", "app", "sallyport.test/box:1"},
	}
	var got [][6]string
	r.mu.Lock()
	all := slices.Clone(r.all)
	r.mu.Unlock()
	for _, o := range all {
		if c, ok := o.(event.RuntimeContainer); ok {
			got = append(got, [6]string{c.ID.Short(), c.SandboxID.Short(), c.PodNamespace, c.Pod, c.Name, c.Image})
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("containers %q", got)
	}
	mark := r.mark()
	s.Stop()
	await(t, r, mark, "word that it is gone", down)
	if n := r.mark(); n != mark+1 {
		t.Errorf("its end was told in %d words", n-mark)
	}
}
