package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
)

// scrape is the answer of an API server that started at a time.
func scrape(started time.Time, webhook, log int) string {
	return fmt.Sprintf(`# HELP apiserver_audit_error_total [ALPHA] Counter of audit events that failed to be audited properly.
# TYPE apiserver_audit_error_total counter
apiserver_audit_error_total{plugin="buffered"} 0
apiserver_audit_error_total{plugin="log"} %d
apiserver_audit_error_total{plugin="webhook"} %d
apiserver_audit_event_total 1.5e+06
other{x="%s"} 1
process_start_time_seconds %f
`, log, webhook, strings.Repeat("x", 9000), float64(started.UnixMicro())/1e6)
}

// TestDrops: what the API server has dropped since it was asked last is a loss,
// also when that was an earlier run, or another server answers.
func TestDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		one, other := began.Add(-time.Hour), began.Add(-2*time.Hour)
		kept := &audittest.Memory{}
		var mu sync.Mutex
		var answer string     // guarded by mu
		var refuse error      // guarded by mu
		var lost []event.Loss // guarded by mu
		say := func(text string, err error) {
			mu.Lock()
			defer mu.Unlock()
			answer, refuse = text, err
		}
		say(scrape(one, 100, 7), nil)
		start := func(o Options) (*Witness, func()) {
			o.Drops = &DropsOptions{Keeper: kept, Metrics: func(context.Context) (io.ReadCloser, error) {
				mu.Lock()
				defer mu.Unlock()
				return io.NopCloser(strings.NewReader(answer)), refuse
			}}
			w := New(o)
			s := newSink(w, func(o event.Observation) {
				mu.Lock()
				defer mu.Unlock()
				lost = append(lost, o.(event.Loss))
			})
			ctx, cancel := context.WithCancel(t.Context())
			go newDrops(w).run(ctx, s)
			synctest.Wait()
			return w, cancel
		}
		expect := func(n int, from time.Time) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case n == 0 && len(lost) == 0:
			case len(lost) != 1 || lost[0].Count != uint64(n) || !lost[0].From.Equal(from.Add(-giveUpMax)):
				t.Errorf("lost %+v, want %d since %v", lost, n, from)
			}
			lost = nil
		}
		minute := func() { time.Sleep(time.Minute); synctest.Wait() }

		w, stop := start(Options{})
		expect(0, began)
		minute()
		expect(0, began)
		say(scrape(one, 103, 9), nil)
		minute()
		expect(3, began.Add(time.Minute))
		say(scrape(other, 5, 0), nil)
		minute()
		expect(0, began) // it was not asked before
		say(scrape(one, 104, 0), nil)
		minute()
		expect(1, began.Add(2*time.Minute))
		say("", errors.New("forbidden"))
		minute()
		if n := w.Stats().Dropped; n != 4 {
			t.Errorf("%d dropped", n)
		}
		stop()
		synctest.Wait()

		say(scrape(one, 1004, 0), nil)
		minute()
		_, stop = start(Options{})
		expect(900, began.Add(4*time.Minute))
		stop()
		synctest.Wait()
		restarted := time.Now().Add(time.Second)
		say(scrape(restarted, 8, 0), nil)
		minute()
		_, stop = start(Options{})
		expect(8, restarted)
		stop()
		synctest.Wait()

		if err := kept.Save(nil); err != nil {
			t.Fatal(err)
		}
		say(scrape(one, 0, 7), nil)
		_, stop = start(Options{Log: &LogOptions{}})
		say(scrape(one, 50, 9), nil)
		minute()
		expect(2, time.Now().Add(-time.Minute))
		stop()
	})
}

func TestMetricsThatAreNot(t *testing.T) {
	for _, text := range []string{
		"", "<html>", "process_start_time_seconds 0\n", "process_start_time_seconds NaN\n", "process_start_time_seconds\n",
		"process_start_time_seconds 1\napiserver_audit_error_total{plugin=\"webhook\"} -1\n",
		"process_start_time_seconds 1\napiserver_audit_error_total{plugin=\"webhook\"} 1e300\n",
		"process_start_time_seconds 1\napiserver_audit_error_total{plugin=\"webhook\"} 1.5\n",
		"process_start_time_seconds 1\napiserver_audit_error_total{server=\"webhook\"} 1\n",
		"process_start_time_seconds 1\napiserver_audit_error_total{plugin=\"a\",x=\"b\"} 1\n",
	} {
		if m, err := readMetrics(strings.NewReader(text), func(string) bool { return true }); err == nil {
			t.Errorf("%q: %+v", text, m)
		}
	}
}

// FuzzMetrics: whatever a server says, the count is one that it could have.
func FuzzMetrics(f *testing.F) {
	f.Add(scrape(time.Unix(1_800_000_000, 0), 3, 4))
	f.Fuzz(func(t *testing.T, text string) {
		m, err := readMetrics(strings.NewReader(text), func(string) bool { return true })
		if err != nil {
			return
		}
		if m.started <= 0 || !strings.Contains(text, startedMetric) || m.dropped > 0 && !strings.Contains(text, droppedMetric) {
			t.Errorf("%q: %+v", text, m)
		}
	})
}
