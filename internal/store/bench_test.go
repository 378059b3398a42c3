package store

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/cputime"
)

// BenchmarkAppendObservations is what an exec costs in the store, in batches as
// `up` makes them in a storm: time, user CPU and stored bytes for each.
func BenchmarkAppendObservations(b *testing.B) {
	for _, size := range []int{20, 200} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			dir := b.TempDir()
			s := open(b, dir)
			batch := Batch{Observations: noise(size, 1)}
			before := cputime.User()
			for b.Loop() {
				if _, err := s.Append(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
			perItem := float64(b.N) * float64(size)
			b.ReportMetric(float64((cputime.User()-before).Nanoseconds())/perItem, "user-ns/obs")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/perItem, "ns/obs")
			p, err := s.Prune(context.Background(), Retention{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(p.Bytes)/perItem, "B/obs")
		})
	}
}

// BenchmarkAppendRevisions is the cost of a session's revision with its share
// of ledger and checkpoint.
func BenchmarkAppendRevisions(b *testing.B) {
	for _, size := range []int{1, 20} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := open(b, b.TempDir())
			n := 0
			before := cputime.User()
			for b.Loop() {
				batch := Batch{}
				for range size {
					batch.Revisions = append(batch.Revisions, session.Revision{Session: big(n)})
					n++
				}
				if _, err := s.Append(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cputime.User()-before).Nanoseconds())/float64(n), "user-ns/rev")
			p, err := s.Prune(context.Background(), Retention{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(p.Bytes)/float64(n), "B/rev")
		})
	}
}

// big returns session n with a tree of processes and evidence, as usual ones
// have.
func big(n int) session.Session {
	return sess(n, ended, func(s *session.Session) {
		for i := range 4 {
			end := s.Started.Add(time.Duration(i) * time.Millisecond)
			code := 0
			s.Processes = append(s.Processes, session.Process{
				PID: uint32(1000*n + i), PPID: uint32(1000 * n), NSPID: uint32(i), Start: s.Started, End: &end,
				Argv: []string{"sh", "-c", "id"}, Exe: "/bin/busybox", Inode: 123456, UID: 1000, GID: 1000, ExitCode: &code,
			})
		}
		for i := range 6 {
			s.Evidence = append(s.Evidence, session.Evidence{
				Time: s.Started.Add(time.Duration(i) * time.Millisecond), Witness: "docker", What: "docker_event exec_create",
				Detail: fmt.Sprintf("exec %064x", n*7+i),
			})
		}
	})
}

// TestMemoryStaysSmall appends and reads 100,000 sessions in this process and
// looks at its resident memory (issue: at most 80 MB for everything).
func TestMemoryStaysSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	peak := residentPeak(t)
	s := open(t, t.TempDir())
	const all = 100_000
	for n := 0; n < all; n += 500 {
		b := Batch{Observations: noise(500, n)}
		for i := range 500 {
			v := sess(n+i, ended)
			if i%10 == 0 {
				v = big(n + i)
			}
			b.Revisions = append(b.Revisions, session.Revision{Session: v})
		}
		if _, err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("resident peak after writing: %d kB (%d kB before)", residentPeak(t), peak)
	found := 0
	for _, err := range s.Sessions(context.Background(), Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		found++
	}
	for range s.Observations(context.Background(), epoch, epoch.Add(time.Second)) {
		found++
	}
	if found < all {
		t.Errorf("found %d of %d", found, all)
	}
	got := residentPeak(t)
	t.Logf("resident peak after reading: %d kB", got)
	if got-peak > 60_000 {
		t.Errorf("the store took %d kB of memory, want less than 60000", got-peak)
	}
}

// residentPeak returns the process's peak resident memory in kB.
func residentPeak(t testing.TB) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("needs /proc")
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.Fields(v)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Skip("no VmHWM")
	return 0
}
