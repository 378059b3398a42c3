package queue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func open(t testing.TB, opt Options) *Queue {
	t.Helper()
	q, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func entry(position int64, size int) Entry {
	return Entry{position, bytes.Repeat(fmt.Appendf(nil, "%08d", position), size/8+1)}
}

func fill(t testing.TB, q *Queue, n, size int) {
	t.Helper()
	for range n {
		after := q.Last()
		if err := q.Put(after, entry(after+2, size)); err != nil {
			t.Fatal(err)
		}
	}
}

// drain acknowledges everything and returns the positions in order.
func drain(t testing.TB, q *Queue, count int) (out []int64) {
	t.Helper()
	for {
		b, err := q.Next(count, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Entries) == 0 {
			return out
		}
		for _, e := range b.Entries {
			if !bytes.HasPrefix(e.Body, fmt.Appendf(nil, "%08d", e.Position)) {
				t.Fatalf("entry %d has another's body", e.Position)
			}
			out = append(out, e.Position)
		}
		if err := q.Acknowledge(b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatWasPutComesOutInOrderAcrossReopening(t *testing.T) {
	dir := t.TempDir()
	q := open(t, Options{Dir: dir, Start: 10})
	if q.Last() != 10 {
		t.Fatalf("a new queue begins after %d", q.Last())
	}
	fill(t, q, 50, 4000)
	b, err := q.Next(20, 1<<20)
	if err != nil || len(b.Entries) != 20 {
		t.Fatalf("%d entries, %v", len(b.Entries), err)
	}
	if err := q.Acknowledge(b); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second time it opens with %v", err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, Options{Dir: dir})
	if s := q.Stats(); s.Entries != 30 || q.Last() != 110 {
		t.Fatalf("%+v, last %d", s, q.Last())
	}
	got := drain(t, q, 7)
	if len(got) != 30 || got[0] != 52 || got[29] != 110 {
		t.Errorf("%v", got)
	}
	if err := errors.Join(q.Skip(110, 500), q.Close()); err != nil {
		t.Fatal(err)
	}
	if q = open(t, Options{Dir: dir}); q.Last() != 500 || !q.Empty() {
		t.Errorf("what was skipped is forgotten: last %d", q.Last())
	}
}

func TestAFullQueueRefusesAndDropsNothing(t *testing.T) {
	q := open(t, Options{Dir: t.TempDir(), Bytes: bytesMin})
	var err error
	n := 0
	for ; err == nil; n++ {
		err = q.Put(q.Last(), entry(q.Last()+1, 30_000))
	}
	if !errors.Is(err, ErrFull) || n < 20 {
		t.Fatalf("put %d: %v", n, err)
	}
	if s := q.Stats(); s.Bytes > bytesMin || s.Entries != uint64(n-1) {
		t.Errorf("%+v after %d", s, n-1)
	}
	if err := q.Put(q.Last(), entry(q.Last()+1, int(q.MaxEntry())+1)); !errors.Is(err, ErrSize) {
		t.Errorf("too large: %v", err)
	}
	if err := q.Put(q.Last()+1, entry(q.Last()+2, 1)); !errors.Is(err, ErrMoved) {
		t.Errorf("a hole: %v", err)
	}
	if got := drain(t, q, 5); len(got) != n-1 {
		t.Errorf("%d came out of %d", len(got), n-1)
	}
	fill(t, q, 20, 30_000)
	if got := drain(t, q, 100); len(got) != 20 {
		t.Errorf("%d came out of 20", len(got))
	}
}

func segmentsOf(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestATornEndIsCutOff(t *testing.T) {
	dir := t.TempDir()
	q := open(t, Options{Dir: dir})
	fill(t, q, 5, 100)
	name := segmentsOf(t, dir)[0]
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	size := len(whole) / 5
	for cut := len(whole) - 1; cut > len(whole)-size; cut-- {
		if err := os.WriteFile(name, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		q := open(t, Options{Dir: dir})
		if s := q.Stats(); s.Torn == 0 || s.Entries != 4 || q.Last() != 8 {
			t.Fatalf("cut at %d: %+v, last %d", cut, s, q.Last())
		}
		fill(t, q, 1, 100)
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		// As it was, without what fill added in a segment of its own.
		for _, other := range segmentsOf(t, dir) {
			if other != name {
				_ = os.Remove(other)
			}
		}
	}
}

// TestDamageTakesTheQueueBack flips one byte anywhere: what is before it comes
// out, and Last says from where on to fill again.
func TestDamageTakesTheQueueBack(t *testing.T) {
	for _, live := range []bool{false, true} {
		for at := 0; at < 12; at++ {
			dir := t.TempDir()
			q := open(t, Options{Dir: dir, Bytes: bytesMin})
			fill(t, q, 12, 30_000)
			names := segmentsOf(t, dir)
			if len(names) < 3 {
				t.Fatalf("%d segments", len(names))
			}
			if !live {
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
			}
			perSegment := 12 / len(names)
			flip(t, names[min(at/perSegment, len(names)-1)], int64(at%perSegment)*30_000+500)
			if !live {
				q = open(t, Options{Dir: dir, Bytes: bytesMin})
			}
			got := drain(t, q, 5)
			last := q.Last()
			if int64(len(got))*2 != last || last >= 24 || last < int64(at-1)*2-4 {
				t.Fatalf("live %v, %d: %v came out, last %d", live, at, got, last)
			}
			fill(t, q, int(24-last)/2, 30_000)
			again := drain(t, q, 5)
			if len(got)+len(again) != 12 || again[len(again)-1] != 24 {
				t.Fatalf("live %v, %d: %v, then %v", live, at, got, again)
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			if q = open(t, Options{Dir: dir, Bytes: bytesMin}); !q.Empty() || q.Last() != 24 {
				t.Fatalf("live %v, %d: opened again, last %d", live, at, q.Last())
			}
		}
	}
}

func flip(t *testing.T, name string, at int64) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text[at] ^= 1
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(text[at:at+1], at); err != nil {
		t.Fatal(err)
	}
}

// TestQueueIsAList compares it with a list, through any sequence of puts,
// acknowledgements and reopenings.
func TestQueueIsAList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "q")
		if err != nil {
			rt.Fatal(err)
		}
		q := open(t, Options{Dir: dir, Bytes: bytesMin})
		var want []int64
		last := int64(0)
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				n := rapid.IntRange(1, 4).Draw(rt, "n")
				var list []Entry
				for range n {
					list = append(list, entry(last+int64(len(list))+1, rapid.IntRange(0, 60_000).Draw(rt, "size")))
				}
				switch err := q.Put(last, list...); {
				case errors.Is(err, ErrFull):
				case err != nil:
					rt.Fatal(err)
				default:
					for _, e := range list {
						last = e.Position
						want = append(want, last)
					}
				}
			},
			"take": func(rt *rapid.T) {
				b, err := q.Next(rapid.IntRange(1, 8).Draw(rt, "count"), int64(rapid.IntRange(1, 200_000).Draw(rt, "bytes")))
				if err != nil {
					rt.Fatal(err)
				}
				if len(b.Entries) == 0 != (len(want) == 0) || len(b.Entries) > len(want) {
					rt.Fatalf("%d entries of %d", len(b.Entries), len(want))
				}
				for i, e := range b.Entries {
					if e.Position != want[i] {
						rt.Fatalf("position %d, want %d", e.Position, want[i])
					}
				}
				if rapid.Bool().Draw(rt, "acknowledge") {
					want = want[len(b.Entries):]
					if err := q.Acknowledge(b); err != nil {
						rt.Fatal(err)
					}
				}
			},
			"reopen": func(rt *rapid.T) {
				if err := q.Close(); err != nil {
					rt.Fatal(err)
				}
				q = open(t, Options{Dir: dir, Bytes: bytesMin})
			},
			"": func(rt *rapid.T) {
				s := q.Stats()
				if s.Bytes > s.Limit || s.Entries != uint64(len(want)) || q.Last() != last || s.Damaged+uint64(s.Torn) != 0 {
					rt.Fatalf("%+v, last %d; want %d entries, last %d", s, q.Last(), len(want), last)
				}
			},
		})
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(nil, Entry{7, []byte("abc")}))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, next, err := readFrame(bytes.NewReader(b), 0)
		if err == nil && !bytes.Equal(appendFrame(nil, e), b[:next]) {
			t.Errorf("%q reads as %+v", b[:next], e)
		}
	})
}
