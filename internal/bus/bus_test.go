package bus_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/bus"
	"github.com/sallyport/sallyport/internal/core/event"
)

func lines(t testing.TB, observations []event.Observation) []byte {
	t.Helper()
	var out []byte
	for _, o := range observations {
		line, err := event.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out = append(append(out, line...), '\n')
	}
	return out
}

func some(n int) []event.Observation {
	var out []event.Observation
	for i := range n {
		head := event.Header{Time: time.Unix(int64(i), 7).UTC(), Witness: event.WitnessDocker}
		out = append(out, event.DockerEvent{Header: head, Action: event.DockerExecStart, Name: fmt.Sprintf("box\n%d\xff", i)})
	}
	return out
}

func pack(t testing.TB, first uint64, observations []event.Observation) bus.Batch {
	t.Helper()
	p, err := bus.NewPacker()
	if err != nil {
		t.Fatal(err)
	}
	return p.Pack(first, first+uint64(len(observations))-1, len(observations), lines(t, observations))
}

func TestBatch(t *testing.T) {
	want := some(100)
	wire := pack(t, 5, want).Append(nil)
	b, err := bus.Parse(wire)
	if err != nil || b.First != 5 || b.Last != 104 || !b.Whole() || b.Size() != len(wire) {
		t.Fatalf("%+v, %v", b, err)
	}
	u, err := bus.NewUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	var got []event.Observation
	for o, err := range u.All(b) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o)
	}
	// Names that are no UTF-8 are the wire form's affair; all else is equal.
	if len(got) != len(want) || !cmp.Equal(got[3].Head(), want[3].Head()) {
		t.Errorf("got %d observations, the fourth %+v", len(got), got[3])
	}
}

// FuzzBatch: whatever comes, it is read or refused, and never more than its
// bounds is unpacked.
func FuzzBatch(f *testing.F) {
	f.Add(pack(f, 1, some(3)).Append(nil))
	f.Add(pack(f, 1<<40, some(1)).Append(nil)[:30])
	f.Add(make([]byte, 24))
	u, err := bus.NewUnpacker()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := bus.Parse(p)
		if err != nil {
			return
		}
		n := 0
		for o, err := range u.All(b) {
			if err == nil && o == nil {
				t.Error("neither an observation nor an error")
			}
			n++
		}
		if n > bus.MaxCount {
			t.Errorf("%d observations", n)
		}
	})
}
