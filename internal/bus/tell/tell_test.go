package tell_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/bus/tell"
	"github.com/sallyport/sallyport/internal/core/event"
)

var quiet = slog.New(slog.DiscardHandler)

// heard is what a listener gave.
type heard struct {
	mu  sync.Mutex
	all []event.Observation
}

func (h *heard) emit(o event.Observation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, o)
}

// until waits for n observations and takes them.
func (h *heard) until(t *testing.T, n int) []event.Observation {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		if all := h.all; len(all) >= n {
			h.all = nil
			h.mu.Unlock()
			return all
		}
		h.mu.Unlock()
		if time.Now().After(end) {
			t.Fatalf("heard %d of %d: %+v", len(h.all), n, h.all)
		}
	}
}

// start runs something until the test, or the function that it returns, ends it.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func listen(t *testing.T, path string, uid uint32) (h *heard, stop func()) {
	t.Helper()
	h = &heard{}
	l := &tell.Listener{Path: path, Logger: quiet, Peer: func(net.Conn) event.Peer {
		return event.Peer{ID: event.ProcessID{PID: 7, Start: 9}, Cred: event.Cred{UID: uid}}
	}}
	return h, start(t, func(ctx context.Context) error { return l.Run(ctx, h.emit) })
}

func head() event.Header { return event.Header{Time: time.Now().UTC(), Witness: event.WitnessGuard} }

func request(n int) event.DockerRequest {
	return event.DockerRequest{Header: head(), ID: event.RequestID{Conn: 1, N: uint32(n)}, Op: event.OpExecCreate, Argv: []string{"a", "é\n"}}
}

var timeless = cmpopts.IgnoreTypes(event.Header{}, time.Time{})

// What is told before anybody listens arrives, and what is told while nobody does;
// of each end the listener hears.
func TestTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guard.sock")
	teller := tell.NewTeller(path, quiet)
	teller.Tell(request(0))
	end := start(t, teller.Run)
	h, stop := listen(t, path, uint32(os.Geteuid()))
	want := []event.Observation{event.WitnessState{Up: true, Guards: []event.ProcessID{{PID: 7, Start: 9}}}, request(0)}
	if d := cmp.Diff(want, h.until(t, 2), timeless); d != "" {
		t.Error(d)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	before := time.Now()
	stop()
	for i := range 20 {
		teller.Tell(request(i))
		time.Sleep(10 * time.Millisecond)
	}
	h, _ = listen(t, path, uint32(os.Geteuid()))
	all := h.until(t, 2)
	up, ok := all[0].(event.WitnessState)
	if !ok || !up.Up || up.From.Before(before) {
		t.Errorf("%+v", all[0])
	}
	teller.Tell(request(99))
	end()
	for len(all) == 0 || event.Name(all[len(all)-1]) != "witness_state" || len(all) < 3 {
		all = append(all, h.until(t, 1)...)
	}
	if last := all[len(all)-1].(event.WitnessState); last.Up || len(last.Guards) != 0 || !strings.Contains(last.Reason, "pid 7 is gone") {
		t.Errorf("%+v", last)
	}
	if d := cmp.Diff(event.Observation(request(99)), all[len(all)-2], timeless); d != "" {
		t.Error(d)
	}
}

// A guard that is killed may have had something on its way.
func TestKilledGuard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guard.sock")
	h, _ := listen(t, path, 0)
	dial := func() net.Conn {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			c, err := net.Dial("unix", path)
			if err == nil {
				return c
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
	}
	a, b := dial(), dial()
	defer b.Close()
	up := fmt.Sprintf(`{"witness_state":{"time":%q,"witness":"guard","up":true}}`+"\n", time.Now().UTC().Format(time.RFC3339Nano))
	for _, c := range []net.Conn{a, b} {
		if _, err := c.Write([]byte(up)); err != nil {
			t.Fatal(err)
		}
	}
	h.until(t, 2)
	_ = a.Close()
	want := []event.Observation{event.Loss{What: "requests"}, event.WitnessState{Up: true, Guards: []event.ProcessID{{PID: 7, Start: 9}}, Reason: "the guard with pid 7 is gone"}}
	if d := cmp.Diff(want, h.until(t, 2), timeless); d != "" {
		t.Error(d)
	}
}

// More than fits is lost, and that is told.
func TestLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guard.sock")
	teller := tell.NewTeller(path, quiet)
	const n = 10_000
	for i := range n {
		teller.Tell(request(i))
	}
	start(t, teller.Run)
	h, _ := listen(t, path, 0)
	for sum := 0; sum < n; {
		for _, o := range h.until(t, 1) {
			switch o := o.(type) {
			case event.DockerRequest:
				sum++
			case event.Loss:
				if o.Count == 0 || o.From.IsZero() || o.From.After(o.Time) || o.What != "requests" {
					t.Errorf("%+v", o)
				}
				sum += int(o.Count)
			}
		}
	}
}

// Others than root and who runs the listener are not heard, and nobody with what a
// guard does not tell.
func TestUnheard(t *testing.T) {
	h, _ := listen(t, filepath.Join(t.TempDir(), "a"), uint32(os.Geteuid())+1)
	path := filepath.Join(t.TempDir(), "b")
	g, _ := listen(t, path, 0)
	teller := tell.NewTeller(path, quiet)
	start(t, teller.Run)
	g.until(t, 1)
	teller.Tell(event.Host{Header: head()})
	if got := g.until(t, 2); event.Name(got[0]) != "loss" {
		t.Errorf("%+v", got)
	}
	if len(h.all) != 0 {
		t.Errorf("%+v", h.all)
	}
}
