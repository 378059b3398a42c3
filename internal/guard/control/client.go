package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/guard"
)

// listMax bounds what is read of a guard's answer, in bytes: all that it can hold.
const listMax = 256 << 20

// Client asks a guard at a unix socket.
type Client struct{ http *http.Client }

// NewClient returns a client. It connects to nothing yet.
func NewClient(path string) *Client {
	return &Client{&http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			},
		},
	}}
}

// Error is what a guard says when it does not do what it is asked for.
type Error struct {
	Status int // of HTTP
	Text   string
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// List returns what waits, and what is approved for a time.
func (c *Client) List(ctx context.Context) ([]guard.Record, error) {
	var v listJSON
	err := c.ask(ctx, http.MethodGet, "/v1/approvals", nil, &v)
	return v.Approvals, err
}

// Approve lets a request go on.
func (c *Client) Approve(ctx context.Context, id string, a guard.Answer) (guard.Record, error) {
	v := answerJSON{Reason: a.Reason}
	if a.For != 0 {
		seconds := int64(a.For / time.Second)
		v.ForSeconds = &seconds
	}
	var r guard.Record
	err := c.ask(ctx, http.MethodPost, "/v1/approvals/"+id+"/approve", v, &r)
	return r, err
}

// Deny refuses a request, or ends the time that one was approved for.
func (c *Client) Deny(ctx context.Context, id, reason string) (guard.Record, error) {
	var r guard.Record
	err := c.ask(ctx, http.MethodPost, "/v1/approvals/"+id+"/deny", answerJSON{Reason: reason}, &r)
	return r, err
}

func (c *Client) ask(ctx context.Context, method, path string, body, into any) error {
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://sallyport"+path, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, listMax))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		var e errorJSON
		if json.Unmarshal(text, &e) != nil || e.Error == "" {
			e.Error = fmt.Sprintf("the guard answers %d", res.StatusCode)
		}
		return &Error{res.StatusCode, e.Error}
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("the guard's answer: %w", err)
	}
	return nil
}
