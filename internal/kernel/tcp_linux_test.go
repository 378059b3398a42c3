//go:build linux && (amd64 || arm64)

package kernel

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed"
)

// tcpService is an HTTP server on a free port of that address.
func tcpService(t testing.TB, address string) Port {
	t.Helper()
	testbed.Require(t, testbed.BPF)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l)
	return Port{Service: event.ServiceDocker, Address: l.Addr().(*net.TCPAddr).AddrPort(), Plain: true}
}

func dialled(p Port) string { return "tcp " + p.Address.String() }

func watchPorts(t testing.TB, mode Mode, ports ...Port) (*watcher, *segments) {
	t.Helper()
	s := &segments{}
	w := watch(t, Options{Requests: mode, OnSegment: s.take, Linger: 500 * time.Millisecond, Ports: ports})
	seesDoors(t, w, ports...)
	return w, s
}

// seesDoors waits until the sensor says that it sees the clients of these ports
// and no others.
func seesDoors(t testing.TB, w *watcher, ports ...Port) {
	t.Helper()
	var want []string
	for _, p := range ports {
		want = append(want, p.Door())
	}
	eventually(t, w, "the doors", func() bool {
		l := list(w, func(event.WitnessState) bool { return true })
		return slices.Equal(l[len(l)-1].TCPDoors, want)
	})
}

func TestTCPClient(t *testing.T) {
	for name, listen := range map[string]struct{ on, to string }{
		"v4":                {"127.0.0.1:0", "127.0.0.1"},
		"v6":                {"[::1]:0", "::1"},
		"v6 any":            {"[::]:0", "::1"},
		"v4 to v6 any":      {"[::]:0", "127.0.0.1"},
		"v4 any":            {"0.0.0.0:0", "127.0.0.1"},
		"v4 any, by others": {"0.0.0.0:0", "127.0.0.77"},
	} {
		t.Run(name, func(t *testing.T) {
			p := tcpService(t, listen.on)
			w, s := watchPorts(t, ModeAlways, p)
			to := netip.AddrPortFrom(netip.MustParseAddr(listen.to), p.Address.Port())
			c := connect(t, "tcp "+to.String())
			o := find(t, w, "the connect", connectOf(c.pid()))
			if o.Service != event.ServiceDocker || o.Socket != to.String() || o.Tapped || o.Found || !strings.HasPrefix(o.Peer.Address, strings.TrimSuffix(to.String(), fmt.Sprint(to.Port()))[:4]) {
				t.Errorf("connect %+v", o)
			}
			peer := o.Peer
			if peer.ID.Start == 0 || !peer.HasCred() || string(peer.Exe) != exe(t) || len(peer.Argv.Args) != 3 {
				t.Errorf("peer %+v", peer)
			}
			c.ask(t, "GET", "/first", 0)
			find(t, w, "that it is tapped", func(e event.ClientConnect) bool { return e.Conn == o.Conn && e.Tapped && e.Time.Equal(o.Time) })
			c.ask(t, "POST", "/large", 1<<20)
			c.ask(t, "GET", "/last", 0)
			eventually(t, w, "the last request", func() bool {
				// Go's server reads one byte ahead while it answers, so the head may
				// come in two pieces.
				var heads strings.Builder
				for _, seg := range s.of(c.pid(), false) {
					if seg.Whole && seg.Conn == o.Conn && seg.Peer.Address == peer.Address {
						heads.Write(seg.Data)
					}
				}
				return strings.Contains(heads.String(), "GET /last HTTP")
			})
			if ans := s.of(c.pid(), true); len(ans) == 0 || !strings.HasPrefix(string(ans[0].Data), "HTTP/1.1 200 OK") {
				t.Errorf("answers %+v", ans)
			}
			c.close()
			find(t, w, "the close", closeOf(o.Conn))
			if n := len(list(w, closeOf(o.Conn))); n != 1 {
				t.Errorf("%d closes", n)
			}
		})
	}
}

// Other ports, other addresses of the port, and connects that fail.
func TestTCPUnwatched(t *testing.T) {
	p, other := tcpService(t, "127.0.0.1:0"), tcpService(t, "127.0.0.1:0")
	beside := tcpService(t, fmt.Sprintf("127.0.0.2:%d", p.Address.Port()))
	w, s := watchPorts(t, ModeAlways, p)
	for _, q := range []Port{other, beside} {
		c := connect(t, dialled(q))
		c.ask(t, "GET", "/x", 0)
		c.close()
	}
	if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.3:%d", p.Address.Port())); err == nil {
		t.Error("somebody listens on 127.0.0.3")
	}
	c := connect(t, dialled(p))
	o := find(t, w, "the connect", connectOf(c.pid()))
	c.close()
	find(t, w, "the close", closeOf(o.Conn))
	if l := list(w, func(event.ClientConnect) bool { return true }); len(l) != 1 || len(s.all) > 0 {
		t.Errorf("connects %+v, segments %+v", l, s.all)
	}
}

func TestTCPFound(t *testing.T) {
	p := tcpService(t, "127.0.0.1:0")
	c := connect(t, dialled(p))
	c.ask(t, "GET", "/before", 0)
	own, err := net.Dial("tcp", p.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	w, s := watchPorts(t, ModeAlways, p)
	o := find(t, w, "the connection", connectOf(c.pid()))
	if !o.Found || o.Tapped || string(o.Peer.Exe) != exe(t) || o.Peer.Cred.UID != uint32(os.Getuid()) || o.Peer.Address == "" {
		t.Errorf("found %+v", o)
	}
	c.ask(t, "GET", "/after", 0)
	eventually(t, w, "a request", func() bool { return len(s.of(c.pid(), false)) > 0 })
	if seg := s.of(c.pid(), false)[0]; seg.Whole || seg.Conn != o.Conn {
		t.Errorf("segment %+v", seg)
	}
	c.close()
	find(t, w, "the close", closeOf(o.Conn))
	if l := list(w, func(event.ClientConnect) bool { return true }); len(l) != 1 {
		t.Errorf("connects %+v", l)
	}
}

// The ports change while the sensor runs.
func TestSetPorts(t *testing.T) {
	p, q := tcpService(t, "127.0.0.1:0"), tcpService(t, "127.0.0.1:0")
	q.Service, q.Plain = event.ServiceKubelet, false
	w, s := watchPorts(t, ModeAlways, p)
	before := connect(t, dialled(q))
	w.sensor.SetPorts([]Port{q})
	seesDoors(t, w, q)
	if o := find(t, w, "who was there before", connectOf(before.pid())); !o.Found || o.Service != event.ServiceKubelet {
		t.Errorf("found %+v", o)
	}
	unseen, seen := connect(t, dialled(p)), connect(t, dialled(q))
	for _, c := range []*client{unseen, seen} {
		c.ask(t, "GET", "/x", 0)
	}
	o := find(t, w, "the connect", connectOf(seen.pid()))
	seen.close()
	find(t, w, "the close", closeOf(o.Conn))
	if l := list(w, connectOf(unseen.pid())); len(l) > 0 || len(s.all) > 0 {
		t.Errorf("connects %+v, segments %+v", l, s.all)
	}
	w.sensor.SetPorts(nil)
	seesDoors(t, w)
	eventually(t, w, "nobody is followed", func() bool { return w.sensor.Status().Connections == 0 })
}

// What goes through TLS is not mistaken for requests: only the peer is known.
func TestTCPWithTLS(t *testing.T) {
	testbed.Require(t, testbed.BPF)
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	p := Port{Service: event.ServiceDocker, Address: srv.Listener.Addr().(*net.TCPAddr).AddrPort(), Plain: true}
	w, s := watchPorts(t, ModeAlways, p)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envClient+"=tls "+p.Address.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	o := find(t, w, "the connect", connectOf(uint32(cmd.Process.Pid)))
	find(t, w, "the close", closeOf(o.Conn))
	if l := list(w, connectOf(uint32(cmd.Process.Pid))); len(l) != 1 || l[0].Tapped {
		t.Errorf("connects %+v", l)
	}
	if len(s.all) > 0 {
		t.Errorf("segments %+v", s.all)
	}
}

// tlsClientMain makes one request through TLS.
func tlsClientMain(address string) int {
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		_, err = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	}
	if err == nil {
		_, err = c.Read(make([]byte, 100))
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestTCPAutoWakesTheTap(t *testing.T) { wakes(t, tcpAutoWakesTheTap) }

func tcpAutoWakesTheTap(t *testing.T) (before bool) {
	p := tcpService(t, "127.0.0.1:0")
	w, s := watchPorts(t, ModeAuto, p)
	c := connect(t, dialled(p))
	eventually(t, w, "the tap", func() bool { return w.sensor.Status().Requests })
	d := connect(t, dialled(p))
	for _, c := range []*client{c, d} {
		c.ask(t, "GET", "/x", 0)
	}
	find(t, w, "that the second is tapped", func(o event.ClientConnect) bool { return o.Tapped && o.Peer.ID.PID == d.pid() })
	eventually(t, w, "the first's request", func() bool { return len(s.of(c.pid(), false)) > 0 })
	before = len(list(w, func(o event.ClientConnect) bool { return o.Tapped && o.Peer.ID.PID == c.pid() })) == 0
	if seg := s.of(c.pid(), false)[0]; seg.Whole == before {
		t.Errorf("from before the tap: %v; its offsets are believed: %+v", before, seg)
	}
	c.close()
	d.close()
	eventually(t, w, "the tap is off", func() bool { return !w.sensor.Status().Requests })
	return before
}

// The service, and its client, in network namespaces of their own: the same
// addresses mean nothing there.
func TestTCPInOtherNamespaces(t *testing.T) {
	testbed.Require(t, testbed.BPF, testbed.Root)
	a, b := netns(t), netns(t)
	here := tcpService(t, "127.0.0.1:0")
	var there, elsewhere Port
	address := here.Address.String()
	a.do(t, func() { there = tcpService(t, address) })
	b.do(t, func() { elsewhere = tcpService(t, address) })
	there.Process = a.pid
	w, _ := watchPorts(t, ModeAlways, there)
	for _, n := range []ns{a, b} {
		n.ip(t, "link", "set", "lo", "up")
	}
	c := connectBy(t, dialled(there), "nsenter", "--net="+a.path(), os.Args[0], "client", mark())
	connect(t, dialled(here))
	connectBy(t, dialled(elsewhere), "nsenter", "--net="+b.path(), os.Args[0], "client", mark())
	o := find(t, w, "the connect", connectOf(c.pid()))
	if !o.Peer.HasCred() || o.Socket != address {
		t.Errorf("connect %+v", o)
	}
	c.close()
	find(t, w, "the close", closeOf(o.Conn))
	if l := list(w, func(event.ClientConnect) bool { return true }); len(l) != 1 {
		t.Errorf("connects %+v", l)
	}
}

// A client in one network namespace, the service in another, and the sensor in
// neither. Who came before is known by address alone: no list shows both ends.
func TestTCPAcrossNamespaces(t *testing.T) {
	testbed.Require(t, testbed.BPF, testbed.Root)
	a, b := netns(t), netns(t)
	a.ip(t, "link", "add", "to", "type", "veth", "peer", "name", "to", "netns", fmt.Sprint(b.pid))
	for n, address := range map[ns]string{a: "192.0.2.1/30", b: "192.0.2.2/30"} {
		n.ip(t, "address", "add", address, "dev", "to")
		n.ip(t, "link", "set", "to", "up")
	}
	var p Port
	a.do(t, func() { p = tcpService(t, "192.0.2.1:0") })
	p.Process = a.pid
	before := connectBy(t, dialled(p), "nsenter", "--net="+b.path(), os.Args[0], "client", mark())
	w, s := watchPorts(t, ModeAlways, p)
	found := find(t, w, "the connection", func(o event.ClientConnect) bool { return o.Found })
	if found.Peer.HasCred() || !strings.HasPrefix(found.Peer.Address, "192.0.2.2:") {
		t.Errorf("found %+v", found)
	}
	c := connectBy(t, dialled(p), "nsenter", "--net="+b.path(), os.Args[0], "client", mark())
	o := find(t, w, "the connect", connectOf(c.pid()))
	if !o.Peer.HasCred() || !strings.HasPrefix(o.Peer.Address, "192.0.2.2:") || string(o.Peer.Exe) != exe(t) {
		t.Errorf("connect %+v", o)
	}
	c.ask(t, "GET", "/x", 0)
	eventually(t, w, "the request", func() bool { return len(s.of(c.pid(), false)) > 0 })
	for conn, c := range map[event.ConnID]*client{o.Conn: c, found.Conn: before} {
		c.close()
		find(t, w, "the close", closeOf(conn))
	}
}

// ns is a network namespace that a sleeping process keeps.
type ns struct{ pid uint32 }

func netns(t testing.TB) ns {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	n := ns{uint32(cmd.Process.Pid)}
	own, err := netNS(0)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if id, err := netNS(n.pid); err == nil && id != own {
			return n
		}
		if time.Now().After(deadline) {
			t.Fatal("unshare does not make a network namespace")
		}
		runtime.Gosched()
	}
}

func (n ns) path() string { return netNSPath(n.pid) }

// do runs f on a thread in the namespace.
func (n ns) do(t testing.TB, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		file, err := os.Open(n.path())
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func (n ns) ip(t testing.TB, args ...string) {
	t.Helper()
	args = append([]string{"--net=" + n.path(), "ip"}, args...)
	if out, err := exec.CommandContext(t.Context(), "nsenter", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args[2:], err, out)
	}
}
