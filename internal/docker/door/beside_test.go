package door

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestBeside: a daemon that takes calls beside its plugins is told of, and no other.
func TestBeside(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1 alone": false, "HTTP/2, too": true} {
		t.Run(name, func(t *testing.T) {
			daemon := httptest.NewUnstartedServer(http.NotFoundHandler())
			var speaks http.Protocols
			speaks.SetHTTP1(true)
			speaks.SetUnencryptedHTTP2(http2)
			daemon.Config.Protocols = &speaks
			daemon.Start()
			defer daemon.Close()
			var log bytes.Buffer
			address := daemon.Listener.Addr().(*net.TCPAddr).String()
			p := NewPlugin(PluginOptions{Network: "tcp", Address: address, Judge: &judge{}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			done := make(chan error, 1)
			go func() { done <- p.Beside(t.Context()) }()
			select {
			case <-done:
				t.Fatal("it looks before the daemon asks")
			default:
			}
			call(t, p, "AuthZReq", map[string]string{"RequestMethod": "GET", "RequestUri": "/_ping"})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(log.String(), "asks no plugin about BuildKit's calls"); got != http2 {
				t.Errorf("it warns: %v\n%s", got, &log)
			}
			if strings.Contains(log.String(), "does not say") {
				t.Errorf("%s", &log)
			}
		})
	}
}
