package containerd

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

// FuzzRequests feeds arbitrary pieces. Each piece of the input is: one byte of
// flags, two of length, one of offset skew, two of sample size, and the sample.
func FuzzRequests(f *testing.F) {
	for name := range conversations {
		for _, cut := range []int{100, 700, 1 << 14} {
			var in []byte
			for _, s := range pieces(recorded(f, name), 0, cut) {
				in = append(in, 1)
				in = binary.BigEndian.AppendUint16(in, uint16(s.Length))
				in = append(in, 0)
				in = binary.BigEndian.AppendUint16(in, uint16(len(s.Data)))
				in = append(in, s.Data...)
			}
			f.Add(in)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewRequests(RequestOptions{Conns: 2, Memory: 4 << 10})
		var offset uint64
		at := time.Unix(0, 0)
		for len(in) > 6 {
			flags, length, skew := in[0], binary.BigEndian.Uint16(in[1:]), in[3]
			sample := min(int(binary.BigEndian.Uint16(in[4:])), len(in)-6)
			at = at.Add(time.Millisecond)
			for _, o := range r.Segment(event.Segment{
				Head: event.Header{Time: at}, Service: event.ServiceContainerd, Conn: event.ConnID(1 + flags>>4),
				Whole: flags&1 != 0, Offset: offset + uint64(int8(skew)), Length: uint32(length), Data: in[6 : 6+sample],
			}) {
				checkRequest(t, o.(event.RuntimeRequest))
			}
			offset += uint64(length)
			in = in[6+sample:]
		}
		if r.memory.Held() > r.memory.Limit {
			t.Errorf("holds %d bytes, may hold %d", r.memory.Held(), r.memory.Limit)
		}
		for id := range event.ConnID(17) {
			r.Forget(id)
		}
		if r.memory.Held() != 0 || r.conns.Len() != 0 {
			t.Errorf("still holds %d bytes of %d connections", r.memory.Held(), r.conns.Len())
		}
	})
}

// checkRequest says what must hold of every observation, whatever the input.
func checkRequest(t *testing.T, r event.RuntimeRequest) {
	t.Helper()
	b, err := event.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := event.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := back.(event.RuntimeRequest); !cmp.Equal(got.Argv, r.Argv) || got.Container != r.Container || got.ExecID != r.ExecID {
		t.Fatalf("%+v became %+v", r, got)
	}
	for _, s := range []string{r.Namespace, string(r.Container), string(r.Sandbox), string(r.ExecID), r.User, r.UserAgent} {
		if len(s) > 3*maxID {
			t.Errorf("%s: a string of %d bytes", r.Op, len(s))
		}
	}
}

// FuzzCut takes what a client may send and cuts it in two ways: the requests
// must be the same.
func FuzzCut(f *testing.F) {
	for name := range conversations {
		f.Add(recorded(f, name), uint16(3), uint16(500))
	}
	f.Fuzz(func(t *testing.T, in []byte, a, b uint16) {
		// Only what is certain must agree: where it ends, chance decides what is
		// found again.
		certain := func(n uint16) []string {
			var out []event.RuntimeRequest
			for _, r := range requestsIn(NewRequests(RequestOptions{}), pieces(in, 0, int(n)+1)...) {
				if r.Certain {
					out = append(out, r)
				}
			}
			return brief(out)
		}
		if diff := cmp.Diff(certain(a), certain(b)); diff != "" {
			t.Error(diff)
		}
	})
}
