// Package admission is a witness of requests to the API server before they are
// carried out: a validating webhook that never refuses. For each request it
// draws a nonce and puts it into the request's audit annotations, which ties
// the audit log to what the webhook saw; and it can hold a request for
// pods/exec for a moment, until one that could be taken for it has started.
//
// Limits: the webhook sees the effective user, so who impersonates shows in the
// audit log alone. On nodes/proxy it sees the path without the query, so not
// the command. What it lets go may still be refused by the API server. It fails
// open: a request that it could not read, or that waited for it in vain, goes
// its way without a nonce.
package admission

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sallyport/sallyport/internal/core/event"
)

// WebhookName is the name of the webhook in its configuration. The API server
// puts it before the names of audit annotations.
const WebhookName = "sessions.sallyport.dev"

// The annotation that the webhook returns, and its name in the audit log.
const (
	nonceKey   = "nonce"
	Annotation = WebhookName + "/" + nonceKey
)

// Bounds of the server.
const (
	readMax     = 5 * time.Second
	writeMax    = 20 * time.Second // more than any timeout of a webhook
	stopMax     = 2 * time.Second
	reviewsMax  = 512 // under way at once; more are turned away, and so go on without us
	undelivered = 4096
)

// Options configures a Witness.
type Options struct {
	// Address is where it listens, HOST:PORT.
	Address string
	// TLS is the server's configuration; see ServerTLS.
	TLS *tls.Config
	// Gate decides how long requests for pods/exec are held; nil: never.
	Gate *Gate
	// Logger receives what concerns the operator; nil discards it.
	Logger *slog.Logger
}

// Stats counts what a Witness has done.
type Stats struct {
	Reviews   uint64 // answered
	Reported  uint64 // of these, reported as event.KubeAdmission
	Unchanged uint64 // of these, those that concern no command
	Bad       uint64 // requests that are no review; answered with an error
	Busy      uint64 // turned away because too many were under way
	Late      uint64 // of Reviews, those for which the API server no longer waited
	Dropped   uint64 // reports that found no room, each also reported as lost
	Panics    uint64
}

// Witness is the webhook's server.
type Witness struct {
	opts  Options
	under chan struct{} // one entry for each review under way
	out   chan event.KubeAdmission
	stats struct{ reviews, reported, unchanged, bad, busy, late, dropped, panics atomic.Uint64 }
}

// New returns a witness; it does no I/O.
func New(o Options) *Witness {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Witness{opts: o, under: make(chan struct{}, reviewsMax), out: make(chan event.KubeAdmission, undelivered)}
}

// Stats may be called at any time.
func (w *Witness) Stats() Stats {
	s := &w.stats
	return Stats{
		Reviews: s.reviews.Load(), Reported: s.reported.Load(), Unchanged: s.unchanged.Load(), Bad: s.bad.Load(),
		Busy: s.busy.Load(), Late: s.late.Load(), Dropped: s.dropped.Load(), Panics: s.panics.Load(),
	}
}

// Run serves until ctx ends, and then returns nil; it returns an error when it
// cannot listen. emit is called by one goroutine. A reader that is slow makes
// no request wait: reports that find no room are dropped and stated as lost.
func (w *Witness) Run(ctx context.Context, emit func(event.Observation)) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", w.opts.Address)
	if err != nil {
		return fmt.Errorf("serve admission webhook: %w", err)
	}
	return w.Serve(ctx, l, emit)
}

// Serve is Run on a listener, which it closes.
func (w *Witness) Serve(ctx context.Context, l net.Listener, emit func(event.Observation)) error {
	server := &http.Server{
		Handler: w.Handler(), TLSConfig: w.opts.TLS, ReadHeaderTimeout: readMax, ReadTimeout: readMax, WriteTimeout: writeMax,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(w.opts.Logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	now := time.Now().UTC()
	emit(event.WitnessState{Header: header(now), Up: true, From: now})
	go func() { served <- server.ServeTLS(l, "", "") }()
	err := w.deliver(ctx, emit, served)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopMax)
	defer cancel()
	if server.Shutdown(stop) != nil {
		_ = server.Close()
	}
	w.drain(emit)
	if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve admission webhook: %w", err)
}

// deliver gives reports to emit until the server ends or ctx does.
func (w *Witness) deliver(ctx context.Context, emit func(event.Observation), served <-chan error) error {
	var told uint64
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for since := time.Now(); ; {
		select {
		case o := <-w.out:
			emit(o)
		case <-tick.C:
		case err := <-served:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		if n := w.stats.dropped.Load(); n > told {
			now := time.Now()
			emit(event.Loss{Header: header(now), From: since.UTC(), Count: n - told, What: "admissions"})
			told, since = n, now
		}
	}
}

func (w *Witness) drain(emit func(event.Observation)) {
	for {
		select {
		case o := <-w.out:
			emit(o)
		default:
			return
		}
	}
}

func header(t time.Time) event.Header {
	return event.Header{Time: t.UTC(), Witness: event.WitnessAdmission}
}

// Handler serves reviews at every path, and GET /healthz. Whatever goes wrong
// in it is answered with an error, upon which the API server goes on without
// the webhook (failurePolicy Ignore).
func (w *Witness) Handler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				w.stats.panics.Add(1)
				w.opts.Logger.Error("admission review panicked", "panic", p)
				http.Error(rw, "internal error", http.StatusInternalServerError)
			}
		}()
		switch {
		case r.Method == http.MethodGet && r.URL.Path == "/healthz":
			_, _ = io.WriteString(rw, "ok\n")
		case r.Method != http.MethodPost:
			http.Error(rw, "want POST", http.StatusMethodNotAllowed)
		default:
			w.admit(rw, r)
		}
	})
}

func (w *Witness) admit(rw http.ResponseWriter, r *http.Request) {
	select {
	case w.under <- struct{}{}:
		defer func() { <-w.under }()
	default:
		w.stats.busy.Add(1)
		http.Error(rw, "too many reviews", http.StatusServiceUnavailable)
		return
	}
	arrived := time.Now()
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, bodyMax))
	if err != nil {
		w.refuse(rw, fmt.Errorf("read admission review: %w", err))
		return
	}
	uid, o, news, err := decode(body)
	if err != nil {
		w.refuse(rw, err)
		if uid != "" {
			w.stats.dropped.Add(1) // somebody asked for something that concerns commands
		}
		return
	}
	var notes map[string]string
	if news {
		o.Nonce, o.Authenticated = nonce(), r.TLS != nil && len(r.TLS.VerifiedChains) > 0
		notes = map[string]string{nonceKey: o.Nonce}
		w.let(r.Context(), &o, arrived)
	} else {
		w.stats.unchanged.Add(1)
	}
	if r.Context().Err() != nil {
		w.stats.late.Add(1)
	}
	w.answer(rw, uid, notes)
}

// let returns when the request may go, and reports it.
func (w *Witness) let(ctx context.Context, o *event.KubeAdmission, arrived time.Time) {
	at := time.Now()
	run := o.Op == event.KubeNodeRun && o.Pod != ""
	if (o.Op == event.KubeExec || run) && w.opts.Gate != nil && !o.DryRun {
		at, o.Alone = w.opts.Gate.Pass(ctx, o.Nonce, Command{Namespace: o.Namespace, Pod: o.Pod, Container: o.Container, Argv: o.Argv, Run: run})
	}
	o.Header, o.Arrived = header(at), arrived.UTC()
	select {
	case w.out <- *o:
		w.stats.reported.Add(1)
	default:
		w.stats.dropped.Add(1)
	}
}

func (w *Witness) refuse(rw http.ResponseWriter, err error) {
	w.stats.bad.Add(1)
	w.opts.Logger.Warn("admission review not understood", "error", err)
	http.Error(rw, err.Error(), http.StatusBadRequest)
}

func (w *Witness) answer(rw http.ResponseWriter, uid string, notes map[string]string) {
	w.stats.reviews.Add(1)
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Response: &admissionv1.AdmissionResponse{UID: types.UID(uid), Allowed: true, AuditAnnotations: notes},
	})
}

// nonce returns 128 random bits in hexadecimal.
func nonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
