// Package notify posts what somebody should know to a webhook: in order, several
// times if need be, and never in anybody's way. What does not fit into memory, or
// what the receiver does not take, is dropped, and that is said in the log.
package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/lib/webhook"
)

// Options are those of a Notifier. To is required.
type Options struct {
	To *webhook.Endpoint
	// Waiting is how many notices may wait to be sent (256).
	Waiting int
	// Attempts is how often one is sent at most (4), Pause how long the first pause
	// between them is; it doubles (1 s).
	Attempts int
	Pause    time.Duration
	// Grace is how long what waits is still sent when Run ends (3 s).
	Grace  time.Duration
	Logger *slog.Logger
}

// Notifier sends notices. It is safe for concurrent use.
type Notifier struct {
	opt   Options
	queue chan []byte
}

// New returns a notifier. It sends nothing before Run.
func New(opt Options) *Notifier {
	if opt.Waiting <= 0 {
		opt.Waiting = 256
	}
	if opt.Attempts <= 0 {
		opt.Attempts = 4
	}
	if opt.Pause <= 0 {
		opt.Pause = time.Second
	}
	if opt.Grace <= 0 {
		opt.Grace = 3 * time.Second
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Notifier{opt, make(chan []byte, opt.Waiting)}
}

// Notify has v sent, as JSON. It returns at once.
func (n *Notifier) Notify(v any) {
	body, err := json.Marshal(v)
	if err != nil {
		n.opt.Logger.Error("a notice cannot be written", slog.Any("error", err))
		return
	}
	select {
	case n.queue <- body:
	default:
		n.opt.Logger.Error("a notice is dropped: too many wait for the receiver", slog.Int("waiting", n.opt.Waiting))
	}
}

// Run sends until ctx ends, and then for Grace more what waits.
func (n *Notifier) Run(ctx context.Context) {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(n.opt.Grace, cancel) })
	defer stop()
	for {
		select {
		case body := <-n.queue:
			n.deliver(sending, body)
			continue
		default:
		}
		select {
		case body := <-n.queue:
			n.deliver(sending, body)
		case <-ctx.Done():
			return
		}
	}
}

// deliver sends one notice until it is taken, or there is no use.
func (n *Notifier) deliver(ctx context.Context, body []byte) {
	pause := n.opt.Pause
	for attempt := 1; ; attempt++ {
		again, err := n.post(ctx, body)
		if err == nil {
			return
		}
		if !again || attempt == n.opt.Attempts || ctx.Err() != nil {
			n.opt.Logger.Error("a notice is dropped: the receiver does not take it", slog.Int("attempts", attempt), slog.Any("error", err))
			return
		}
		n.opt.Logger.Warn("a notice could not be sent and is tried again", slog.Any("error", err), slog.Duration("wait", pause))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause *= 2
	}
}

// post sends once; again says that another attempt may do better.
func (n *Notifier) post(ctx context.Context, body []byte) (again bool, err error) {
	answer, err := n.opt.To.Post(ctx, "application/json", body)
	if err != nil {
		return true, err
	}
	if answer.Status/100 == 2 {
		return false, nil
	}
	err = fmt.Errorf("HTTP %d: %.200q", answer.Status, answer.Body)
	switch answer.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true, err
	}
	return answer.Status/100 != 4, err
}
