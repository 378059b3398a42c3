package audit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

// faults gathers what could not be read, so that a flood of it makes neither a
// flood of log lines nor one of observations.
type faults struct {
	w *Witness

	mu     sync.Mutex
	count  uint64    // guarded by mu; not yet reported
	since  time.Time // guarded by mu; when the first of them came
	quiet  time.Time // guarded by mu; until when nothing is quoted
	unsaid uint64    // guarded by mu; what came in that time
}

const (
	quoteMax   = 160              // bytes of a line that are quoted
	quoteEvery = 10 * time.Second // between quotes
)

func newFaults(w *Witness) *faults { return &faults{w: w} }

// note counts one line and quotes it, if none was of late.
func (f *faults) note(feed string, line []byte, err error) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; f.count == 1 {
		f.since = now
	}
	if now.Before(f.quiet) {
		f.unsaid++
		return
	}
	f.quiet = now.Add(quoteEvery)
	f.w.opts.Logger.Warn("an audit event could not be read", slog.String("feed", feed), slog.Any("error", err),
		slog.Int("bytes", len(line)), slog.String("begins", printable.Text(string(line[:min(len(line), quoteMax)]))),
		slog.Uint64("more_since_last", f.unsaid))
	f.unsaid = 0
}

// run reports what was counted, once a second and at the end.
func (f *faults) run(ctx context.Context, s *sink) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.flush(s)
		case <-ctx.Done():
			f.flush(s)
			return ctx.Err()
		}
	}
}

func (f *faults) flush(s *sink) {
	f.mu.Lock()
	n, since := f.count, f.since
	f.count = 0
	f.mu.Unlock()
	if n > 0 {
		s.put(event.Loss{Header: header(time.Now()), From: since.UTC(), Count: n, What: "events"})
	}
}
