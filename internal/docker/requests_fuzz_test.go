package docker

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

// FuzzSegments feeds arbitrary pieces. Each piece of the input is: one byte of
// flags, two of length, one of offset skew, and so many bytes of data as there
// are up to the length.
func FuzzSegments(f *testing.F) {
	for _, c := range conversations {
		var in []byte
		for _, s := range wire(c.turns, func(left int) int { return min(left, 200) }, 150) {
			flags := byte(2)
			if s.Sent {
				flags |= 1
			}
			in = append(in, flags)
			in = binary.BigEndian.AppendUint16(in, uint16(s.Length))
			in = append(in, 0, byte(len(s.Data)))
			in = append(in, s.Data...)
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewRequests(RequestOptions{Conns: 2, Memory: 4 << 10})
		var offset [2]uint64
		at := time.Unix(0, 0)
		for len(in) > 5 {
			flags, length, skew, sample := in[0], binary.BigEndian.Uint16(in[1:]), in[3], int(in[4])
			in = in[5:]
			sample = min(sample, len(in))
			dir := flags & 1
			at = at.Add(time.Millisecond)
			for _, o := range r.Segment(event.Segment{
				Head: event.Header{Time: at}, Service: event.ServiceDocker, Conn: event.ConnID(1 + flags>>4),
				Sent: dir == 1, Whole: flags&2 != 0, Offset: offset[dir] + uint64(int8(skew)),
				Length: uint32(length), Data: in[:sample],
			}) {
				check(t, o)
			}
			offset[dir] += uint64(length)
			in = in[sample:]
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

// check says what must hold of every observation, whatever the input.
func check(t *testing.T, o event.Observation) {
	t.Helper()
	b, err := event.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := event.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	r, ok := o.(event.DockerRequest)
	if !ok {
		return
	}
	for _, s := range []string{r.Ref, string(r.ExecID), string(r.Path), r.User, r.UserAgent} {
		if len(s) > maxPath {
			t.Errorf("%s: a string of %d bytes", r.Op, len(s))
		}
	}
}

// FuzzSplit takes what a client may send and cuts it in two ways: the requests
// must be the same.
func FuzzSplit(f *testing.F) {
	for _, c := range conversations {
		var ask strings.Builder
		for _, tn := range c.turns {
			if !tn.daemon {
				ask.WriteString(tn.text)
			}
		}
		f.Add(ask.String(), uint16(3), uint16(50))
	}
	f.Fuzz(func(t *testing.T, text string, a, b uint16) {
		// Only what is certain must agree: where it ends, chance decides which
		// later piece looks like a request.
		certain := func(n uint16) []string {
			segs := wire([]turn{ask(text)}, func(left int) int { return min(left, int(n)+1) }, 1<<20)
			lines := read(t, segs)
			if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasSuffix(l, " uncertain") }); i >= 0 {
				lines = lines[:i+1]
			}
			return lines
		}
		if diff := cmp.Diff(certain(a), certain(b)); diff != "" {
			t.Errorf("cut by %d and by %d (-+):\n%s", int(a)+1, int(b)+1, diff)
		}
	})
}
