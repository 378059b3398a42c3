package spool_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/bus"
	"github.com/sallyport/sallyport/internal/bus/spool"
	"github.com/sallyport/sallyport/internal/core/event"
)

var began = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// numbered is an observation that says its own number.
func numbered(n int) event.Observation {
	return event.DockerEvent{
		Header: event.Header{Time: began.Add(time.Duration(n) * time.Millisecond), Witness: event.WitnessDocker},
		Action: event.DockerOtherAction, Name: strconv.Itoa(n), Command: strings.Repeat(strconv.Itoa(n*7919), 12),
	}
}

func open(t testing.TB, opt spool.Options) *spool.Spool {
	t.Helper()
	s, err := spool.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func put(t testing.TB, s *spool.Spool, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		if err := s.Put(numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// kept waits until everything that was put is on disk.
func kept(t testing.TB, s *spool.Spool) {
	t.Helper()
	await(t, "everything is on disk", func() bool { st := s.Stats(); return st.Kept == st.Put })
}

func await(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// item is an observation as the other end sees it.
type item struct {
	seq uint64 // 0 in a batch that states a loss
	o   event.Observation
}

// read returns everything between after and the end of what is on disk.
func read(t testing.TB, s *spool.Spool, after uint64) (out []item) {
	t.Helper()
	u, err := bus.NewUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for end := s.Stats().Kept; after < end; {
		b, err := s.Next(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		if b.First > after+1 {
			t.Fatalf("nothing stands for %d to %d", after+1, b.First-1)
		}
		seq := b.First
		for o, err := range u.All(b) {
			if err != nil {
				t.Fatal(err)
			}
			it := item{o: o}
			if b.Whole() {
				it.seq = seq
			}
			if seq++; it.seq == 0 || it.seq > after {
				out = append(out, it)
			}
		}
		after = b.Last
	}
	return out
}

// sequence checks that items are the observations from to to, in order.
func sequence(t testing.TB, items []item, from, to int) {
	t.Helper()
	if len(items) != to-from+1 {
		t.Fatalf("%d observations, want %d to %d", len(items), from, to)
	}
	for i, it := range items {
		if e, ok := it.o.(event.DockerEvent); !ok || e.Name != strconv.Itoa(from+i) || it.seq != uint64(from+i) {
			t.Fatalf("at %d: %d %+v, want number %d", i, it.seq, it.o, from+i)
		}
	}
}

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	s := open(t, spool.Options{Dir: dir})
	id := s.ID()
	put(t, s, 1, 5000)
	kept(t, s)
	sequence(t, read(t, s, 0), 1, 5000)
	sequence(t, read(t, s, 1234), 1235, 5000)
	s.Acknowledge(3000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, spool.Options{Dir: dir})
	if s.ID() != id || s.First() != 3001 {
		t.Errorf("id %s, first %d after a restart, want %s and 3001", s.ID(), s.First(), id)
	}
	if newest, ok := s.Newest(); !ok || !newest.Equal(numbered(5000).Head().Time) {
		t.Errorf("newest %v, %v", newest, ok)
	}
	put(t, s, 5001, 5100)
	kept(t, s)
	sequence(t, read(t, s, 3000), 3001, 5100)
	s.Acknowledge(5100)
	s.Acknowledge(99999) // nonsense of the other end
	if st := s.Stats(); st.Acknowledged != 5100 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

func TestSpoolIsForOne(t *testing.T) {
	dir := t.TempDir()
	open(t, spool.Options{Dir: dir})
	if _, err := spool.Open(spool.Options{Dir: dir}); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("the second one: %v", err)
	}
}

// TestAcknowledgedIsRemoved: a spool whose collector keeps up stays small.
func TestAcknowledgedIsRemoved(t *testing.T) {
	s := open(t, spool.Options{Dir: t.TempDir(), Bytes: 256 << 10})
	for n := 1; n <= 20000; n += 1000 {
		put(t, s, n, n+999)
		kept(t, s)
		s.Acknowledge(uint64(n + 999))
	}
	if st := s.Stats(); st.Lost != 0 || st.Bytes > 100<<10 {
		t.Errorf("%+v", st)
	}
}

// TestFullSpool: of a spool that nobody empties, the oldest goes, and what went
// is stated in its place, to the last observation.
func TestFullSpool(t *testing.T) {
	const n, limit = 30000, 256 << 10
	s := open(t, spool.Options{Dir: t.TempDir(), Bytes: limit})
	state := event.WitnessState{Header: event.Header{Time: began, Witness: event.WitnessKernel}, Up: true, Level: "L2"}
	_ = s.Put(event.Host{Header: event.Header{Time: began, Witness: event.WitnessEngine}, BootID: "boot", Users: map[uint32]string{1: "ann"}})
	_ = s.Put(state)
	for i := 3; i <= n; i++ {
		put(t, s, i, i)
		if i%1000 == 0 {
			kept(t, s)
			if st := s.Stats(); st.Bytes > limit+64<<10 {
				t.Fatalf("%d bytes, the limit is %d", st.Bytes, limit)
			}
		}
	}
	kept(t, s)
	items := read(t, s, 0)
	var loss *event.Loss
	host, up, first, count := false, false, 0, 0
	for _, it := range items {
		switch o := it.o.(type) {
		case event.Loss:
			if loss != nil {
				t.Error("more than one loss of one stream")
			}
			loss = &o
		case event.Host:
			host = o.BootID == "boot" && o.Users[1] == "ann"
		case event.WitnessState:
			up = o.Up && o.Level == "L2"
		case event.DockerEvent:
			if count++; first == 0 {
				first, _ = strconv.Atoi(o.Name)
			}
		}
	}
	if loss == nil || loss.Witness != event.WitnessDocker || loss.What != "events" || int(loss.Count) != n-2-count ||
		!loss.From.Equal(numbered(3).Head().Time) || !loss.Time.Equal(numbered(first-1).Head().Time) {
		t.Errorf("loss %+v, the first that is left is %d, %d are left", loss, first, count)
	}
	if !host || !up {
		t.Errorf("host kept: %v, witness state kept: %v", host, up)
	}
	if st := s.Stats(); st.Lost != loss.Count {
		t.Errorf("%+v, lost %d", st, loss.Count)
	}
	sequence(t, items[3:], first, n)
	t.Logf("%d bytes hold %d observations, %d are stated as lost", s.Stats().Bytes, count, loss.Count)
}

// TestTornEnd: whatever a kill leaves of the last write is cut off, and what
// was whole before stays.
func TestTornEnd(t *testing.T) {
	for _, cut := range []int{1, 5, 9, 40} {
		dir := t.TempDir()
		s := open(t, spool.Options{Dir: dir})
		put(t, s, 1, 100)
		kept(t, s)
		put(t, s, 101, 200)
		kept(t, s)
		_ = s.Close()
		files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
		last := files[len(files)-1]
		info, _ := os.Stat(last)
		if err := os.Truncate(last, info.Size()-int64(cut)); err != nil {
			t.Fatal(err)
		}
		s = open(t, spool.Options{Dir: dir})
		if s.Stats().Torn == 0 || s.Last() >= 200 || s.Last() < 100 {
			t.Errorf("cut by %d: %+v", cut, s.Stats())
		}
		end := int(s.Last())
		put(t, s, end+1, 300)
		kept(t, s)
		sequence(t, read(t, s, 0), 1, 300)
	}
}

// TestDamagedMiddle: a part that cannot be read is stated as lost, and reading
// goes on behind it.
func TestDamagedMiddle(t *testing.T) {
	dir := t.TempDir()
	s := open(t, spool.Options{Dir: dir, Bytes: 256 << 10})
	for n := 1; n <= 10000; n += 100 {
		put(t, s, n, n+99)
		kept(t, s)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	if len(files) < 3 {
		t.Fatalf("%d segments", len(files))
	}
	data, _ := os.ReadFile(files[1])
	data[len(data)/2] ^= 0xff
	if err := os.WriteFile(files[1], data, 0o600); err != nil {
		t.Fatal(err)
	}
	losses, found := 0, map[int]bool{}
	for _, it := range read(t, s, 0) {
		switch o := it.o.(type) {
		case event.Loss:
			losses++
		case event.DockerEvent:
			n, _ := strconv.Atoi(o.Name)
			found[n] = true
		}
	}
	missing := 10000 - len(found)
	if losses == 0 || missing == 0 || !found[1] || !found[10000] || s.Stats().Lost != uint64(missing) {
		t.Errorf("%d missing, %d losses stated, %+v", missing, losses, s.Stats())
	}
}

func TestNextWaits(t *testing.T) {
	s := open(t, spool.Options{Dir: t.TempDir()})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Next(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of an empty spool: %v", err)
	}
	put(t, s, 1, 1)
	if b, err := s.Next(t.Context(), 0); err != nil || b.First != 1 {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestSkipTo(t *testing.T) {
	s := open(t, spool.Options{Dir: t.TempDir()})
	put(t, s, 1, 10)
	kept(t, s)
	s.SkipTo(500)
	put(t, s, 501, 510)
	kept(t, s)
	sequence(t, read(t, s, 500), 501, 510)
}

// envDir makes the test program a process that puts observations until it is
// killed, and prints the number of what is safe.
const envDir = "SPOOL_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		storm(dir)
	}
	os.Exit(m.Run())
}

func storm(dir string) {
	s, err := spool.Open(spool.Options{Dir: dir, Delay: 5 * time.Millisecond})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n := int(s.Last()) + 1; ; n++ {
		_ = s.Put(numbered(n))
		if n%50 == 0 {
			fmt.Println(s.Stats().Kept)
			time.Sleep(time.Millisecond)
		}
	}
}

// TestKill kills a spool with SIGKILL, 30 times: what it said was safe is
// there, in order, and nothing is there twice.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var safe, last, acked uint64
	for round := range 30 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(30+rand.IntN(120))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		safe = max(safe, lastNumber(out))
		_ = cmd.Wait()
		kill.Stop()
		s, err := spool.Open(spool.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if last = s.Last(); last < safe {
			t.Fatalf("round %d: %d were safe, %d are there", round, safe, last)
		}
		sequence(t, read(t, s, acked), int(acked)+1, int(last))
		s.Acknowledge(last)
		acked = last
		_ = s.Close()
	}
	if safe < 1000 {
		t.Errorf("only %d observations in 30 rounds: this proves little", safe)
	}
	t.Logf("%d observations survived 30 kills", last)
}

func lastNumber(r io.Reader) (n uint64) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return n
		}
		if v, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64); err == nil {
			n = v
		}
	}
}

func BenchmarkPut(b *testing.B) {
	s := open(b, spool.Options{Dir: b.TempDir()})
	var size int64
	for n := 0; b.Loop(); n++ {
		if err := s.Put(numbered(n)); err != nil {
			b.Fatal(err)
		}
		if n%1000 == 999 {
			size = max(size, s.Stats().Bytes)
			s.Acknowledge(s.Stats().Kept)
		}
	}
	b.ReportMetric(float64(size), "most-bytes")
}
