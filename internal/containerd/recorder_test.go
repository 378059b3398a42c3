//go:build linux

package containerd_test

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed/docker"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(envClient); socket != "" {
		os.Exit(clientMain(socket))
	}
	os.Exit(docker.Main(m))
}

// recorder keeps what a witness reports.
type recorder struct {
	mu      sync.Mutex
	all     []event.Observation
	changed chan struct{} // replaced at every report
}

// watch runs a witness until the end of the test and returns once it is up.
func watch(t testing.TB, opts containerd.Options) *recorder {
	t.Helper()
	opts.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	r := &recorder{changed: make(chan struct{})}
	w := containerd.New(opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, r.add) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("witness does not end with its context")
		}
		if n := w.Stats().Bad; n != 0 {
			t.Errorf("%d events not understood", n)
		}
	})
	return r
}

func (r *recorder) add(o event.Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, o)
	close(r.changed)
	r.changed = make(chan struct{})
}

// mark returns a position after all that was reported so far.
func (r *recorder) mark() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// await returns the first observation of type T after the position that
// matches; it fails the test when none comes within a minute (dockerd takes ten seconds to restart a killed containerd).
func await[T event.Observation](t testing.TB, r *recorder, after int, what string, match func(T) bool) T {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		r.mu.Lock()
		rest, changed := r.all[after:], r.changed
		for _, o := range rest {
			if v, ok := o.(T); ok && match(v) {
				r.mu.Unlock()
				return v
			}
		}
		r.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no %s came; got %+v", what, rest)
		}
	}
}

// events returns the runtime events about one exec of one container so far.
func (r *recorder) events(container, exec string) []event.RuntimeEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []event.RuntimeEvent
	for _, o := range r.all {
		if e, ok := o.(event.RuntimeEvent); ok && string(e.Container) == container && string(e.ExecID) == exec {
			out = append(out, e)
		}
	}
	return out
}

func actions(events []event.RuntimeEvent) []event.RuntimeAction {
	var out []event.RuntimeAction
	for _, e := range events {
		out = append(out, e.Action)
	}
	slices.Sort(out)
	return out
}

func up(s event.WitnessState) bool   { return s.Up }
func down(s event.WitnessState) bool { return !s.Up }
