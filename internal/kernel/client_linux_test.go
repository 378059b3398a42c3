//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed"
)

// The test binary is its own client: the sensor leaves out the connections of
// its own process, and so does a test that is the service.
const envClient = "SALLYPORT_TEST_CLIENT"

// clientMain connects to the socket in the environment, and then, as told on
// stdin: "get PATH", "post PATH BYTES", "raw N", each answered with "ok".
func clientMain() int {
	network, address := "unix", os.Getenv(envClient)
	if a, ok := strings.CutPrefix(address, "tcp "); ok {
		network, address = "tcp", a
	}
	if a, ok := strings.CutPrefix(address, "tls "); ok {
		return tlsClientMain(a)
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer conn.Close()
	fmt.Println("ok")
	for {
		var verb, path string
		var n int
		if _, err := fmt.Scanln(&verb, &path, &n); err != nil {
			return 0
		}
		head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", verb, path, n)
		if _, err := conn.Write(append([]byte(head), bytes.Repeat([]byte("z"), n)...)); err != nil {
			fmt.Println(err)
			return 1
		}
		buf := make([]byte, 4096)
		if _, err := conn.Read(buf); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("ok")
	}
}

// client is a process with one connection.
type client struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.Reader
}

func connect(t testing.TB, socket string) *client {
	t.Helper()
	return connectBy(t, socket, os.Args[0], "client", mark())
}

// connectBy starts the client by some other command.
func connectBy(t testing.TB, socket string, argv ...string) *client {
	t.Helper()
	c := &client{cmd: exec.CommandContext(t.Context(), argv[0], argv[1:]...)}
	c.cmd.Env = append(os.Environ(), envClient+"="+socket)
	c.cmd.Stderr = os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if c.out, err = c.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	c.ok(t)
	return c
}

func (c *client) ok(t testing.TB) {
	t.Helper()
	var s string
	if _, err := fmt.Fscanln(c.out, &s); err != nil || s != "ok" {
		t.Fatalf("client: %s, %v", s, err)
	}
}

func (c *client) ask(t testing.TB, verb, path string, body int) {
	t.Helper()
	fmt.Fprintln(c.in, verb, path, body)
	c.ok(t)
}

func (c *client) close() {
	c.in.Close()
	_ = c.cmd.Wait()
}

func (c *client) pid() uint32 { return uint32(c.cmd.Process.Pid) }

// service is an HTTP server on a unix socket, as Docker's is.
func service(t testing.TB) string {
	t.Helper()
	testbed.Require(t, testbed.BPF)
	path := filepath.Join(t.TempDir(), "door.sock")
	serve(t, path)
	return path
}

func serve(t testing.TB, path string) *http.Server {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l)
}

func serveOn(t testing.TB, l net.Listener) *http.Server {
	t.Helper()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "done")
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return srv
}

// segments keeps what the tap sampled.
type segments struct {
	mu  sync.Mutex
	all []event.Segment
}

func (s *segments) take(seg event.Segment) []event.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg.Data = bytes.Clone(seg.Data)
	s.all = append(s.all, seg)
	return nil
}

func (s *segments) of(pid uint32, sent bool) []event.Segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []event.Segment
	for _, seg := range s.all {
		if seg.Peer.ID.PID == pid && seg.Sent == sent {
			out = append(out, seg)
		}
	}
	return out
}

func watchDoor(t testing.TB, mode Mode, path string) (*watcher, *segments) {
	t.Helper()
	s := &segments{}
	w := watch(t, Options{
		Requests: mode, OnSegment: s.take, Linger: 500 * time.Millisecond, Sockets: []Socket{{event.ServiceDocker, path}},
	})
	return w, s
}

func connectOf(pid uint32) func(event.ClientConnect) bool {
	return func(o event.ClientConnect) bool { return o.Peer.ID.PID == pid }
}

func closeOf(id event.ConnID) func(event.ClientClose) bool {
	return func(o event.ClientClose) bool { return o.Conn == id }
}

func TestClient(t *testing.T) {
	path := service(t)
	w, s := watchDoor(t, ModeAlways, path)
	c := connect(t, path)
	c.ask(t, "GET", "/first", 0)
	o := find(t, w, "the connect", connectOf(c.pid()))
	if o.Service != event.ServiceDocker || o.Socket != path || !o.Tapped || o.Found || o.Conn == 0 {
		t.Errorf("connect %+v", o)
	}
	p := o.Peer
	if p.ID.Start == 0 || p.Cred.UID != uint32(os.Getuid()) || string(p.Exe) != exe(t) || len(p.Argv.Args) != 3 || p.Argv.Args[1] != "client" {
		t.Errorf("peer %+v", p)
	}
	eventually(t, w, "request and answer", func() bool { return len(s.of(c.pid(), false)) > 0 && len(s.of(c.pid(), true)) > 0 })
	req, ans := s.of(c.pid(), false)[0], s.of(c.pid(), true)[0]
	if req.Offset != 0 || !req.Whole || !strings.HasPrefix(string(req.Data), "GET /first") || req.Conn != o.Conn || int(req.Length) != len(req.Data) {
		t.Errorf("request %+v", req)
	}
	if ans.Offset != 0 || !ans.Whole || !strings.HasPrefix(string(ans.Data), "HTTP/1.1 200 OK") {
		t.Errorf("answer %+v", ans)
	}
	c.close()
	find(t, w, "the close", closeOf(o.Conn))
}

func exe(t testing.TB) string {
	t.Helper()
	p, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A request is believed only where the one before it ends, so every byte must
// be counted, whether it is shown or not.
func TestOffsetsAcrossLargeBodies(t *testing.T) {
	path := service(t)
	w, s := watchDoor(t, ModeAlways, path)
	c := connect(t, path)
	var want uint64
	for i, body := range []int{0, 5 << 20, 3, 100_000, 0} {
		target := fmt.Sprintf("/n%d", i)
		head := len(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", target, body))
		c.ask(t, "POST", target, body)
		at := want
		eventually(t, w, "request "+target, func() bool {
			return strings.HasPrefix(shown(s.of(c.pid(), false), at), "POST "+target)
		})
		want += uint64(head + body)
	}
	if n := len(s.of(c.pid(), false)); n > 200 {
		t.Errorf("%d pieces for five requests: bodies are not left out", n)
	}
}

// shown puts together what was shown from an offset on without a gap: a server
// may read a head's first byte by itself.
func shown(pieces []event.Segment, at uint64) string {
	var out []byte
	for _, p := range pieces {
		next := at + uint64(len(out))
		if p.Offset <= next && next < p.Offset+uint64(len(p.Data)) {
			out = append(out, p.Data[next-p.Offset:]...)
		}
	}
	return string(out)
}

// wakes runs a test in which somebody's connection wakes the tap until that was there
// before the tap: on a busy machine it may be up while the client still connects.
func wakes(t *testing.T, test func(*testing.T) (before bool)) {
	t.Helper()
	for range 5 {
		before := false
		t.Run("", func(t *testing.T) { before = test(t) })
		if before || t.Failed() {
			return
		}
	}
	t.Error("no connection was there before the tap that it woke")
}

func TestAutoComesAndGoes(t *testing.T) { wakes(t, autoComesAndGoes) }

func autoComesAndGoes(t *testing.T) (before bool) {
	path := service(t)
	w, s := watchDoor(t, ModeAuto, path)
	if w.sensor.Status().Requests {
		t.Error("the tap is attached with nobody there")
	}
	state := func(n int, on bool) {
		t.Helper()
		eventually(t, w, fmt.Sprintf("state %d", n), func() bool {
			l := list(w, func(event.WitnessState) bool { return true })
			return len(l) > n && l[n].Requests == on
		})
	}
	c := connect(t, path)
	first := find(t, w, "the first connect", connectOf(c.pid()))
	state(1, true)
	d := connect(t, path)
	d.ask(t, "GET", "/second", 0)
	if o := find(t, w, "the second connect", connectOf(d.pid())); !o.Tapped {
		t.Errorf("the second client is not tapped: %+v", o)
	}
	c.ask(t, "GET", "/late", 0)
	eventually(t, w, "the first client's request", func() bool { return len(s.of(c.pid(), false)) > 0 })
	if seg := s.of(c.pid(), false)[0]; seg.Whole != first.Tapped {
		t.Errorf("tapped from its beginning: %v; its offsets are believed: %+v", first.Tapped, seg)
	}
	c.close()
	d.close()
	state(2, false)
	// The program is known as a client now: its start is warning enough.
	e := connect(t, path)
	find(t, w, "the third connect", connectOf(e.pid()))
	state(3, true)
	return !first.Tapped
}

func TestOffSeesPeersOnly(t *testing.T) {
	path := service(t)
	w, s := watchDoor(t, ModeOff, path)
	c := connect(t, path)
	c.ask(t, "GET", "/x", 0)
	if o := find(t, w, "the connect", connectOf(c.pid())); o.Tapped {
		t.Error("tapped")
	}
	c.close()
	find(t, w, "the close", func(event.ClientClose) bool { return true })
	if len(s.of(c.pid(), false)) > 0 {
		t.Error("a request was read")
	}
}

func TestConnectionFound(t *testing.T) {
	path := service(t)
	c := connect(t, path)
	c.ask(t, "GET", "/before", 0)
	w, s := watchDoor(t, ModeAlways, path)
	o := find(t, w, "the connection", connectOf(c.pid()))
	if !o.Found || o.Tapped || string(o.Peer.Exe) != exe(t) || len(o.Peer.Argv.Args) != 3 {
		t.Errorf("found %+v", o)
	}
	c.ask(t, "GET", "/after", 0)
	eventually(t, w, "a request", func() bool { return len(s.of(c.pid(), false)) > 0 })
	if seg := s.of(c.pid(), false)[0]; seg.Whole || seg.Conn != o.Conn {
		t.Errorf("segment %+v", seg)
	}
	c.close()
	find(t, w, "the close", closeOf(o.Conn))
}

// A name that nobody told the sensor leads to the same socket.
func TestConnectBySomeOtherName(t *testing.T) {
	path := service(t)
	w, s := watchDoor(t, ModeAlways, path)
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(path, alias); err != nil {
		t.Fatal(err)
	}
	c := connect(t, alias)
	c.ask(t, "GET", "/x", 0)
	o := find(t, w, "the connection", connectOf(c.pid()))
	if o.Peer.ID.Start == 0 || !o.Tapped {
		t.Errorf("connect %+v", o)
	}
	eventually(t, w, "the request", func() bool { return len(s.of(c.pid(), false)) > 0 })
}

// Another socket of the same name is another door.
func TestSameNameElsewhere(t *testing.T) {
	path, other := service(t), service(t)
	w, _ := watchDoor(t, ModeAlways, path)
	c, d := connect(t, other), connect(t, path)
	find(t, w, "the connect to our door", connectOf(d.pid()))
	if l := list(w, connectOf(c.pid())); len(l) > 0 {
		t.Errorf("a client of another socket: %+v", l[0])
	}
}

// A service that starts anew has another socket file of the same name.
func TestServiceRestart(t *testing.T) {
	path := service(t)
	w, s := watchDoor(t, ModeAlways, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	serve(t, path)
	for i := range 3 {
		c := connect(t, path)
		target := fmt.Sprintf("/again%d", i)
		c.ask(t, "GET", target, 0)
		o := find(t, w, "the connect", connectOf(c.pid()))
		c.ask(t, "GET", "/more", 0)
		eventually(t, w, "a request", func() bool { return len(s.of(c.pid(), false)) > 0 })
		if seg := s.of(c.pid(), false)[0]; seg.Whole && !strings.HasPrefix(string(seg.Data), "GET "+target) || o.Tapped && !seg.Whole {
			t.Errorf("tapped %v, segment %+v", o.Tapped, seg)
		}
		c.close()
	}
}

func TestManyShortClients(t *testing.T) {
	path := service(t)
	w, s := watchDoor(t, ModeAlways, path)
	const n = 50
	var wg sync.WaitGroup
	pids := make(chan uint32, n)
	for range 5 {
		wg.Go(func() {
			for range n / 5 {
				c := connect(t, path)
				c.ask(t, "GET", "/x", 0)
				pids <- c.pid()
				c.close()
			}
		})
	}
	wg.Wait()
	close(pids)
	for pid := range pids {
		o := find(t, w, "the connect", connectOf(pid))
		find(t, w, "the close", closeOf(o.Conn))
		if got := s.of(pid, false); len(got) != 1 || got[0].Conn != o.Conn {
			t.Errorf("pid %d: %d requests", pid, len(got))
		}
	}
}

func TestDockerClients(t *testing.T) {
	b, m := newBox(t), mark()
	w, s := watchDoor(t, ModeAuto, b.Socket)
	b.ExecT(t, 1234, b.id, "/bin/busybox", "true", m)
	x := find(t, w, "the program", ranWith(m))
	o := find(t, w, "the client", func(o event.ClientConnect) bool { return strings.Contains(o.Peer.Argv.String(), m) })
	if o.Peer.Cred.UID != 1234 || o.Peer.Comm != "docker" || !o.Tapped {
		t.Errorf("client %+v", o)
	}
	eventually(t, w, "the request with the command", func() bool {
		for _, seg := range s.of(o.Peer.ID.PID, false) {
			if bytes.Contains(seg.Data, []byte(m)) {
				return true
			}
		}
		return false
	})
	find(t, w, "the close", closeOf(o.Conn))
	if !x.Time.After(o.Time) {
		t.Errorf("asked at %v, ran at %v", o.Time, x.Time)
	}
}

// A client inside a container: the socket was mounted there, or somebody went
// in.
func TestClientInContainer(t *testing.T) {
	b, path := newBox(t), service(t)
	w, _ := watchDoor(t, ModeAlways, path)
	m := mark()
	c := connectBy(t, path, "nsenter", "-t", b.pid, "-p", os.Args[0], "client", m)
	c.ask(t, "GET", "/x", 0)
	x, e := entered(t, w, m)
	o := find(t, w, "the connect", connectOf(x.ID.PID))
	if o.Peer.Entry != e.Root || string(o.Peer.Container) != b.id || o.Peer.ID != x.ID {
		t.Errorf("peer %+v", o.Peer)
	}
}

func TestRunEndsWhileClientsTalk(t *testing.T) {
	path := service(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	up := make(chan struct{})
	once := sync.OnceFunc(func() { close(up) })
	s := New(Options{Requests: ModeAlways, OnSegment: func(event.Segment) []event.Observation { return nil }, Sockets: []Socket{{event.ServiceDocker, path}}})
	go func() { done <- s.Run(ctx, func(event.Observation) { once() }) }()
	<-up
	c := connect(t, path)
	c.ask(t, "GET", "/x", 0)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
