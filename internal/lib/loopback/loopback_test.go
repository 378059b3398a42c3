package loopback_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/lib/loopback"
)

func TestCheck(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:9477": true, "[::1]:0": true, "localhost:80": true, "127.9.9.9:1": true,
		"0.0.0.0:9477": false, ":9477": false, "[::]:1": false, "192.0.2.1:1": false, "example.com:1": false, "127.0.0.1": false, "": false,
	} {
		if err := loopback.Check(address); (err == nil) != ok {
			t.Errorf("Check(%q) = %v", address, err)
		}
	}
}

// TestOtherNamesAreRefused: a web page cannot reach the server by a name of its
// own that resolves to the loopback.
func TestOtherNamesAreRefused(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := loopback.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- loopback.Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	}()
	for host, want := range map[string]int{"": 200, "localhost": 200, "[::1]:80": 200, "evil.example": 421, "evil.example:80": 421} {
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+l.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("host %q: %d, want %d", host, answer.StatusCode, want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
