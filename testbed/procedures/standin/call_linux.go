package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

// call is how a server is asked.
type call struct {
	server string // URL
	token  string
	agent  string // user agent; "" is Go's own
}

// insecure is what clients of the procedures do about certificates: nothing.
var insecure = &tls.Config{InsecureSkipVerify: true} // the test bed's own servers

func (c call) header() http.Header {
	h := http.Header{}
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
	if c.agent != "" {
		h.Set("User-Agent", c.agent)
	}
	return h
}

// do sends a request, with body as JSON unless it is text, and returns the
// answer's body.
func (c call) do(ctx context.Context, method, path, kind string, body any) ([]byte, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, in)
	if err != nil {
		return nil, err
	}
	req.Header = c.header()
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	transport := &http.Transport{TLSClientConfig: insecure, DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(b))
	}
	return b, err
}

// stream opens a WebSocket, as kubectl exec does, and returns what comes on it up
// to its end.
func (c call) stream(path string) (string, error) {
	config, err := websocket.NewConfig(strings.Replace(c.server, "http", "ws", 1)+path, c.server)
	if err != nil {
		return "", err
	}
	config.Protocol, config.Header, config.TlsConfig = []string{"v5.channel.k8s.io"}, c.header(), insecure
	ws, err := websocket.DialConfig(config)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", path, err)
	}
	defer ws.Close()
	if err := ws.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	var out strings.Builder
	for {
		var b []byte
		err := websocket.Message.Receive(ws, &b)
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), err
		}
		if len(b) > 1 && b[0] == 1 { // standard output
			out.Write(b[1:])
		}
	}
}
