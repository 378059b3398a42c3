package door

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// talk is a daemon that answers each connection by a script: it reads a request, and
// says what is next.
type talk struct {
	net.Listener
	came chan string // the request line and body of each request
}

func newTalk(t *testing.T, conns ...[]string) (*calls, *talk) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	d := &talk{l, make(chan string, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, script := range conns {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.speak(c, script)
		}
	}()
	c := newDaemon("unix", l.Addr().String()).http
	t.Cleanup(func() {
		c.CloseIdleConnections()
		_ = l.Close()
		<-done
	})
	return c, d
}

func (d *talk) speak(c net.Conn, script []string) {
	defer c.Close()
	br := bufio.NewReader(c)
	for _, text := range script {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if text == "EARLY" {
			_, _ = io.WriteString(c, "HTTP/1.1 413 no\r\nContent-Length: 4\r\n\r\nlong")
			return
		}
		body, _ := io.ReadAll(r.Body)
		d.came <- r.Method + " " + r.URL.Path + " " + string(body)
		_, _ = io.WriteString(c, text)
	}
}

func asking(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://docker"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func answered(t *testing.T, c *calls, r *http.Request) string {
	t.Helper()
	res, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return res.Status + " " + string(body)
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// A connection is kept as long as it can be: past answers that were read, with or
// without a body, and others that only announce them.
func TestCallsKeepConnections(t *testing.T) {
	c, d := newTalk(t, []string{ok, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", ok},
		[]string{"HTTP/1.0 200 OK\r\n\r\nto the end"}, []string{ok})
	for _, step := range []struct{ method, path, body, want string }{
		{"GET", "/1", "", "200 OK ok"}, {"POST", "/2", "{}", "204 No Content "}, {"GET", "/3", "", "200 OK ab"}, {"GET", "/4", "", "200 OK ok"},
		{"GET", "/5", "", "200 OK to the end"}, {"POST", "/6", "{}", "200 OK ok"},
	} {
		if got := answered(t, c, asking(t, step.method, step.path, step.body)); got != step.want {
			t.Errorf("%s: %q, want %q", step.path, got, step.want)
		}
		if got, want := <-d.came, step.method+" "+step.path+" "+step.body; got != want {
			t.Errorf("came %q, want %q", got, want)
		}
	}
}

// A daemon that does not read a request to its end is heard all the same.
func TestCallsHearEarlyAnswers(t *testing.T) {
	c, _ := newTalk(t, []string{"EARLY"})
	if got := answered(t, c, asking(t, "POST", "/", strings.Repeat("x", 4<<20))); got != "413 no long" {
		t.Errorf("%q", got)
	}
}

// What is no answer is an error, and so is a head without an end.
func TestCallsFail(t *testing.T) {
	for name, script := range map[string]string{
		"nothing": "", "no HTTP": "hello\r\n\r\n", "half": "HTTP/1.1 200 OK\r\nA: b", "endless": "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 2*headMax),
	} {
		c, _ := newTalk(t, []string{script})
		if res, err := c.RoundTrip(asking(t, "GET", "/", "")); err == nil {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
}

// Who goes away ends what the daemon does for him.
func TestCallsEndWithTheirContext(t *testing.T) {
	c, d := newTalk(t, []string{"HTTP/1.1 200 OK\r\n\r\nfirst", "never"})
	ctx, cancel := context.WithCancel(t.Context())
	res, err := c.RoundTrip(asking(t, "GET", "/", "").WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	<-d.came
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("an end where there is none")
	}
	if _, err := c.RoundTrip(asking(t, "GET", "/", "").WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
