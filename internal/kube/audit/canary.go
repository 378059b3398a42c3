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
	"slices"
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
	sent   []flight // guarded by mu; in order, from the last on before which none is missing
	delays delays   // guarded by mu; of those that have come back
}

// flight is a canary on its way. It is given up when it is late: then it is
// missing, though it may still come.
type flight struct {
	token    string
	at       time.Time
	answered time.Time // zero while it is not
	back     bool
	givenUp  bool
}

// flightsMin is how many canaries are remembered beside those that may be on
// their way.
const flightsMin = 16

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
	defer send.Stop()
	defer late.Stop()
	for {
		select {
		case <-send.C:
			c.send(ctx, s)
			send.Reset(c.opts.Every)
		case <-late.C:
			c.check(s, time.Now())
		case <-ctx.Done():
			return ctx.Err()
		}
		late.Reset(c.patience(time.Now()))
	}
}

func (c *canary) send(ctx context.Context, s *sink) {
	f := flight{token: CanaryToken(c.opts.Key), at: time.Now()}
	c.mu.Lock()
	c.sent = append(c.sent, f)
	c.sent = c.sent[max(0, len(c.sent)-flightsMin-int(c.opts.Within/c.opts.Every)):]
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
	c.unsend(f.token)
	s.limit(fmt.Sprintf("no canary can be sent: %v", err))
}

// patience returns how long it takes until the next canary is late.
func (c *canary) patience(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.sent, flight.awaited); i >= 0 {
		return max(0, c.sent[i].at.Add(c.opts.Within).Sub(now))
	}
	return c.opts.Within
}

func (f flight) awaited() bool { return !f.back && !f.givenUp }

// check gives up what is late and says what that means: when a later canary has
// come back, something was lost between its neighbours; else the feed is silent.
func (c *canary) check(s *sink, now time.Time) {
	for {
		from, late, until := c.giveUp(now)
		switch {
		case late.IsZero():
			return
		case until.IsZero():
			s.hush(fmt.Sprintf("the audit feed is silent: a canary of %s did not come back within %s", late.UTC().Format(time.RFC3339), c.opts.Within), from)
		default:
			s.missed(fmt.Sprintf("audit events are missing: a canary of %s did not come back, a later one did", late.UTC().Format(time.RFC3339)), from, until)
		}
	}
}

// giveUp gives up the first canary that is late, and those after it until one
// that has come back. It returns when they were sent: the one before it that has
// come back (else the first of all), the late one, and the one after it that has
// come back; zero where there is none.
func (c *canary) giveUp(now time.Time) (from, late, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.sent, flight.awaited)
	if i < 0 || now.Sub(c.sent[i].at) < c.opts.Within {
		return from, late, until
	}
	late = c.sent[i].at
	from = late
	for k := i - 1; k >= 0; k-- {
		if from = c.sent[k].at; c.sent[k].back {
			break
		}
	}
	next := i
	for next < len(c.sent) && !c.sent[next].back {
		next++
	}
	if next < len(c.sent) {
		c.sent = c.sent[next:]
		return from, late, c.sent[0].at
	}
	for k := i; k < next && now.Sub(c.sent[k].at) >= c.opts.Within; k++ {
		c.sent[k].givenUp = true
	}
	return from, late, until
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

// unsend forgets a canary that did not reach the API server, as far as known.
func (c *canary) unsend(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = slices.DeleteFunc(c.sent, func(f flight) bool { return f.token == token })
}

// late returns how long canaries were on their way lately, and when the oldest
// was sent that is awaited, zero if none is.
func (c *canary) late(at time.Time) (delay time.Duration, waiting time.Time) {
	if c == nil {
		return 0, time.Time{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.sent, flight.awaited); i >= 0 {
		waiting = c.sent[i].at
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

// take notes that a canary has come back. It returns the canary, zero if it is
// not waited for, and whether an earlier one was given up: then it is the first
// that matters from now on.
func (c *canary) take(token string) (f flight, missing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.sent, func(f flight) bool { return f.token == token && !f.back })
	if i < 0 {
		return flight{}, false
	}
	c.sent[i].back = true
	c.delays.add(time.Now(), time.Since(c.sent[i].at))
	f = c.sent[i]
	missing = slices.ContainsFunc(c.sent[:i], func(f flight) bool { return f.givenUp && !f.back })
	if missing {
		c.sent = c.sent[i:]
	}
	whole := 0
	for whole+1 < len(c.sent) && c.sent[whole].back && c.sent[whole+1].back {
		whole++
	}
	c.sent = c.sent[whole:]
	return f, missing
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

// CanaryToken returns a fresh token: a nonce and its authentication code. A
// witness with the same key tells nobody of it.
func CanaryToken(key []byte) string {
	nonce := make([]byte, nonceLen, nonceLen+macLen)
	_, _ = rand.Read(nonce) // never fails
	return hex.EncodeToString(append(nonce, mac(key, nonce)...))
}

func mac(key, nonce []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(nonce)
	return h.Sum(nil)[:macLen]
}

func (c *canary) genuine(token string) bool {
	b, err := hex.DecodeString(token)
	return err == nil && len(b) == nonceLen+macLen && hmac.Equal(b[nonceLen:], mac(c.opts.Key, b[:nonceLen]))
}
