// Package post sends records over HTTP: to a webhook, Falcosidekick, an OTLP
// receiver, or whatever takes lines of JSON.
package post

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/lib/webhook"
)

// Options configures a Destination. The zero value of a field means its default.
type Options struct {
	URL    string        // required; http or https
	Format export.Format // required
	TLS    *tls.Config
	// Header is sent with each request, for example Authorization.
	Header http.Header
	// Secret signs each request; none without it. The id is derived from the body, so
	// after a restart, when records may be grouped otherwise, what tells them apart is
	// their position.
	Secret *webhook.Secret
	// Accept looks at the body of a successful answer; nil takes any.
	Accept func(body []byte) error
	// BodyBytes is about how large a body may be. Default 1 MiB.
	BodyBytes int
	// Timeout bounds one request. Default 30 s.
	Timeout time.Duration
}

// Destination posts records. It implements export.Destination.
type Destination struct {
	opt Options
	to  *webhook.Endpoint
}

// New returns a destination. It connects to nothing before Send.
func New(opt Options) (*Destination, error) {
	to, err := webhook.New(webhook.Options{URL: opt.URL, TLS: opt.TLS, Header: opt.Header, Secret: opt.Secret, Timeout: opt.Timeout})
	if err != nil {
		return nil, fmt.Errorf("export %w", err)
	}
	if opt.BodyBytes <= 0 {
		opt.BodyBytes = 1 << 20
	}
	return &Destination{opt, to}, nil
}

// Send posts one body after the other. After a failure the ones that were taken
// are sent again, too.
func (d *Destination) Send(ctx context.Context, records []export.Record) error {
	bodies, err := d.opt.Format.Bodies(records, d.opt.BodyBytes)
	if err != nil {
		return err
	}
	for _, b := range bodies {
		if err := d.post(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// Close gives idle connections back.
func (d *Destination) Close() { d.to.Close() }

func (d *Destination) post(ctx context.Context, body []byte) error {
	answer, err := d.to.Post(ctx, d.opt.Format.ContentType, body)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	if answer.Status/100 == 2 {
		if d.opt.Accept != nil {
			return d.opt.Accept(answer.Body)
		}
		return nil
	}
	return judge(answer)
}

// judge says what an answer other than success means. Only what is about the
// body refuses it: wrong credentials, a wrong path and the like are for somebody
// to put right, and what waits is then sent.
func judge(answer webhook.Answer) error {
	what := fmt.Errorf("post: HTTP %d: %.200q", answer.Status, strings.TrimSpace(string(answer.Body)))
	switch answer.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return &export.Refused{Reason: what.Error()}
	}
	if after := retryAfter(answer.Header.Get("Retry-After"), time.Now()); after > 0 {
		return &export.Later{After: after, Err: what}
	}
	return what
}

// retryAfter reads seconds, or a date.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(v, 10, 16); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}
