package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/lib/exposition"
)

// DropsOptions configures the question to the API server how many audit events
// it has dropped: a log that cannot be written, a webhook that did not answer.
type DropsOptions struct {
	// Metrics returns the API server's /metrics in Prometheus' text form.
	Metrics func(context.Context) (io.ReadCloser, error)
	// Keeper keeps the counts across restarts, so that what was dropped while
	// nobody listened is known, too; nil keeps nothing.
	Keeper Keeper
	Every  time.Duration // between questions; default 1 min
}

// giveUpMax is how old an event may be that an API server counts as dropped: it
// posts a batch five times, waits up to 98 s in between (initial backoff of 10 s,
// times 1.5, 20 percent of jitter) and half a minute for each answer.
const giveUpMax = 5 * time.Minute

// drops asks for the counts and states what they grew by.
type drops struct {
	opts  DropsOptions
	w     *Witness
	ours  func(plugin string) bool
	tally tally
	told  bool // that it cannot be asked
}

// tally is what API servers had dropped when they were last asked. There may be
// several behind one address; the time at which its process started tells which
// one has answered.
type tally struct {
	Version int                `json:"version"`
	Servers map[string]dropped `json:"servers"`
	Asked   time.Time          `json:"asked"` // any of them, last
}

type dropped struct {
	Count uint64    `json:"count"`
	At    time.Time `json:"at"`
}

// serversMax bounds the servers that are remembered.
const serversMax = 16

// newDrops counts what concerns us: with the log that the log did not get, else
// what nobody got.
func newDrops(w *Witness) *drops {
	d := &drops{opts: *w.opts.Drops, w: w, ours: func(plugin string) bool { return plugin != "log" }}
	if w.opts.Log != nil {
		d.ours = func(plugin string) bool { return plugin == "log" }
	}
	if d.opts.Every <= 0 {
		d.opts.Every = time.Minute
	}
	return d
}

// run asks until ctx ends.
func (d *drops) run(ctx context.Context, s *sink) error {
	var err error
	if d.tally, err = loadTally(d.opts.Keeper); err != nil {
		d.w.opts.Logger.Warn("how many audit events were dropped before is lost", slog.Any("error", err))
	}
	tick := time.NewTicker(d.opts.Every)
	defer tick.Stop()
	for {
		err := d.ask(ctx, s)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !d.told {
			d.w.opts.Logger.Warn("how many audit events the API server drops is not known", slog.Any("error", err))
		}
		d.told = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *drops) ask(ctx context.Context, s *sink) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, err := d.opts.Metrics(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	m, err := readMetrics(body, d.ours)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	if n, since := d.tally.see(m, now); n > 0 {
		d.w.stats.dropped.Add(n)
		d.w.opts.Logger.Warn("the API server has dropped audit events", slog.Uint64("events", n), slog.Time("since", since))
		s.put(event.Loss{Header: header(now), From: since.Add(-giveUpMax), Count: n, What: "dropped"})
	}
	return d.tally.save(d.opts.Keeper)
}

// see notes what a server has dropped, and returns how many of them are new and
// since when. What a server dropped before anybody was asked does not count.
func (t *tally) see(m metrics, now time.Time) (n uint64, since time.Time) {
	key := strconv.FormatFloat(m.started, 'f', -1, 64)
	was, known := t.Servers[key]
	switch started := time.UnixMicro(int64(m.started * 1e6)).UTC(); {
	case known && m.dropped > was.Count:
		n, since = m.dropped-was.Count, was.At
	case !known && !t.Asked.IsZero() && started.After(t.Asked):
		n, since = m.dropped, started
	}
	if t.Servers == nil {
		t.Servers = map[string]dropped{}
	}
	t.Servers[key] = dropped{m.dropped, now}
	t.Asked = now
	for len(t.Servers) > serversMax {
		oldest := key
		for k, d := range t.Servers {
			if d.At.Before(t.Servers[oldest].At) {
				oldest = k
			}
		}
		delete(t.Servers, oldest)
	}
	return n, since
}

func loadTally(k Keeper) (t tally, err error) {
	if k == nil {
		return t, nil
	}
	data, err := k.Load()
	if err != nil || data == nil {
		return t, err
	}
	if err := json.Unmarshal(data, &t); err != nil || t.Version != 1 || len(t.Servers) > serversMax {
		return tally{}, fmt.Errorf("read counts: not ours: %.80q", data)
	}
	return t, nil
}

func (t *tally) save(k Keeper) error {
	if k == nil {
		return nil
	}
	t.Version = 1
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return k.Save(append(data, '\n'))
}

// metrics is what matters of an API server's /metrics.
type metrics struct {
	dropped uint64  // audit events
	started float64 // when the process did, in seconds since 1970
}

// The metrics of k8s.io/apiserver pkg/audit/metrics.go and of the process.
const (
	droppedMetric = "apiserver_audit_error_total"
	startedMetric = "process_start_time_seconds"
)

var errMetrics = errors.New("read metrics: not those of an API server")

// readMetrics finds what matters.
func readMetrics(r io.Reader, ours func(plugin string) bool) (m metrics, err error) {
	for s, err := range exposition.Find(r, droppedMetric, startedMetric) {
		if err != nil {
			return metrics{}, fmt.Errorf("read metrics: %w", err)
		}
		plugin, named := s.Labels["plugin"]
		switch {
		case !(s.Value >= 0 && s.Value < 1<<53):
			return metrics{}, fmt.Errorf("%w: %+v", errMetrics, s)
		case s.Name == startedMetric && len(s.Labels) == 0:
			m.started = s.Value
		case s.Name == startedMetric || !named || len(s.Labels) != 1 || s.Value != math.Trunc(s.Value):
			return metrics{}, fmt.Errorf("%w: %+v", errMetrics, s)
		case ours(plugin):
			m.dropped += uint64(s.Value)
		}
	}
	if m.started <= 0 {
		return metrics{}, errMetrics
	}
	return m, nil
}
