package audit

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// CanaryNamespace is where the pods that canaries ask for would be. It need not
// exist.
const CanaryNamespace = "sallyport-canary"

const canaryPrefix = "canary-"

// CanaryURI is the request that a canary consists of: a GET. It asks for an exec
// in a pod that does not exist, so that it takes the way of a real one through
// the audit policy. Whether the API server answers 403 or 404 does not matter.
func CanaryURI(token string) string {
	return "/api/v1/namespaces/" + CanaryNamespace + "/pods/" + canaryPrefix + url.PathEscape(token) + "/exec?command=sallyport-canary&stdout=true"
}

// CanaryOptions configures the canary: a harmless request whose audit event
// must come back.
type CanaryOptions struct {
	// Probe sends a GET of CanaryURI(token) to the API server. An error says that
	// there was no answer at all: a refusal is one.
	Probe func(ctx context.Context, token string) error
	// Key makes the tokens, so that a canary of an earlier run is known; at
	// least 16 random bytes, kept secret.
	Key    []byte
	Every  time.Duration // between canaries; default 5 min
	Within time.Duration // in which its event must come; default 2 min
}

// canary sends canaries and waits for them. A nil canary hears none.
type canary struct {
	opts  CanaryOptions
	stats *Witness

	mu     sync.Mutex
	sent   []flight // guarded by mu; not come back yet, in order
	delays delays   // guarded by mu; of those that have
}

type flight struct {
	token    string
	at       time.Time
	answered time.Time // zero while it is not
}

// flightsMax bounds the canaries that are waited for: those of an hour.
const flightsMax = 12

func newCanary(w *Witness) *canary {
	if w.opts.Canary == nil {
		return nil
	}
	c := &canary{opts: *w.opts.Canary, stats: w}
	if c.opts.Every <= 0 {
		c.opts.Every = 5 * time.Minute
	}
	if c.opts.Within <= 0 {
		c.opts.Within = 2 * time.Minute
	}
	return c
}

// run sends until ctx ends.
func (c *canary) run(ctx context.Context, s *sink) error {
	send := time.NewTimer(0)
	late := time.NewTimer(c.opts.Within)
	late.Stop()
	defer send.Stop()
	defer late.Stop()
	for {
		select {
		case <-send.C:
			c.send(ctx, s)
			late.Reset(c.opts.Within)
			send.Reset(c.opts.Every)
		case <-late.C:
			c.check(s)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *canary) send(ctx context.Context, s *sink) {
	f := flight{token: c.token(), at: time.Now()}
	c.mu.Lock()
	c.sent = append(c.sent, f)
	c.sent = c.sent[max(0, len(c.sent)-flightsMax):]
	c.mu.Unlock()
	probing, cancel := context.WithTimeout(ctx, c.opts.Within)
	defer cancel()
	err := c.opts.Probe(probing, f.token)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		c.answered(f.token, time.Now())
		s.limit("")
		return
	}
	c.take(f.token)
	s.limit(fmt.Sprintf("no canary can be sent: %v", err))
}

// check says that the feed is silent when the last canary has not come back.
func (c *canary) check(s *sink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.sent); n > 0 && time.Since(c.sent[n-1].at) >= c.opts.Within {
		f := c.sent[n-1]
		s.hush(fmt.Sprintf("the audit feed is silent: a canary of %s did not come back within %s", f.at.UTC().Format(time.RFC3339), c.opts.Within), f.at)
	}
}

// answered notes when the API server had answered a canary.
func (c *canary) answered(token string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.sent {
		if c.sent[i].token == token {
			c.sent[i].answered = at
		}
	}
}

// late returns how long canaries were on their way lately, and when the oldest
// was sent that has not come back, zero if none.
func (c *canary) late(at time.Time) (delay time.Duration, waiting time.Time) {
	if c == nil {
		return 0, time.Time{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) > 0 {
		waiting = c.sent[0].at
	}
	return c.delays.most(at), waiting
}

// clock measures the API server's clock by a canary: it was received after it
// was sent, and before its answer or its event had come.
func (f flight) clock(received, now time.Time) event.Clock {
	until := f.answered
	if until.IsZero() {
		until = now
	}
	half := until.Sub(f.at) / 2
	return event.Clock{
		Header: header(now), Of: "apiserver", Offset: event.Duration(received.Sub(f.at.Add(half))), Error: event.Duration(half + time.Millisecond),
	}
}

// take removes a canary from those that are waited for. It returns the canary,
// zero if it is not waited for, and whether an earlier one is missing.
func (c *canary) take(token string) (f flight, missing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, f := range c.sent {
		if f.token == token {
			c.sent = append(c.sent[:i:i], c.sent[i+1:]...)
			c.delays.add(time.Now(), time.Since(f.at))
			return f, i > 0
		}
	}
	return flight{}, false
}

// heard reports whether q is a canary, which is then not told to anybody. One
// that was granted is told whatever it says of itself: ours never are.
func (c *canary) heard(q *event.KubeRequest, s *sink) bool {
	if c == nil || q.Op != event.KubeExec || q.Namespace != CanaryNamespace {
		return false
	}
	token, ok := strings.CutPrefix(q.Pod, canaryPrefix)
	if !ok || !c.genuine(token) || q.Code != 0 && q.Code < http.StatusBadRequest {
		return false
	}
	if f, missing := c.take(token); f.token != "" {
		c.stats.stats.canaries.Add(1)
		from := time.Time{}
		if missing {
			from = f.at
		}
		s.wake(from)
		s.put(f.clock(q.Received, time.Now()))
		s.progress(f.at.Add(-time.Second)) // batches of a webhook may overtake each other
	}
	return true
}

const (
	nonceLen = 8
	macLen   = 8
)

// token returns a fresh token: a nonce and its authentication code.
func (c *canary) token() string {
	nonce := make([]byte, nonceLen, nonceLen+macLen)
	_, _ = rand.Read(nonce) // never fails
	return hex.EncodeToString(append(nonce, c.mac(nonce)...))
}

func (c *canary) mac(nonce []byte) []byte {
	h := hmac.New(sha256.New, c.opts.Key)
	h.Write(nonce)
	return h.Sum(nil)[:macLen]
}

func (c *canary) genuine(token string) bool {
	b, err := hex.DecodeString(token)
	return err == nil && len(b) == nonceLen+macLen && hmac.Equal(b[nonceLen:], c.mac(b[:nonceLen]))
}
