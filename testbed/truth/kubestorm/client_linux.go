package kubestorm

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

// client speaks HTTP and WebSocket to an API server or kubelet as somebody. It
// costs a hundredth of a kubectl.
type client struct {
	server string      // URL
	tls    *tls.Config // nil for plain text
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	header http.Header
}

// with returns a client that also sends headers, in pairs of name and value.
func (c client) with(headers ...string) client {
	c.header = c.header.Clone()
	if c.header == nil {
		c.header = http.Header{}
	}
	for i := 0; i < len(headers); i += 2 {
		c.header.Set(headers[i], headers[i+1])
	}
	return c
}

// connect returns a connection to the server.
func (c client) connect(ctx context.Context) (net.Conn, error) {
	u, err := url.Parse(c.server)
	if err != nil {
		return nil, err
	}
	raw, err := c.dial(ctx, "tcp", u.Host)
	if err != nil || c.tls == nil {
		return raw, err
	}
	config := c.tls.Clone()
	config.ServerName = u.Hostname()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

// The subprotocols of streams. Kubelets and runtimes know the last of v4 at
// least; each message begins with the number of its channel.
const (
	streamV5 = "v5.channel.k8s.io"
	streamV4 = "v4.channel.k8s.io"
)

// stream opens a WebSocket.
func (c client) stream(ctx context.Context, path, protocol string) (*websocket.Conn, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	config, err := websocket.NewConfig(strings.Replace(c.server, "http", "ws", 1)+path, c.server)
	if err != nil {
		return nil, err
	}
	config.Protocol, config.Header = []string{protocol}, c.header
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	ws, err := websocket.NewClient(config, conn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), conn.Close())
	}
	return ws, nil
}

// run opens a stream and returns what the command prints, up to its end.
func (c client) run(ctx context.Context, path, protocol string) (string, error) {
	ws, err := c.stream(ctx, path, protocol)
	if err != nil {
		return "", err
	}
	defer ws.Close()
	return listen(ws, func(string) bool { return false })
}

// listen reads a stream to its end, or until enough says that it is enough.
func listen(ws *websocket.Conn, enough func(string) bool) (string, error) {
	var out strings.Builder
	for {
		var b []byte
		err := websocket.Message.Receive(ws, &b)
		switch {
		case errors.Is(err, io.EOF):
			return out.String(), nil
		case err != nil:
			return out.String(), err
		case len(b) < 2:
		case b[0] == 1: // stdout
			out.Write(b[1:])
			if enough(out.String()) {
				return out.String(), nil
			}
		case b[0] == 3: // the status at the end
			if err := succeeded(b[1:]); err != nil {
				return out.String(), err
			}
		}
	}
}

func succeeded(status []byte) error {
	var s struct{ Status, Message string }
	if err := json.Unmarshal(status, &s); err != nil || s.Status != "Success" {
		return fmt.Errorf("status: %s", status)
	}
	return nil
}

// errStatus is an answer that is no success.
type errStatus struct {
	code int
	body string
}

func (e errStatus) Error() string { return fmt.Sprintf("status %d: %s", e.code, e.body) }

// do sends a request and returns the body of the answer.
func (c client) do(ctx context.Context, method, path, kind, body string) (string, error) {
	transport := &http.Transport{DialContext: c.dial, TLSClientConfig: c.tls}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode >= 300 {
		err = errStatus{res.StatusCode, string(bytes.TrimSpace(b))}
	}
	return string(b), err
}
