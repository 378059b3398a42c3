package recording

import (
	"bufio"
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
)

// mountSmall mounts a tmpfs of the given size and returns where, unmounted again
// at the end of the test.
func mountSmall(t *testing.T, size string) string {
	t.Helper()
	testbed.Require(t, testbed.Root)
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func remount(t *testing.T, mount, size string) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", "remount,size="+size, mount).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v: %s", err, out)
	}
}

// noisy is what does not compress: n bytes of it fill n bytes of a disk.
func noisy(n int) []byte {
	b := make([]byte, n)
	_, _ = cryptorand.Read(b)
	return b
}

func TestStrictEndsTheSessionOnAFullDisk(t *testing.T) {
	dir, ledger := mountSmall(t, "1m"), newBook()
	set := openSet(t, Options{Dir: dir, Ledger: ledger})
	rec := begin(t, set, Header{})
	var taken bytes.Buffer
	var err error
	for range 100 {
		p := noisy(50_000)
		taken.Write(p) // of the last one a part may be recorded
		if err = rec.Write(Stdout, p); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("full disk: %v", err)
	}
	if err := rec.Write(Stdout, []byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("after the failure: %v", err)
	}
	remount(t, dir, "2m")
	if err := rec.Write(Stdout, []byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("with space again a strict recorder goes on: %v", err)
	}
	if err := rec.End(t.Context(), End{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("end: %v", err)
	}
	s := ledger.of(rec.ID())
	if s.State != session.RecordingTorn || s.Lost == 0 {
		t.Errorf("stated: %+v", s)
	}
	if what, err := Check(dir, s); what != "" || err != nil {
		t.Error(what, err)
	}
	got := read(t, dir, rec.ID())
	if out := got.Streams[Stdout]; !strings.HasPrefix(taken.String(), out) || len(out) < 700_000 {
		t.Errorf("%d bytes are readable", len(out))
	}
	if _, err := set.Begin(t.Context(), Header{}); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// TestLenientMarksTheGap fills the disk and gives space again: what was recorded
// and what is missing come to what passed.
func TestLenientMarksTheGap(t *testing.T) {
	dir, ledger := mountSmall(t, "1m"), newBook()
	set := openSet(t, Options{Dir: dir, Ledger: ledger, Delay: 5 * time.Millisecond})
	rec := begin(t, set, Header{Lenient: true})
	var passed [streams]uint64
	put := func(s Stream, n int) {
		t.Helper()
		if err := rec.Write(s, noisy(n)); err != nil {
			t.Fatalf("a lenient recorder fails: %v", err)
		}
		passed[s] += uint64(n)
	}
	for range 30 {
		put(Stdout, 50_000)
		put(Stderr, 1000)
	}
	remount(t, dir, "8m")
	time.Sleep(retryAfter + 100*time.Millisecond) // it says by itself what is missing
	if got := read(t, dir, rec.ID()); got.Gaps[Stdout] == 0 || len(got.Whys) == 0 || !strings.Contains(got.Whys[0], "no space") {
		t.Errorf("the gap is not marked: %v %v", got.Gaps, got.Whys)
	}
	put(Stdout, 70_000)
	end(t, rec, End{Exit: code(0)})
	got := read(t, dir, rec.ID())
	var lost uint64
	for s := range streams {
		if n := uint64(len(got.Streams[s])) + got.Gaps[s]; n != passed[s] {
			t.Errorf("%s: %d recorded and %d marked, %d passed", Stream(s), len(got.Streams[s]), got.Gaps[s], passed[s])
		}
		lost += got.Gaps[s]
	}
	if s := ledger.of(rec.ID()); s.State != session.RecordingEnded || s.Lost != lost || lost == 0 {
		t.Errorf("stated: %+v; %d are marked", s, lost)
	}
	if what, err := Check(dir, ledger.of(rec.ID())); what != "" || err != nil {
		t.Error(what, err)
	}
}

// TestLenientToTheEnd: a disk that never works again leaves a recording without
// an end, and how much is missing is in the ledger at least.
func TestLenientToTheEnd(t *testing.T) {
	ledger := newBook()
	set := openSet(t, Options{Ledger: ledger})
	rec := begin(t, set, Header{Lenient: true})
	write(t, rec, Stdout, "kept")
	if err := rec.Flush(); err != nil {
		t.Fatal(err)
	}
	unwritable(t, rec)
	write(t, rec, Stdout, "lost")
	_ = rec.Flush()
	write(t, rec, Stderr, "lost, too")
	if err := rec.End(t.Context(), End{}); !errors.Is(err, syscall.EBADF) {
		t.Errorf("end: %v", err)
	}
	got := read(t, set.opt.Dir, rec.ID())
	s := ledger.of(rec.ID())
	if s.State != session.RecordingTorn || s.Lost != uint64(len("lostlost, too")) || got.Streams[Stdout] != "kept" || got.End != nil {
		t.Errorf("stated %+v; recorded %+v", s, got)
	}
	if what, err := Check(set.opt.Dir, s); what != "" || err != nil {
		t.Error(what, err)
	}
}

// TestFailedSyncIsMarked: what is in the file may not survive a loss of power,
// and a lenient recording says so.
func TestFailedSyncIsMarked(t *testing.T) {
	set := openSet(t, Options{SyncEvery: time.Hour})
	rec := begin(t, set, Header{Lenient: true})
	write(t, rec, Stdout, "x")
	if err := rec.Flush(); err != nil {
		t.Fatal(err)
	}
	file := rec.file
	_, w, err := os.Pipe() // which cannot be synced
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	rec.file = w
	if _, ok := rec.sync(); ok {
		t.Fatal("synced a pipe")
	}
	rec.file, rec.retry = file, time.Time{}
	write(t, rec, Stdout, "y")
	end(t, rec, End{})
	got := read(t, set.opt.Dir, rec.ID())
	if got.Streams[Stdout] != "xy" || len(got.Whys) != 1 || !strings.Contains(got.Whys[0], "loss of power") || got.Gaps[Stdout] != 0 {
		t.Errorf("%+v", got)
	}
}

// unwritable makes every write to a recorder's file fail.
func unwritable(t *testing.T, rec *Recorder) {
	t.Helper()
	f, err := os.Open(rec.set.path(rec.ID(), suffix))
	if err != nil {
		t.Fatal(err)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	_ = rec.file.Close()
	rec.file = f
}

const writerEnv = "SALLYPORT_RECORDING_WRITER" // directory; the test binary becomes a writer

// TestMain lets the test binary be the writer that gets killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		if err := recordForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// recordForever writes numbered lines and prints the last that was flushed.
func recordForever(dir string) error {
	set, err := Open(context.Background(), Options{Dir: dir, Delay: time.Millisecond})
	if err != nil {
		return err
	}
	rec, err := set.Begin(context.Background(), Header{})
	if err != nil {
		return err
	}
	fmt.Println(rec.ID())
	for n := 0; ; n++ {
		if err := rec.Write(Stdout, fmt.Appendf(nil, "%d\n", n)); err != nil {
			return err
		}
		if n%100 == 0 {
			if err := rec.Flush(); err != nil {
				return err
			}
			fmt.Println(n)
		}
	}
}

func TestKillLosesNothingFlushed(t *testing.T) {
	dir := mountSmall(t, "256m") // a kill takes nothing from a disk's cache either
	for range 15 {
		id, flushed := recordAndKill(t, dir)
		// The writer had no ledger; this one has what it would have said at first.
		ledger := newBook()
		f, err := find(dir, id)
		if err != nil {
			t.Fatal(err)
		}
		head, err := readHead(f)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		m, err := measure(bytes.NewReader(head), 0)
		if err != nil {
			t.Fatal(err)
		}
		ledger.last[id] = session.Recording{ID: id, State: session.RecordingBegun, Size: m.whole, Hash: m.chain.String()}
		set, err := Open(t.Context(), Options{Dir: dir, Ledger: ledger})
		if err != nil {
			t.Fatal(err)
		}
		got := read(t, dir, id)
		lines := strings.SplitAfter(got.Streams[Stdout], "\n")
		lines = lines[:len(lines)-1] // after the last newline
		for i, l := range lines {
			if l != fmt.Sprintln(i) {
				t.Fatalf("line %d is %q", i, l)
			}
		}
		if len(lines) <= flushed || got.End != nil {
			t.Errorf("%d lines are readable, line %d was flushed", len(lines), flushed)
		}
		s := ledger.of(id)
		if s.State != session.RecordingTorn {
			t.Errorf("sealed as %s", s.State)
		}
		if what, err := Check(dir, s); what != "" || err != nil {
			t.Error(what, err)
		}
		_ = set.Close()
	}
}

func recordAndKill(t *testing.T, dir string) (id string, flushed int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	flushed = -1
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if id == "" {
			id = lines.Text()
			time.AfterFunc(time.Duration(rand.IntN(50))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			continue
		}
		if _, err := fmt.Sscan(lines.Text(), &flushed); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait()
	if id == "" || stderr.Len() > 0 {
		t.Fatalf("the writer: %s", stderr.String())
	}
	return id, flushed
}

// TestRecover brings a directory into each state that a kill can leave and opens
// it again.
func TestRecover(t *testing.T) {
	dir, ledger := t.TempDir(), newBook()
	set, err := Open(t.Context(), Options{Dir: dir, Ledger: ledger})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 6 {
		rec := begin(t, set, Header{})
		write(t, rec, Stdout, "x")
		end(t, rec, End{})
		ids = append(ids, rec.ID())
	}
	_ = set.Close()
	move := func(id, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(dir, id+suffix), filepath.Join(dir, id+to)); err != nil {
			t.Fatal(err)
		}
	}
	whole := ledger.of(ids[0])
	begun := ledger.all[0]
	if begun.ID != ids[0] || begun.State != session.RecordingBegun {
		t.Fatalf("%+v", begun)
	}
	ledger.last[ids[0]] = begun // killed after its last write, before it was stated
	move(ids[1], suffixNew)     // killed while it began, the ledger knew it
	move(ids[2], suffixNew)     // the ledger did not
	delete(ledger.last, ids[2])
	move(ids[3], suffixGone) // killed while it was pruned, the ledger knew it still
	move(ids[4], suffixGone) // the ledger had forgotten it
	delete(ledger.last, ids[4])
	changed := ledger.of(ids[5]) // stays as it is: it is evidence
	changed.State, changed.Hash = session.RecordingRunning, strings.Repeat("0", 64)
	ledger.last[ids[5]] = changed

	set, err = Open(t.Context(), Options{Dir: dir, Ledger: ledger})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	got, err := IDs(dir)
	if err != nil || len(got) != 4 {
		t.Errorf("%d recordings, %v", len(got), err)
	}
	if s := ledger.of(ids[0]); s.State != session.RecordingEnded || s.Hash != whole.Hash {
		t.Errorf("sealed: %+v", s)
	}
	for _, id := range []string{ids[0], ids[1], ids[3]} {
		if what, err := Check(dir, ledger.of(id)); what != "" || err != nil {
			t.Error(id, what, err)
		}
	}
	if s := ledger.of(ids[5]); s != changed {
		t.Errorf("a changed recording was sealed: %+v", s)
	}
	if what, _ := Check(dir, ledger.of(ids[5])); what == "" {
		t.Error("a changed recording is proven")
	}
}

func TestPrune(t *testing.T) {
	ledger := newBook()
	set := openSet(t, Options{Ledger: ledger})
	var ids []string
	now := time.Now()
	for i := range 5 {
		rec := begin(t, set, Header{})
		if err := rec.Write(Stdout, noisy(100_000)); err != nil {
			t.Fatal(err)
		}
		if i != 1 { // 1 runs on
			end(t, rec, End{})
		}
		at := now.Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(set.path(rec.ID(), suffix), at, at); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, rec.ID())
	}
	check := func(p Pruned, err error, wantGone int, left ...int) {
		t.Helper()
		got, e := IDs(set.opt.Dir)
		if err != nil || e != nil || p.Recordings != wantGone || len(got) != len(left) {
			t.Errorf("%+v, %v; %d are left, %v", p, err, len(got), e)
		}
		for _, i := range left {
			if _, err := os.Stat(set.path(ids[i], suffix)); err != nil {
				t.Error(i, err)
			}
		}
	}
	p, err := set.Prune(t.Context(), Retention{})
	check(p, err, 0, 0, 1, 2, 3, 4)
	p, err = set.Prune(t.Context(), Retention{Age: 7*time.Hour + time.Minute}) // 0, 1 and 2 are older
	check(p, err, 2, 1, 3, 4)
	p, err = set.Prune(t.Context(), Retention{Bytes: 150_000})
	check(p, err, 1, 1, 4)
	if p.Bytes < 100_000 || p.Bytes > 150_000 {
		t.Errorf("%d bytes are left", p.Bytes)
	}
	if ledger.gone[ids[0]] != "age" || ledger.gone[ids[3]] != "size" || ledger.gone[ids[1]] != "" {
		t.Errorf("forgotten: %v", ledger.gone)
	}
	ledger.refuse = errors.New("full")
	if _, err := set.Prune(t.Context(), Retention{Bytes: 1}); !errors.Is(err, ledger.refuse) {
		t.Error(err)
	}
	ledger.refuse = nil
	check(Pruned{}, nil, 0, 1, 4)
	if left, _ := filepath.Glob(filepath.Join(set.opt.Dir, "*"+suffixGone)); len(left) > 0 {
		t.Error(left)
	}
}

// TestIdleRecordersAreCheap: 5,000 sessions that say nothing for now.
func TestIdleRecordersAreCheap(t *testing.T) {
	const n = 5000
	dir := mountSmall(t, "256m") // that many syncs of a disk take minutes
	set := openSet(t, Options{Dir: dir, Delay: time.Millisecond})
	recs := make([]*Recorder, 0, n)
	before := inUse()
	for range n {
		rec := begin(t, set, sample())
		write(t, rec, Stdout, "$ ")
		recs = append(recs, rec)
	}
	for _, rec := range recs {
		if err := rec.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	each := (inUse() - before) / n
	t.Logf("%d bytes each", each)
	if each > 4<<10 {
		t.Errorf("an idle recorder takes %d bytes", each)
	}
	runtime.KeepAlive(recs)
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC() // pools give back in two steps
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestBusyRecordersAreBounded: 2,000 sessions that all have bytes waiting.
func TestBusyRecordersAreBounded(t *testing.T) {
	const n = 2000
	dir := mountSmall(t, "256m")
	set := openSet(t, Options{Dir: dir, Delay: time.Hour})
	before := inUse()
	for range n {
		write(t, begin(t, set, sample()), Stdout, "$ ")
	}
	each := (inUse() - before) / n
	t.Logf("%d bytes each", each)
	if each > 8<<10 {
		t.Errorf("a recorder with bytes waiting takes %d bytes", each)
	}
}

func TestNoAllocations(t *testing.T) {
	rec := begin(t, openSet(t, Options{}), Header{})
	p := []byte(strings.Repeat("x", 100))
	for range 2000 { // everything is warm
		write(t, rec, Stdout, string(p))
	}
	if n := testing.AllocsPerRun(5000, func() { _ = rec.Write(Stdout, p) }); n > 0 {
		t.Errorf("%v allocations a frame", n)
	}
}
