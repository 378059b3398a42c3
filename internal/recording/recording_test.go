package recording

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// book is a ledger in memory, with the rule of the real one: nothing is stated
// after a final statement.
type book struct {
	mu     sync.Mutex
	last   map[string]session.Recording
	all    []session.Recording
	gone   map[string]string
	refuse error
}

func newBook() *book { return &book{last: map[string]session.Recording{}, gone: map[string]string{}} }

func (b *book) State(_ context.Context, list []session.Recording) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		return b.refuse
	}
	for _, s := range list {
		if !b.last[s.ID].State.Final() {
			b.last[s.ID] = s
			b.all = append(b.all, s)
		}
	}
	return nil
}

func (b *book) Statements(context.Context) ([]session.Recording, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []session.Recording
	for _, s := range b.last {
		out = append(out, s)
	}
	return out, nil
}

func (b *book) Forget(_ context.Context, why string, ids []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		return b.refuse
	}
	for _, id := range ids {
		b.gone[id] = why
		delete(b.last, id)
	}
	return nil
}

func (b *book) of(id string) session.Recording {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[id]
}

// openSet opens recordings in a directory that are closed again at the end.
func openSet(t testing.TB, o Options) *Recordings {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	r, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func begin(t testing.TB, r *Recordings, h Header) *Recorder {
	t.Helper()
	rec, err := r.Begin(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func write(t testing.TB, rec *Recorder, s Stream, text string) {
	t.Helper()
	if err := rec.Write(s, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func end(t testing.TB, rec *Recorder, e End) {
	t.Helper()
	if err := rec.End(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func code(n int) *int { return &n }

// content is what a recording comes to, without times and with frames of one
// stream joined.
type content struct {
	Header  Header
	Streams [streams]string
	Order   string // streams in the order of their first bytes, gaps, sizes and the end
	Masked  uint64
	Gaps    [streams]uint64
	Whys    []string
	End     *End
	Whole   bool // no error at its end
	Frames  int
}

func collect(r *Reader) (c content) {
	c = content{Header: r.Header, Whole: true}
	c.Header.Key, c.Header.ID, c.Header.Started = nil, "", time.Time{}
	var text [streams][]byte
	defer func() {
		for s := range text {
			c.Streams[s] = string(text[s])
		}
	}()
	last := byte(0)
	put := func(b byte) {
		if b != last {
			c.Order += string(b)
			last = b
		}
	}
	for f, err := range r.Frames() {
		if err != nil {
			c.Whole = false
			break
		}
		c.Frames++
		switch {
		case f.Size != nil:
			put('r')
		case f.Gap != nil:
			c.Gaps[f.Stream] += f.Gap.Bytes
			c.Whys = append(c.Whys, f.Gap.Why)
			put('g')
		case f.Masked > 0:
			c.Masked += f.Masked
			put('m')
		case f.End != nil:
			c.End = f.End
			put('x')
		default:
			text[f.Stream] = append(text[f.Stream], f.Data...)
			put("ioe"[f.Stream])
		}
	}
	return c
}

func read(t testing.TB, dir, id string, with ...age.Identity) content {
	t.Helper()
	r, err := OpenFile(dir, id, with...)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return collect(r)
}

func sample() Header {
	uid := uint32(1000)
	return Header{
		Kind: session.KindExec, Channel: "DK-EXEC", Session: "0123456789abcdef", Exec: "e1", TTY: true, Cols: 120, Rows: 40,
		Argv:   []event.Text{"sh", "-c", "printf '\xff'"},
		Actor:  session.Actor{Kind: session.ActorUnix, User: "alice", UID: &uid},
		Target: session.Target{ContainerID: "c1", ContainerName: "web", Image: "nginx"},
	}
}

func TestRecordingIsReadBack(t *testing.T) {
	me, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range [][]age.Recipient{nil, {me.Recipient()}} {
		ledger := newBook()
		set := openSet(t, Options{Ledger: ledger, Recipients: to})
		rec := begin(t, set, sample())
		if s := ledger.of(rec.ID()); s.State != session.RecordingBegun || s.Container != "c1" || s.Exec != "e1" {
			t.Errorf("stated at the beginning: %+v", s)
		}
		write(t, rec, Stdout, "one\r\n")
		write(t, rec, Stderr, "two")
		write(t, rec, Stdin, "left out")
		if err := rec.Resize(Size{80, 24}); err != nil {
			t.Error(err)
		}
		if err := rec.Skip(Stdout, 12, "not wanted"); err != nil {
			t.Error(err)
		}
		end(t, rec, End{Exit: code(-3), Why: "killed"})
		want := content{
			Header: sample(), Streams: [streams]string{"", "one\r\n", "two"}, Order: "oergx", Gaps: [streams]uint64{0, 12},
			Whys: []string{"not wanted"}, End: &End{code(-3), "killed"}, Whole: true, Frames: 5,
		}
		want.Header.Input = InputNone
		if diff := cmp.Diff(want, read(t, set.opt.Dir, rec.ID(), me)); diff != "" {
			t.Error(diff)
		}
		if s := ledger.of(rec.ID()); s.State != session.RecordingEnded {
			t.Errorf("stated at the end: %+v", s)
		}
		if what, err := Check(set.opt.Dir, ledger.of(rec.ID())); what != "" || err != nil {
			t.Error(what, err)
		}
		i, err := Stat(set.opt.Dir, rec.ID())
		if err != nil || !i.Ended || i.Torn() != 0 || i.Actor.User != "alice" {
			t.Errorf("%+v, %v", i, err)
		}
		if err := rec.Write(Stdout, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("written after the end: %v", err)
		}
	}
}

func TestOnlyRecipientsRead(t *testing.T) {
	me, _ := age.GenerateX25519Identity()
	other, _ := age.GenerateX25519Identity()
	set := openSet(t, Options{Recipients: []age.Recipient{me.Recipient()}})
	rec := begin(t, set, sample())
	const secret = "a secret that is long enough to be found again"
	write(t, rec, Stdout, secret)
	end(t, rec, End{})
	b, err := os.ReadFile(set.path(rec.ID(), suffix))
	if err != nil || bytes.Contains(b, []byte("secret that")) {
		t.Errorf("stands in clear: %v", err)
	}
	for _, with := range [][]age.Identity{nil, {other}} {
		r, err := OpenFile(set.opt.Dir, rec.ID(), with...)
		if !errors.Is(err, ErrKey) || r == nil || r.Header.Actor.User != "alice" {
			t.Errorf("others: %v", err)
		}
		_ = r.Close()
	}
	if got := read(t, set.opt.Dir, rec.ID(), other, me); got.Streams[Stdout] != secret {
		t.Errorf("got %q", got.Streams[Stdout])
	}
}

// An encrypted block moved within its file, or from another, does not open even
// when its checksum was made to fit.
func TestSealsBindBlocksToTheirPlace(t *testing.T) {
	me, _ := age.GenerateX25519Identity()
	set := openSet(t, Options{Recipients: []age.Recipient{me.Recipient()}})
	rec := begin(t, set, sample())
	for i := range 3 {
		write(t, rec, Stdout, fmt.Sprint(i))
		if err := rec.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	end(t, rec, End{})
	whole, err := os.ReadFile(set.path(rec.ID(), suffix))
	if err != nil {
		t.Fatal(err)
	}
	bounds := blockBounds(t, whole)
	without := slices.Concat(whole[:bounds[1]], whole[bounds[2]:])
	r, err := NewReader(bytes.NewReader(without), me)
	if err != nil {
		t.Fatal(err)
	}
	if got := collect(r); got.Streams[Stdout] != "0" || got.Whole {
		t.Errorf("a block was taken out: %+v", got)
	}
}

// blockBounds returns where blocks begin, and where the last one ends.
func blockBounds(t testing.TB, whole []byte) []int {
	t.Helper()
	at, err := headSize(whole)
	if err != nil {
		t.Fatal(err)
	}
	out := []int{at}
	for at < len(whole) {
		k, err := parseBlock(whole[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += blockHead + int(k.size)
		out = append(out, at)
	}
	return out
}

// TestRoundTrip records random writes and reads them back: every byte, in its
// stream, in order.
func TestRoundTrip(t *testing.T) {
	me, _ := age.GenerateX25519Identity()
	plain := openSet(t, Options{Delay: time.Millisecond})
	sealed := openSet(t, Options{Delay: time.Millisecond, Recipients: []age.Recipient{me.Recipient()}})
	rapid.Check(t, func(rt *rapid.T) {
		set := plain
		if rapid.Bool().Draw(rt, "sealed") {
			set = sealed
		}
		rec, err := set.Begin(t.Context(), Header{Input: InputEchoed})
		if err != nil {
			rt.Fatal(err)
		}
		var want content
		for range rapid.IntRange(0, 20).Draw(rt, "steps") {
			s := Stream(rapid.IntRange(0, 2).Draw(rt, "stream"))
			piece := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "piece")
			p := bytes.Repeat(piece, rapid.SampledFrom([]int{1, 1, 100, 5000}).Draw(rt, "times"))
			if err := rec.Write(s, p); err != nil {
				rt.Fatal(err)
			}
			want.Streams[s] += string(p)
			if rapid.IntRange(0, 9).Draw(rt, "flush") == 0 {
				if err := rec.Flush(); err != nil {
					rt.Fatal(err)
				}
			}
		}
		if err := rec.End(t.Context(), End{Exit: code(7)}); err != nil {
			rt.Fatal(err)
		}
		got := read(t, set.opt.Dir, rec.ID(), me)
		if !got.Whole || got.Streams != want.Streams || got.End == nil || *got.End.Exit != 7 {
			rt.Fatalf("whole %v, end %v, streams equal %v", got.Whole, got.End, got.Streams == want.Streams)
		}
	})
}

func TestTimesGrowAndAreOfTheClock(t *testing.T) {
	set := openSet(t, Options{Delay: time.Millisecond})
	rec := begin(t, set, Header{})
	for range 5 {
		write(t, rec, Stdout, "x")
		time.Sleep(4 * time.Millisecond)
	}
	end(t, rec, End{})
	r, err := OpenFile(set.opt.Dir, rec.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var at []time.Duration
	for f, err := range r.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, f.At)
	}
	if len(at) != 6 || !slices.IsSorted(at) || at[5] < 20*time.Millisecond || at[5] > time.Minute {
		t.Errorf("times %v", at)
	}
}

// TestDelay: what waits is in the file soon, without anybody asking.
func TestDelay(t *testing.T) {
	set := openSet(t, Options{Delay: 10 * time.Millisecond})
	rec := begin(t, set, Header{})
	write(t, rec, Stdout, "soon")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if got := read(t, set.opt.Dir, rec.ID()); got.Streams[Stdout] == "soon" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not written")
		}
	}
}

// TestTornAtEveryByte cuts a recording at each of its bytes: what is read is the
// blocks before the cut, and a cut that is not between blocks is said.
func TestTornAtEveryByte(t *testing.T) {
	me, _ := age.GenerateX25519Identity()
	for _, to := range [][]age.Recipient{nil, {me.Recipient()}} {
		set := openSet(t, Options{Recipients: to})
		rec := begin(t, set, sample())
		for i := range 4 {
			write(t, rec, Stdout, fmt.Sprintf("%d;", i))
			if err := rec.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		end(t, rec, End{})
		whole, err := os.ReadFile(set.path(rec.ID(), suffix))
		if err != nil {
			t.Fatal(err)
		}
		bounds := blockBounds(t, whole)
		for cut := range whole {
			r, err := NewReader(bytes.NewReader(whole[:cut]), me)
			if cut < bounds[0] {
				if err == nil {
					t.Fatalf("cut at %d: half a header was read", cut)
				}
				continue
			}
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			blocks := 0
			for blocks+1 < len(bounds) && bounds[blocks+1] <= cut {
				blocks++
			}
			got := collect(r)
			want := "0;1;2;3;"[:2*min(blocks, 4)]
			if got.Streams[Stdout] != want || got.Whole != slices.Contains(bounds, cut) || r.Ended() {
				t.Fatalf("cut at %d: %q, whole %v, ended %v", cut, got.Streams[Stdout], got.Whole, r.Ended())
			}
			checkMeasured(t, whole[:cut], bounds[blocks])
			_ = r.Close()
		}
	}
}

func checkMeasured(t *testing.T, b []byte, whole int) {
	t.Helper()
	m, err := measure(bytes.NewReader(b), int64(whole))
	if err != nil || m.whole != int64(whole) || m.tail != int64(len(b)-whole) || m.at == nil || m.ended {
		t.Fatalf("%d bytes, %d whole: %+v, %v", len(b), whole, m, err)
	}
}

// TestEveryChangedByteIsFound flips each byte of a recording: Check says so.
func TestEveryChangedByteIsFound(t *testing.T) {
	ledger := newBook()
	set := openSet(t, Options{Ledger: ledger})
	rec := begin(t, set, Header{Kind: session.KindExec})
	write(t, rec, Stdout, strings.Repeat("text ", 100))
	end(t, rec, End{})
	name := set.path(rec.ID(), suffix)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Check(set.opt.Dir, ledger.of(rec.ID())); got == "" || err != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1
		check(fmt.Sprintf("byte %d changed", i), b)
		check(fmt.Sprintf("cut at %d", i), whole[:i])
	}
	check("longer", append(bytes.Clone(whole), 0))
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if got, err := Check(set.opt.Dir, ledger.of(rec.ID())); got != "its file is missing" || err != nil {
		t.Error(got, err)
	}
}

// TestRunningRecordingIsProvenAsFarAsStated: what was stated of a recording that
// grows stays proven, and a change before that shows.
func TestRunningRecordingIsProvenAsFarAsStated(t *testing.T) {
	ledger := newBook()
	set := openSet(t, Options{Ledger: ledger, Delay: time.Millisecond, SyncEvery: 2 * time.Millisecond, StateEvery: 5 * time.Millisecond})
	rec := begin(t, set, Header{})
	refuse := func(err error) {
		ledger.mu.Lock()
		defer ledger.mu.Unlock()
		ledger.refuse = err
	}
	refuse(errors.New("full")) // then it is stated later, though nothing follows
	write(t, rec, Stdout, "first")
	time.Sleep(50 * time.Millisecond)
	refuse(nil)
	for deadline := time.Now().Add(10 * time.Second); ledger.of(rec.ID()).State != session.RecordingRunning; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never stated")
		}
	}
	s := ledger.of(rec.ID())
	write(t, rec, Stdout, "more")
	_ = rec.Flush()
	if what, err := Check(set.opt.Dir, s); what != "" || err != nil {
		t.Error(what, err)
	}
	f, err := os.OpenFile(set.path(rec.ID(), suffix), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xff}, s.Size-1); err != nil {
		t.Fatal(err)
	}
	if what, _ := Check(set.opt.Dir, s); what == "" {
		t.Error("a change of what was stated does not show")
	}
}

func TestNothingBeginsWithoutTheLedger(t *testing.T) {
	ledger := newBook()
	set := openSet(t, Options{Ledger: ledger})
	ledger.refuse = errors.New("full")
	if _, err := set.Begin(t.Context(), Header{}); !errors.Is(err, ledger.refuse) {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(set.opt.Dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFilesArePrivate(t *testing.T) {
	set := openSet(t, Options{Dir: filepath.Join(t.TempDir(), "recordings")})
	rec := begin(t, set, Header{})
	for _, name := range []string{set.opt.Dir, set.path(rec.ID(), suffix)} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	ledger := newBook()
	set, err := Open(t.Context(), Options{Dir: t.TempDir(), Ledger: ledger})
	if err != nil {
		t.Fatal(err)
	}
	rec := begin(t, set, Header{})
	write(t, rec, Stdout, "x")
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, set.opt.Dir, rec.ID()); got.End == nil || got.End.Exit != nil || got.Streams[Stdout] != "x" {
		t.Errorf("%+v", got)
	}
	if s := ledger.of(rec.ID()); s.State != session.RecordingEnded {
		t.Error(s.State)
	}
	if _, err := set.Begin(t.Context(), Header{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestConcurrentStreams: three goroutines copy a stream each, others flush.
func TestConcurrentStreams(t *testing.T) {
	set := openSet(t, Options{Delay: time.Millisecond, SyncEvery: time.Millisecond})
	rec := begin(t, set, Header{Input: InputEchoed})
	var group sync.WaitGroup
	want := strings.Repeat("0123456789", 20000)
	for s := range Stream(streams) {
		group.Go(func() {
			for p := []byte(want); len(p) > 0; {
				n := min(len(p), 777)
				if err := rec.Write(s, p[:n]); err != nil {
					t.Error(err)
				}
				p = p[n:]
			}
		})
	}
	group.Wait()
	end(t, rec, End{})
	got := read(t, set.opt.Dir, rec.ID())
	for s := range streams {
		if got.Streams[s] != want {
			t.Errorf("%s: %d bytes", Stream(s), len(got.Streams[s]))
		}
	}
}

func FuzzReader(f *testing.F) {
	set := openSet(f, Options{})
	rec := begin(f, set, sample())
	write(f, rec, Stdout, "hello\r\n")
	_ = rec.Resize(Size{1, 2})
	_ = rec.Skip(Stderr, 3, "why")
	end(f, rec, End{Exit: code(1), Why: "x"})
	whole, err := os.ReadFile(set.path(rec.ID(), suffix))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		defer r.Close()
		for f, err := range r.Frames() {
			var torn *TornError
			if err != nil && !errors.As(err, &torn) {
				t.Fatal(err)
			}
			if err != nil && (torn.Offset > int64(len(b)) || torn.Offset <= 0) {
				t.Fatalf("torn at %d of %d", torn.Offset, len(b))
			}
			_ = f.note()
		}
		if r.offset > int64(len(b)) {
			t.Fatalf("read %d of %d bytes", r.offset, len(b))
		}
	})
}

// FuzzFrames reads what stands in a block without a checksum before it.
func FuzzFrames(f *testing.F) {
	f.Add(appendEnd(appendGap(appendData(nil, kindStdout, 5, []byte("x")), 1, Stderr, Gap{9, "y"}), 2, End{Exit: code(-1)}))
	f.Add(appendMasked(appendResize(nil, 0, Size{80, 24}), 1, 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		list := frames{b: b}
		total := 0
		for fr, ok := list.next(); ok; fr, ok = list.next() {
			if total += len(fr.Data); total > len(b) || fr.At < 0 || fr.Stream >= streams {
				t.Fatalf("%+v", fr)
			}
		}
		if list.err == nil && len(list.b) > 0 {
			t.Fatal("stopped without a reason")
		}
	})
}

// TestHurried: what a person may read is packed well, more than that fast, and a
// pause that the scheduler makes changes nothing.
func TestHurried(t *testing.T) {
	r, now := &Recorder{}, time.Now()
	for _, c := range []struct {
		what  string
		times int
		n     int           // bytes, each time
		after time.Duration // each time
		want  bool          // at the last
	}{
		{"the first block", 1, 64 << 10, 0, false},
		{"screens", 50, 8 << 10, 100 * time.Millisecond, false},
		{"10 MB/s", 1000, 64 << 10, 6554 * time.Microsecond, false},
		{"a pause", 1, 100, time.Minute, false},
		{"100 kB at once", 3, 32 << 10, 0, false},
		{"as much again", 3, 32 << 10, 0, true},
		{"a pause", 1, 100, time.Minute, false},
		{"13 MB/s", 500, 65_000, 5 * time.Millisecond, true},
		{"200 MB/s", 100, 64 << 10, 328 * time.Microsecond, true},
		{"20 ms without", 1, 16, 20 * time.Millisecond, true},
		{"15 ms more", 1, 16, 15 * time.Millisecond, false},
	} {
		var got bool
		for range c.times {
			now = now.Add(c.after)
			got = r.hurried(now, c.n)
		}
		if got != c.want {
			t.Errorf("%s: hurried %t", c.what, got)
		}
	}
}
