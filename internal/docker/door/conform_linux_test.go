package door_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/pkg/stdcopy"

	"github.com/sallyport/sallyport/testbed/docker"
)

// said is what comes back on a connection: the head of the answer as it is, and
// what follows.
type said struct {
	Head, Stdout, Stderr string
}

var dates = regexp.MustCompile(`(?m)^(Date|X-Reference-Id): .*\r$`) // and the number that Podman gives a request

// dial connects to a socket of the API.
func dial(t testing.TB, socket string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// parts takes apart what came back: the streams of the daemon's framing where
// mux is set, else all of it as output.
func parts(t testing.TB, all []byte, mux bool) said {
	t.Helper()
	head, body, ok := bytes.Cut(all, []byte("\r\n\r\n"))
	if !ok {
		t.Fatalf("no head in %q", all)
	}
	fields := strings.Split(dates.ReplaceAllString(string(head)+"\r", "Date: -\r"), "\n")
	slices.Sort(fields[1:]) // their order says nothing
	s := said{Head: strings.Join(fields, "\n")}
	if len(body) > 64<<10 && slices.Contains(fields, "Transfer-Encoding: chunked\r") {
		// In which pieces a long answer comes is a matter of the moment.
		whole, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(body)))
		if err != nil {
			t.Fatalf("%v in %d bytes", err, len(body))
		}
		body = whole
	}
	if !mux {
		s.Stdout = short(body)
		return s
	}
	var out, errs bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errs, bytes.NewReader(body)); err != nil {
		t.Fatalf("%v in %q", err, body[:min(len(body), 200)])
	}
	s.Stdout, s.Stderr = short(out.Bytes()), short(errs.Bytes())
	return s
}

// short is a text that differs where the bytes do.
func short(b []byte) string {
	if len(b) < 1<<10 {
		return string(b)
	}
	return fmt.Sprintf("%d bytes, %x", len(b), sha256.Sum256(b))
}

// execOn creates an exec by way of a socket.
func execOn(t testing.TB, socket, container, body string) string {
	t.Helper()
	c := dial(t, socket)
	defer c.Close()
	if _, err := io.WriteString(c, request("POST /containers/"+container+"/exec", body, "Connection: close")); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ ID string }
	_, answer, _ := bytes.Cut(all, []byte("\r\n\r\n"))
	if err := json.Unmarshal(answer, &v); err != nil || v.ID == "" {
		t.Fatalf("%v: %s", err, all)
	}
	return v.ID
}

const (
	upgraded = "Connection: Upgrade"
	toTCP    = "Upgrade: tcp"
)

// talk sends a request and returns what comes back until the end. Input begins when
// the head of the answer is there: what comes before it the daemon itself may lose.
func talk(t testing.TB, socket, head string, mux bool, input func(c *net.UnixConn)) said {
	t.Helper()
	c := dial(t, socket)
	defer c.Close()
	if _, err := io.WriteString(c, head); err != nil {
		t.Fatal(err)
	}
	answer := bufio.NewReader(c)
	var all []byte
	for !bytes.HasSuffix(all, []byte("\r\n\r\n")) {
		line, err := answer.ReadBytes('\n')
		all = append(all, line...)
		if err != nil {
			t.Fatalf("%v after %q", err, all)
		}
	}
	if input != nil {
		go input(c)
	}
	body, err := io.ReadAll(answer)
	all = append(all, body...)
	if err != nil {
		t.Fatalf("%v after %q", err, all[:min(len(all), 300)])
	}
	return parts(t, all, mux)
}

// TestConformance: what a client gets to see is the same with the door in between
// as without, byte by byte but for the date.
func TestConformance(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, everything)
	id := e.RunT(t, docker.Image)
	big := bytes.Repeat([]byte("0123456789abcde\n"), 1<<17)
	closing := func(pieces ...[]byte) func(*net.UnixConn) {
		return func(c *net.UnixConn) {
			for _, p := range pieces {
				if _, err := c.Write(p); err != nil {
					return
				}
			}
			_ = c.CloseWrite()
		}
	}
	single := func(text string) func(*net.UnixConn) {
		return func(c *net.UnixConn) {
			for i := range len(text) {
				_, _ = c.Write([]byte{text[i]})
				time.Sleep(3 * time.Millisecond)
			}
			_ = c.CloseWrite()
		}
	}
	run := func(argv, more string) func(t testing.TB, socket string) string {
		return func(t testing.TB, socket string) string {
			return execOn(t, socket, id, `{"Cmd":`+argv+`,"AttachStdout":true,"AttachStderr":true`+more+`}`)
		}
	}
	start := func(exec func(testing.TB, string) string, tty bool, input func(*net.UnixConn), headers ...string) func(testing.TB, string) said {
		return func(t testing.TB, socket string) said {
			return talk(t, socket, request("POST /exec/"+exec(t, socket)+"/start", fmt.Sprintf(`{"Detach":false,"Tty":%v}`, tty), headers...), !tty, input)
		}
	}
	plain := func(line, body string, headers ...string) func(testing.TB, string) said {
		return func(t testing.TB, socket string) said {
			return talk(t, socket, request(line, body, append(headers, "Connection: close")...), false, nil)
		}
	}
	for name, ask := range map[string]func(testing.TB, string) said{
		"output":                 start(run(`["/bin/echo","hello"]`, ""), false, nil, upgraded, toTCP),
		"both outputs":           start(run(`["/bin/sh","-c","echo a; echo b >&2; echo c"]`, ""), false, nil, upgraded, toTCP),
		"older clients":          start(run(`["/bin/sh","-c","echo a; echo b >&2"]`, ""), false, nil),
		"a terminal":             start(run(`["/bin/echo","hello"]`, `,"Tty":true`), true, nil, upgraded, toTCP),
		"much output":            start(run(`["/bin/sh","-c","head -c 8388608 /dev/zero | tr '\\\\0' x"]`, ""), false, nil, upgraded, toTCP),
		"input and its end":      start(run(`["/bin/cat"]`, `,"AttachStdin":true`), false, closing([]byte("through\n")), upgraded, toTCP),
		"input for older ones":   start(run(`["/bin/cat"]`, `,"AttachStdin":true`), false, closing([]byte("through\n"))),
		"much input":             start(run(`["/bin/cat"]`, `,"AttachStdin":true`), false, closing(big), upgraded, toTCP),
		"input byte by byte":     start(run(`["/bin/sh","-c","cat; echo end"]`, `,"AttachStdin":true`), false, single("one\ntwo\nthree\n"), upgraded, toTCP),
		"output after the input": start(run(`["/bin/sh","-c","cat >/dev/null; echo late; sleep 0.2; echo later"]`, `,"AttachStdin":true`), false, closing([]byte("x")), upgraded, toTCP),
		"no such command":        start(run(`["/bin/nowhere"]`, ""), true, nil, upgraded, toTCP),
		"no output":              start(run(`["/bin/true"]`, ""), false, nil, upgraded, toTCP),
		"in the background": func(t testing.TB, socket string) said {
			return plain("POST /exec/"+run(`["/bin/true"]`, "")(t, socket)+"/start", `{"Detach":true}`)(t, socket)
		},
		"a second time": func(t testing.TB, socket string) said {
			x := run(`["/bin/true"]`, "")(t, socket)
			plain("POST /exec/"+x+"/start", `{"Detach":true}`)(t, socket)
			eventually(t, func() bool {
				return strings.Contains(plain("GET /exec/"+x+"/json", "")(t, socket).Stdout, `"Running":false`)
			})
			s := plain("POST /exec/"+x+"/start", `{"Detach":true}`)(t, socket)
			s.Stdout = strings.ReplaceAll(s.Stdout, x, "EXEC")
			return s
		},
		"attach": func(t testing.TB, socket string) said {
			c := e.RunT(t, "-i", docker.Image, "/bin/sh", "-c", "read x; echo got $x; echo bad >&2; sleep 0.3")
			return talk(t, socket, request("POST /containers/"+c+"/attach?stream=1&stdin=1&stdout=1&stderr=1", "", upgraded, toTCP), true, func(c *net.UnixConn) {
				_, _ = c.Write([]byte("word\n")) // at the end of the input of an attach, the daemon may drop output
			})
		},
		"attach by websocket": func(t testing.TB, socket string) said {
			c := e.RunT(t, "-i", docker.Image, "/bin/sh", "-c", "read x; echo got $x; sleep 0.3")
			head := "GET /v1.41/containers/" + c + "/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: docker\r\n" + upgraded + "\r\nUpgrade: websocket\r\nOrigin: http://docker\r\n" +
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
			return talk(t, socket, head, false, func(c *net.UnixConn) {
				_, _ = c.Write([]byte{0x82, 0x85, 0, 0, 0, 0, 'w', 'o', 'r', 'd', '\n'}) // masked with zeros
			})
		},
		"grpc of BuildKit": func(t testing.TB, socket string) said {
			preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // with empty settings
			c := dial(t, socket)
			defer c.Close()
			if _, err := io.WriteString(c, request("POST /grpc", "", upgraded, "Upgrade: h2c")); err != nil {
				t.Fatal(err)
			}
			answer := bufio.NewReader(c)
			var all []byte
			for !bytes.HasSuffix(all, []byte("\r\n\r\n")) {
				line, err := answer.ReadBytes('\n')
				if all = append(all, line...); err != nil {
					t.Fatalf("%v after %q", err, all)
				}
			}
			if _, err := io.WriteString(c, preface); err != nil {
				t.Fatal(err)
			}
			settings := make([]byte, 9) // the head of the frame; what follows it depends on the moment
			if _, err := io.ReadFull(answer, settings); err != nil || settings[3] != 4 {
				t.Fatalf("%v, settings %q behind %q", err, settings, all)
			}
			return parts(t, append(all, settings...), false)
		},
		"ping":                plain("GET /_ping", ""),
		"head of ping":        plain("HEAD /_ping", ""),
		"HTTP/1.0":            func(t testing.TB, s string) said { return talk(t, s, "GET /_ping HTTP/1.0\r\n\r\n", false, nil) },
		"a version too old":   plain("GET /v1.1/containers/json", ""),
		"a version too new":   plain("GET /v1.99/containers/json", ""),
		"inspect":             plain("GET /v1.41/containers/"+id+"/json", ""),
		"list":                plain("GET /v1.41/images/json?filters=%7B%22reference%22%3A%5B%22"+url.QueryEscape(docker.Image)+"%22%5D%7D", ""), // several have no order
		"no such container":   plain("POST /v1.41/containers/nobody/exec", `{"Cmd":["id"]}`),
		"no such exec":        plain("POST /v1.41/exec/"+strings.Repeat("0", 64)+"/start", `{"Detach":true}`),
		"no command":          plain("POST /v1.41/containers/"+id+"/exec", `{}`),
		"nothing to inspect":  plain("GET /v1.41/containers/nobody/json", ""),
		"files":               plain("GET /v1.41/containers/"+id+"/archive?path=/bin/busybox", ""),
		"head of files":       plain("HEAD /v1.41/containers/"+id+"/archive?path=/bin", ""),
		"no such files":       plain("GET /v1.41/containers/"+id+"/archive?path=/nowhere", ""),
		"logs":                plain("GET /v1.41/containers/"+id+"/logs?stdout=1", ""),
		"events of the past":  plain("GET /v1.41/events?until=1&since=0", ""),
		"start of a started":  plain("POST /v1.41/containers/"+id+"/start", ""),
		"an unknown route":    plain("GET /v1.41/nothing/here", ""),
		"an unknown method":   plain("PATCH /v1.41/containers/json", ""),
		"resize without size": plain("POST /v1.41/containers/"+id+"/resize", ""),
	} {
		t.Run(name, func(t *testing.T) {
			direct, behind := ask(t, e.Socket), ask(t, d.socket)
			if diff := cmp.Diff(direct, behind); diff != "" {
				t.Errorf("-direct +behind the door:\n%s", diff)
			}
			if direct.Stdout+direct.Stderr+direct.Head == "" {
				t.Error("nothing was said")
			}
		})
	}
}

// TestSlowReader: a client that reads slowly gets everything, and holds up nobody
// else.
func TestSlowReader(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, everything)
	id := e.RunT(t, docker.Image)
	const size = 6 << 20
	x := execOn(t, d.socket, id, `{"Cmd":["/bin/sh","-c","head -c 6291456 /dev/zero"],"AttachStdout":true}`)
	c := dial(t, d.socket)
	if _, err := io.WriteString(c, request("POST /exec/"+x+"/start", `{}`, upgraded, toTCP)); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	buf := make([]byte, 64<<10)
	for i := 0; ; i++ {
		n, err := c.Read(buf)
		got.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if i < 20 {
			time.Sleep(50 * time.Millisecond)
			if s := talk(t, d.socket, request("GET /_ping", "", "Connection: close"), false, nil); s.Stdout != "OK" {
				t.Fatalf("%+v", s)
			}
		}
	}
	if s := parts(t, got.Bytes(), true); !strings.HasPrefix(s.Stdout, fmt.Sprint(size)) {
		t.Errorf("%s", s.Stdout)
	}
}

// TestAborts: of clients that go without a word nothing is left.
func TestAborts(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, everything)
	id := e.RunT(t, docker.Image)
	abort := func(n int) {
		for i := range n {
			x := execOn(t, d.socket, id, `{"Cmd":["/bin/cat"],"AttachStdin":true,"AttachStdout":true}`)
			c := dial(t, d.socket)
			if _, err := io.WriteString(c, request("POST /exec/"+x+"/start", `{}`, upgraded, toTCP)); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 { // else: before the answer
				if _, err := c.Read(make([]byte, 16)); err != nil {
					t.Fatal(err)
				}
			}
			_ = c.Close()
		}
	}
	abort(3)
	time.Sleep(time.Second)
	before := openFiles(t)
	abort(60)
	eventually(t, func() bool { return openFiles(t) <= before+2 })
}

func openFiles(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// TestStop: the door waits for what is under way, and not for ever.
func TestStop(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, everything)
	id := e.RunT(t, docker.Image)
	x := execOn(t, d.socket, id, `{"Cmd":["/bin/sh","-c","sleep 1; echo done"],"AttachStdout":true}`)
	y := execOn(t, d.socket, id, `{"Cmd":["/bin/cat"],"AttachStdin":true,"AttachStdout":true}`)
	short, long := dial(t, d.socket), dial(t, d.socket)
	for c, x := range map[*net.UnixConn]string{short: x, long: y} {
		if _, err := io.WriteString(c, request("POST /exec/"+x+"/start", `{}`, upgraded, toTCP)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() { d.stop(); cancel() }()
	if all, err := io.ReadAll(short); err != nil || !bytes.Contains(all, []byte("done\n")) {
		t.Errorf("%v %q", err, all)
	}
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Error("it does not stop")
	}
	if _, err := io.ReadAll(long); err != nil {
		t.Logf("the stream that was cut: %v", err)
	}
}
