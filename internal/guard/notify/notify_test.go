package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/guard/notify"
	"github.com/sallyport/sallyport/internal/lib/webhook"
)

const secret = "0123456789abcdef0123456789abcdef"

// receiver takes notices, and answers as it is told.
type receiver struct {
	t      *testing.T
	mu     sync.Mutex
	answer func(n int) int // by attempt
	got    []string        // the bodies that were taken
	tries  int
}

func (x *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	x.mu.Lock()
	defer x.mu.Unlock()
	s, err := webhook.NewSecret(secret)
	if err != nil {
		x.t.Error(err)
	}
	at, _ := time.Parse(time.DateTime, "2026-01-01 00:00:00")
	want := http.Header{}
	if n, err := json.Number(r.Header.Get("Webhook-Timestamp")).Int64(); err == nil {
		at = time.Unix(n, 0)
	}
	if s.Sign(want, body, at); time.Since(at).Abs() > webhook.Window || r.Header.Get("Webhook-Signature") != want.Get("Webhook-Signature") {
		x.t.Errorf("signature: %v, want %v", r.Header, want)
	}
	x.tries++
	code := x.answer(x.tries)
	if code == 200 {
		x.got = append(x.got, string(body))
	}
	w.WriteHeader(code)
}

func (x *receiver) taken() ([]string, int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.got), x.tries
}

// start returns a notifier that runs, what it logs, and what ends it.
func start(t *testing.T, h http.Handler, change func(*notify.Options)) (*notify.Notifier, *bytes.Buffer, func()) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	s, err := webhook.NewSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	to, err := webhook.New(webhook.Options{URL: srv.URL, Secret: s, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.Close)
	var log bytes.Buffer
	opt := notify.Options{To: to, Pause: time.Millisecond, Grace: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if change != nil {
		change(&opt)
	}
	n := notify.New(opt)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Run(ctx)
	}()
	return n, &log, func() {
		cancel()
		<-done
	}
}

// TestInOrder: all arrive, in order, also what waits at the end, and signed.
func TestInOrder(t *testing.T) {
	x := &receiver{t: t, answer: func(n int) int {
		if n%3 == 1 {
			return 503
		}
		return 200
	}}
	n, log, end := start(t, x, nil)
	var want []string
	for i := range 50 {
		n.Notify(map[string]int{"n": i})
		text, _ := json.Marshal(map[string]int{"n": i})
		want = append(want, string(text))
	}
	end()
	if got, tries := x.taken(); !slices.Equal(got, want) || tries <= 50 {
		t.Errorf("%d tries: %v\n%s", tries, got, log)
	}
}

// TestNoUse: what the receiver will never take is not tried again, what it may is
// so often, and both are said to be dropped.
func TestNoUse(t *testing.T) {
	for code, tries := range map[int]int{400: 1, 401: 1, 302: 4, 429: 4, 500: 4} {
		x := &receiver{t: t, answer: func(int) int { return code }}
		n, log, end := start(t, x, nil)
		n.Notify("x")
		end()
		if got, n := x.taken(); len(got) != 0 || n != tries || !strings.Contains(log.String(), "a notice is dropped") {
			t.Errorf("%d: %d tries\n%s", code, n, log)
		}
	}
}

// TestNeverInTheWay: a receiver that hangs stops nobody, and what does not fit is
// said to be dropped.
func TestNeverInTheWay(t *testing.T) {
	hang := make(chan struct{})
	n, log, end := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }), func(o *notify.Options) {
		o.Waiting, o.Attempts, o.Grace = 4, 1, 50*time.Millisecond
	})
	began := time.Now()
	for range 100 {
		n.Notify("x")
	}
	if took := time.Since(began); took > 200*time.Millisecond {
		t.Errorf("100 notices took %s", took)
	}
	end()
	close(hang)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the end took %s", took)
	}
	if !strings.Contains(log.String(), "too many wait") {
		t.Errorf("%s", log)
	}
}
