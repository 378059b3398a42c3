package door_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed/docker"
)

// TestDeniedGRPC: a client of BuildKit's, which upgrades before it says anything, hears
// why it is refused.
func TestDeniedGRPC(t *testing.T) {
	d := open(t, docker.Shared(t), "version: 1\ndefault: allow\n")
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	conns := make(chan net.Conn, 1)
	transport := &http.Transport{Protocols: &only, DialContext: func(context.Context, string, string) (net.Conn, error) {
		c := dial(t, d.socket)
		head := request("POST /v1.41/grpc", "", upgraded, "Upgrade: h2c")
		if _, err := io.WriteString(c, head); err != nil {
			return nil, err
		}
		const switched = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
		answer := make([]byte, len(switched))
		if _, err := io.ReadFull(c, answer); err != nil || string(answer) != switched {
			t.Errorf("%v %q", err, answer)
		}
		conns <- c
		return c, nil
	}}
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for _, path := range []string{"Solve", "ListWorkers"} {
		res, err := client.Post("http://docker/moby.buildkit.v1.Control/"+path, "application/grpc", strings.NewReader("\x00\x00\x00\x00\x00"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		said, err := url.PathUnescape(res.Header.Get("Grpc-Message"))
		if err != nil || res.Header.Get("Grpc-Status") != "7" || !strings.Contains(said, `allowed only by a rule that asks for session.channel == "DK-BUILD"`) {
			t.Errorf("%+v %v", res, err)
		}
	}
	if r := d.decided(); len(r) != 1 || !r[0].Stopped || r[0].Request.Path != "/grpc" {
		t.Errorf("%+v", r)
	}
	// A client that stays does not hold up the end.
	begin := time.Now()
	d.stop()
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("it ends after %v", took)
	}
	if _, err := (<-conns).Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still there")
	}
	// What asks for something else gets an answer in HTTP.
	d = open(t, docker.Shared(t), "version: 1\ndefault: allow\n")
	for _, head := range []string{
		request("POST /grpc", ""),
		request("POST /grpc", "", upgraded, toTCP),
		request("POST /session", "", upgraded, "Upgrade: h2c"),
	} {
		c := dial(t, d.socket)
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != http.StatusForbidden {
			t.Errorf("%v %+v", err, res)
		}
	}
}
