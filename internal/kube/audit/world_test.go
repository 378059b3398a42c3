package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
)

// world runs a witness and gathers what it says.
type world struct {
	t    *testing.T
	log  *lockedBuffer
	stop func()

	mu   sync.Mutex
	said []event.Observation
	wake chan struct{}
}

func start(t *testing.T, o Options) (*world, *Witness) {
	w := &world{t: t, log: &lockedBuffer{}, wake: make(chan struct{}, 1)}
	o.Logger = slog.New(slog.NewTextHandler(w.log, nil))
	witness := New(o)
	witness.times = times{poll: 2 * time.Millisecond, progress: 5 * time.Millisecond, lag: 20 * time.Millisecond, retry: 5 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = witness.Run(ctx, w.emit)
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(w.stop)
	return w, witness
}

func (w *world) emit(o event.Observation) {
	w.mu.Lock()
	w.said = append(w.said, o)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// until waits until what was said is as wanted.
func (w *world) until(what string, ok func(said []event.Observation) bool) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		w.mu.Lock()
		said := slices.Clone(w.said)
		w.mu.Unlock()
		if ok(said) {
			return
		}
		select {
		case <-w.wake:
		case <-deadline:
			w.t.Fatalf("waited in vain for %s; pods %q, states %+v, log:\n%s", what, pods(said), all[event.WitnessState](said), w.log)
		}
	}
}

// pods waits for requests about these pods, in this order, and no others.
func (w *world) pods(want ...string) {
	w.t.Helper()
	w.until(fmt.Sprintf("%q", want), func(said []event.Observation) bool { return len(pods(said)) >= len(want) })
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := pods(w.said); !slices.Equal(got, want) {
		w.t.Errorf("pods %q, want %q", got, want)
	}
}

// state waits for a state and returns it.
func (w *world) state(what string, ok func(event.WitnessState) bool) event.WitnessState {
	w.t.Helper()
	var s event.WitnessState
	w.until(what, func(said []event.Observation) bool {
		states := all[event.WitnessState](said)
		if len(states) == 0 {
			return false
		}
		s = states[len(states)-1]
		return ok(s)
	})
	return s
}

func up(s event.WitnessState) bool { return s.Up }

func all[T event.Observation](said []event.Observation) []T {
	var out []T
	for _, o := range said {
		if v, ok := o.(T); ok {
			out = append(out, v)
		}
	}
	return out
}

func pods(said []event.Observation) []string {
	var out []string
	for _, q := range all[event.KubeRequest](said) {
		out = append(out, q.Pod)
	}
	return out
}

// execLine is an exec in a pod, as a line of the log.
func execLine(pod string, at time.Time) string {
	b, err := json.Marshal(audittest.Event{
		Kind: "Event", APIVersion: "audit.k8s.io/v1", Level: "Metadata", AuditID: pod, Stage: "ResponseStarted", Verb: "get",
		RequestURI: "/api/v1/namespaces/shop/pods/" + pod + "/exec?command=id", User: audittest.User{Username: "ana"},
		ObjectRef: &audittest.ObjectRef{Resource: "pods", Namespace: "shop", Name: pod, Subresource: "exec"},
		Received:  audittest.MicroTime(at), At: audittest.MicroTime(at),
	})
	if err != nil {
		panic(err)
	}
	return string(b) + "\n"
}

func noise(n int) string {
	log, _ := audittest.Mix{Seed: 9, Events: n}.Lines()
	return string(log)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
