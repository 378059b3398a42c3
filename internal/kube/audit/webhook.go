package audit

import (
	"compress/gzip"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// WebhookOptions configures the receiver that an API server calls
// (--audit-webhook-config-file). Whoever calls must have a certificate of
// ClientCA or know Token.
type WebhookOptions struct {
	Address     string // host:port to listen on; port 0 takes a free one
	Certificate tls.Certificate
	ClientCA    *x509.CertPool
	Token       string
	// Listening is told the address, once there is one; nil if nobody cares.
	Listening func(net.Addr)
}

// Bounds of the receiver. What is bigger or comes beyond is refused, and an API
// server tries again four times.
const (
	BodyMax   = 32 << 20 // bytes of one POST, also after decompression
	postsMax  = 2        // POSTs whose bodies are in memory at a time
	postsWait = 10 * time.Second
	stopWait  = 2 * time.Second // for posts under way when the receiver ends
)

var errNoAuth = errors.New("audit webhook: neither a client CA nor a token: anybody could tell lies")

// quietYet limits a receiver that has received nothing: it may be that nobody
// calls.
const quietYet = "no audit event has come yet"

// serve listens until ctx ends.
func (w *Witness) serve(ctx context.Context, s *sink) error {
	o := w.opts.Webhook
	config, err := o.tls()
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", o.Address)
	if err != nil {
		return fmt.Errorf("audit webhook: %w", err)
	}
	if o.Listening != nil {
		o.Listening(l.Addr())
	}
	r := &receiver{Witness: w, s: s, slots: make(chan struct{}, postsMax)}
	s.up(feedWebhook, time.Now(), quietYet)
	server := &http.Server{
		Handler: r, TLSConfig: config, MaxHeaderBytes: 64 << 10,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute, IdleTimeout: 5 * time.Minute,
		ErrorLog: slog.NewLogLogger(w.opts.Logger.Handler(), slog.LevelInfo),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(l, "", "") }()
	select {
	case err = <-ended:
		return fmt.Errorf("audit webhook: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	if server.Shutdown(ending) != nil {
		_ = server.Close()
	}
	<-ended
	r.posts.Wait()
	return ctx.Err()
}

func (o *WebhookOptions) tls() (*tls.Config, error) {
	if o.ClientCA == nil && o.Token == "" {
		return nil, errNoAuth
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{o.Certificate}}
	if o.ClientCA != nil {
		config.ClientCAs, config.ClientAuth = o.ClientCA, tls.RequireAndVerifyClientCert
	}
	return config, nil
}

// receiver is the receiving end of one listener.
type receiver struct {
	*Witness
	s     *sink
	slots chan struct{}
	posts sync.WaitGroup
	first sync.Once
}

// ServeHTTP takes a list of events. It answers 200 when all of them have been
// handed on, so that the API server repeats what was not.
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.posts.Add(1)
	defer r.posts.Done()
	code, err := r.post(w, q)
	if err == nil {
		r.stats.posts.Add(1)
		return
	}
	r.stats.refused.Add(1)
	r.opts.Logger.Info("a post to the audit webhook was refused", slog.String("from", q.RemoteAddr), slog.Int("code", code), slog.Any("error", err))
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "5")
	}
	http.Error(w, err.Error(), code)
}

func (r *receiver) post(w http.ResponseWriter, q *http.Request) (code int, err error) {
	if !r.knows(q) {
		return http.StatusUnauthorized, errors.New("no client certificate and no valid token")
	}
	if q.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, errors.New("want a POST of an EventList")
	}
	waiting, cancel := context.WithTimeout(q.Context(), postsWait)
	defer cancel()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-waiting.Done():
		return http.StatusTooManyRequests, errors.New("busy")
	}
	body, err := readBody(w, q)
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		r.stats.oversized.Add(1)
		r.s.faults.note(feedWebhook, body, err)
		return http.StatusRequestEntityTooLarge, err
	}
	if err != nil {
		r.s.bad(feedWebhook, body, err)
		return http.StatusBadRequest, err
	}
	return r.list(body)
}

// list hands on what a body holds.
func (r *receiver) list(body []byte) (code int, err error) {
	r.stats.bytes.Add(uint64(len(body)))
	n, err := ParseList(body, r.s.request, func(item []byte, err error) { r.s.bad(feedWebhook, item, err) })
	r.stats.events.Add(uint64(n))
	if err != nil {
		r.s.bad(feedWebhook, body, err)
		return http.StatusBadRequest, err
	}
	r.first.Do(func() { r.s.loosen(feedWebhook) })
	return http.StatusOK, nil
}

// knows checks the token; TLS has checked the certificate.
func (r *receiver) knows(q *http.Request) bool {
	o := r.opts.Webhook
	if o.Token == "" {
		return q.TLS != nil && len(q.TLS.VerifiedChains) > 0
	}
	token, ok := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(token), []byte(o.Token)) == 1
}

// readBody reads at most BodyMax bytes, decompressed. What it has read it
// returns also with an error.
func readBody(w http.ResponseWriter, q *http.Request) ([]byte, error) {
	var in io.Reader = http.MaxBytesReader(w, q.Body, BodyMax)
	switch encoding := q.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("read body: %w", err)
		}
		in = io.LimitReader(z, BodyMax+1)
	default:
		return nil, fmt.Errorf("read body: encoding %.40q", encoding)
	}
	body, err := io.ReadAll(in)
	if err == nil && len(body) > BodyMax {
		err = &http.MaxBytesError{Limit: BodyMax}
	}
	if err != nil {
		return body, fmt.Errorf("read body: %w", err)
	}
	return body, nil
}
