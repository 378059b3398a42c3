// Package webhook posts bodies over HTTP to one address, signed as Standard
// Webhooks has it.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Options are those of an Endpoint. URL is required.
type Options struct {
	URL string // http or https
	TLS *tls.Config
	// Header is sent with each request, for example Authorization.
	Header http.Header
	// Secret signs each request; none without it.
	Secret *Secret
	// Timeout bounds one request. Default 30 s.
	Timeout time.Duration
}

// answerMax bounds what is read of an answer, in bytes.
const answerMax = 64 << 10

// Endpoint is an address that bodies are posted to. It is safe for concurrent use.
type Endpoint struct {
	opt    Options
	client *http.Client
}

// New returns an endpoint. It connects to nothing before Post.
func New(opt Options) (*Endpoint, error) {
	u, err := url.Parse(opt.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("URL: want http://host/ or https://host/") // err would show its password
	}
	if opt.Timeout <= 0 {
		opt.Timeout = 30 * time.Second
	}
	return &Endpoint{opt, &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: opt.TLS, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
		},
		// What is sent is meant for that address alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Answer is what the receiver said, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // its beginning
}

// Post sends one body. Errors do not show the URL, which may hold a password.
func (e *Endpoint) Post(ctx context.Context, contentType string, body []byte) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opt.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.opt.URL, bytes.NewReader(body))
	if err != nil {
		return Answer{}, errors.New("the URL cannot be used")
	}
	for k, v := range e.opt.Header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "sallyport")
	if e.opt.Secret != nil {
		e.opt.Secret.Sign(req.Header, body, time.Now())
	}
	resp, err := e.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return Answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	return Answer{resp.StatusCode, resp.Header, text}, nil
}

// Close gives idle connections back.
func (e *Endpoint) Close() { e.client.CloseIdleConnections() }
