// Package post sends records over HTTP: to a webhook, Falcosidekick, an OTLP
// receiver, or whatever takes lines of JSON.
package post

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/export"
)

// Options configures a Destination. The zero value of a field means its default.
type Options struct {
	URL    string        // required; http or https
	Format export.Format // required
	TLS    *tls.Config
	// Header is sent with each request, for example Authorization.
	Header http.Header
	// Secret signs each request (see Sign); none without it.
	Secret *Secret
	// Accept looks at the body of a successful answer; nil takes any.
	Accept func(body []byte) error
	// BodyBytes is about how large a body may be. Default 1 MiB.
	BodyBytes int
	// Timeout bounds one request. Default 30 s.
	Timeout time.Duration
}

// answerMax bounds what is read of an answer, in bytes.
const answerMax = 64 << 10

// Destination posts records. It implements export.Destination.
type Destination struct {
	opt    Options
	client *http.Client
}

// New returns a destination. It connects to nothing before Send.
func New(opt Options) (*Destination, error) {
	u, err := url.Parse(opt.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("export URL: want http://host/ or https://host/") // err would show its password
	}
	if opt.BodyBytes <= 0 {
		opt.BodyBytes = 1 << 20
	}
	if opt.Timeout <= 0 {
		opt.Timeout = 30 * time.Second
	}
	return &Destination{opt, &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: opt.TLS, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		},
		// What is sent is meant for that address alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
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
func (d *Destination) Close() { d.client.CloseIdleConnections() }

func (d *Destination) post(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, d.opt.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.opt.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("export URL cannot be used")
	}
	for k, v := range d.opt.Header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	req.Header.Set("Content-Type", d.opt.Format.ContentType)
	req.Header.Set("User-Agent", "sallyport")
	if d.opt.Secret != nil {
		d.opt.Secret.Sign(req.Header, body, time.Now())
	}
	resp, err := d.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL, which may hold a password
		}
		return fmt.Errorf("post: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return fmt.Errorf("post: read the answer: %w", err)
	}
	if resp.StatusCode/100 == 2 {
		if d.opt.Accept != nil {
			return d.opt.Accept(answer)
		}
		return nil
	}
	return judge(resp, answer)
}

// judge says what an answer other than success means. Only what is about the
// body refuses it: wrong credentials, a wrong path and the like are for somebody
// to put right, and what waits is then sent.
func judge(resp *http.Response, answer []byte) error {
	what := fmt.Errorf("post: HTTP %d: %.200q", resp.StatusCode, strings.TrimSpace(string(answer)))
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return &export.Refused{Reason: what.Error()}
	}
	if after := retryAfter(resp.Header.Get("Retry-After"), time.Now()); after > 0 {
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
