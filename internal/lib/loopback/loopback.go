// Package loopback serves HTTP on the machine's own addresses and on no other.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Check reports why address may not be listened on: it must be HOST:PORT with
// an IP address of the loopback, or "localhost".
func Check(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen address %q: only loopback addresses are served by this version, which asks nobody who they are", address)
}

// Listen listens on a loopback address. Port 0 takes a free one.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	if err := Check(address); err != nil {
		return nil, err
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// Bounds of one request, and of the time that stopping waits for those that
// are being served.
const (
	readMax  = 5 * time.Second
	writeMax = 30 * time.Second
	stopMax  = 2 * time.Second
)

// Serve serves h on l until ctx ends. Requests that name another host than the
// loopback are refused, so that no web page can reach h by a name of its own
// that it makes resolve to 127.0.0.1.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: onlyLocal(h), ReadHeaderTimeout: readMax, ReadTimeout: readMax, WriteTimeout: writeMax,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	done := context.AfterFunc(ctx, func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopMax)
		defer cancel()
		if server.Shutdown(stop) != nil {
			_ = server.Close()
		}
	})
	defer done()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func onlyLocal(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this address serves only requests to the loopback", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}
