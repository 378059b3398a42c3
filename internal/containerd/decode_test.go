package containerd

import (
	"testing"
	"time"

	events "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport/sallyport/internal/core/event"
)

var (
	at       = time.Date(2026, 11, 23, 10, 0, 0, 5, time.UTC)
	received = at.Add(time.Second)
)

func envelope(t testing.TB, prefix string, body proto.Message) *types.Envelope {
	t.Helper()
	b, err := proto.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return &types.Envelope{
		Timestamp: timestamppb.New(at), Namespace: "moby", Topic: "/tasks/x",
		Event: &anypb.Any{TypeUrl: prefix + string(body.ProtoReflect().Descriptor().FullName()), Value: b},
	}
}

func code(n int) *int { return &n }

func TestDecode(t *testing.T) {
	head := event.Header{Time: at, Witness: event.WitnessContainerd}
	exited := at.Add(-time.Millisecond)
	for _, tc := range []struct {
		body proto.Message
		want event.RuntimeEvent
	}{
		{&events.TaskCreate{ContainerID: "c", Pid: 7}, event.RuntimeEvent{Action: event.RuntimeCreate, Container: "c", PID: 7}},
		{&events.TaskStart{ContainerID: "c", Pid: 7}, event.RuntimeEvent{Action: event.RuntimeStart, Container: "c", PID: 7}},
		{&events.TaskExecAdded{ContainerID: "c", ExecID: "e"}, event.RuntimeEvent{Action: event.RuntimeExecAdded, Container: "c", ExecID: "e"}},
		{&events.TaskExecStarted{ContainerID: "c", ExecID: "e", Pid: 8}, event.RuntimeEvent{Action: event.RuntimeExecStarted, Container: "c", ExecID: "e", PID: 8}},
		{
			&events.TaskExit{ContainerID: "c", ID: "e", Pid: 8, ExitStatus: 137, ExitedAt: timestamppb.New(exited)},
			event.RuntimeEvent{Action: event.RuntimeExit, Container: "c", ExecID: "e", PID: 8, ExitCode: code(137), ExitedAt: exited},
		},
		{&events.TaskExit{ContainerID: "c", ID: "c", Pid: 7}, event.RuntimeEvent{Action: event.RuntimeExit, Container: "c", PID: 7, ExitCode: code(0)}},
		{&events.TaskDelete{ContainerID: "c", ID: "c", Pid: 7, ExitStatus: 1}, event.RuntimeEvent{Action: event.RuntimeDelete, Container: "c", PID: 7, ExitCode: code(1)}},
		{&events.TaskDelete{ContainerID: "c", Pid: 7}, event.RuntimeEvent{Action: event.RuntimeDelete, Container: "c", PID: 7, ExitCode: code(0)}},
	} {
		for _, prefix := range []string{"", "types.googleapis.com/"} {
			tc.want.Header, tc.want.Namespace = head, "moby"
			got, ok, err := decode(envelope(t, prefix, tc.body), received)
			if err != nil || !ok {
				t.Errorf("%T: %v, %v", tc.body, ok, err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("%T: %s", tc.body, d)
			}
		}
	}
}

func TestDecodeIgnores(t *testing.T) {
	for _, env := range []*types.Envelope{nil, {}, envelope(t, "", &events.TaskOOM{ContainerID: "c"}), envelope(t, "", &events.ContainerCreate{ID: "c"})} {
		if got, ok, err := decode(env, received); ok || err != nil {
			t.Errorf("%v: %+v, %v", env, got, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	cut := envelope(t, "", &events.TaskStart{ContainerID: "c", Pid: 7})
	cut.Event.Value = cut.Event.Value[:1]
	for name, env := range map[string]*types.Envelope{
		"cut off":        cut,
		"no container":   envelope(t, "", &events.TaskStart{Pid: 7}),
		"long id":        envelope(t, "", &events.TaskExecAdded{ContainerID: "c", ExecID: string(make([]byte, maxID+1))}),
		"impossible pid": envelope(t, "", &events.TaskStart{ContainerID: "c", Pid: 1 << 31}),
	} {
		if got, ok, err := decode(env, received); ok || err == nil {
			t.Errorf("%s: taken as %+v", name, got)
		}
	}
}

func TestDecodeWithoutTime(t *testing.T) {
	env := envelope(t, "", &events.TaskStart{ContainerID: "c", Pid: 7})
	env.Timestamp = nil
	if got, _, err := decode(env, received); err != nil || !got.Time.Equal(received) {
		t.Errorf("time %v, %v; want %v", got.Time, err, received)
	}
}

// FuzzDecode feeds whole stream entries: what is accepted must be complete and
// survive the wire.
func FuzzDecode(f *testing.F) {
	for _, body := range []proto.Message{
		&events.TaskCreate{ContainerID: "c", Pid: 7},
		&events.TaskStart{ContainerID: "c", Pid: 7},
		&events.TaskExecAdded{ContainerID: "c", ExecID: "e"},
		&events.TaskExecStarted{ContainerID: "c", ExecID: "e", Pid: 8},
		&events.TaskExit{ContainerID: "c", ID: "e", Pid: 8, ExitStatus: 137, ExitedAt: timestamppb.New(at)},
		&events.TaskDelete{ContainerID: "c", ID: "c", Pid: 7, ExitStatus: 1},
		&events.TaskOOM{ContainerID: "c"},
	} {
		b, err := proto.Marshal(envelope(f, "", body))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var env types.Envelope
		if proto.Unmarshal(b, &env) != nil {
			return
		}
		e, ok, err := decode(&env, received)
		if err != nil || !ok {
			return
		}
		if e.Container == "" || e.Namespace == "" || e.Action == "" || e.Time.IsZero() {
			t.Fatalf("incomplete: %+v", e)
		}
		wire, err := event.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := event.Unmarshal(wire)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(event.Observation(e), back); d != "" {
			t.Fatalf("changed on the wire: %s", d)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	env := envelope(b, "", &events.TaskExit{
		ContainerID: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		ID:          "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210",
		Pid:         8, ExitStatus: 137, ExitedAt: timestamppb.New(at),
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := decode(env, received); !ok || err != nil {
			b.Fatal(err)
		}
	}
}
