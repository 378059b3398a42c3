package link_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/bus/link"
	"github.com/sallyport/sallyport/internal/core/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func await(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// TestLink: observations arrive in order, under the name in the certificate
// and no other, and are removed from the spool.
func TestLink(t *testing.T) {
	a := authority(t)
	e := startCollector(t, a, link.CollectorOptions{})
	n := startNode(t, node(t, a, "alpha"), t.TempDir(), e.addr, link.NodeOptions{Boot: "boot"})
	for i := 1; i <= 3000; i++ {
		_ = n.Put(numbered(i))
	}
	_ = n.Put(event.KubeRequest{Header: event.Header{Time: time.Now(), Witness: event.WitnessAudit}, User: event.KubeUser{Name: "framed"}})
	for _, w := range []event.Witness{event.WitnessAudit, event.WitnessKernel} { // the second is its own
		_ = n.Put(event.Progress{Header: event.Header{Time: time.Now(), Witness: w}, Through: time.Now()})
	}
	n.Beat(time.Now().Add(time.Second))
	await(t, "everything is acknowledged", func() bool { return n.spool.Stats().Acknowledged == 3003 })
	if k := e.count(func(o event.Observation) bool {
		p, is := o.(event.Progress)
		return is && p.Witness == event.WitnessKernel && p.Node == "alpha"
	}); k != 1 {
		t.Errorf("the kernel sensor's progress came %d times", k)
	}
	inOrder(t, e.numbers("alpha"), 3000)
	if k := e.count(func(o event.Observation) bool { _, is := o.(event.KubeRequest); return is || o.Head().Node == "liar" }); k != 0 {
		t.Errorf("%d observations that are not the node's to tell", k)
	}
	await(t, "a tick", func() bool {
		return e.count(func(o event.Observation) bool { _, is := o.(event.Tick); return is && o.Head().Node == "alpha" }) > 0
	})
	if st := e.c.Status(); len(st) != 1 || st[0].Name != "alpha" || !st[0].Connected || st[0].Foreign != 2 || st[0].Boot != "boot" {
		t.Errorf("%+v", st)
	}
}

// TestCutConnections: whatever is cut when, everything arrives once and in order.
func TestCutConnections(t *testing.T) {
	a := authority(t)
	e := startCollector(t, a, link.CollectorOptions{})
	p := newProxy(t, e.addr)
	n := startNode(t, node(t, a, "alpha"), t.TempDir(), p.addr, link.NodeOptions{})
	const total = 20000
	cuts := 0
	for i := 1; i <= total; i++ {
		_ = n.Put(numbered(i))
		if i%500 == 0 {
			n.Beat(time.Now())
			await(t, "the node is connected", func() bool {
				n := p.cut()
				cuts += n
				return n > 0
			})
			await(t, "some more arrive", func() bool { return len(e.numbers("alpha")) > i-2500 })
		}
	}
	n.Beat(time.Now().Add(time.Second))
	await(t, "everything is acknowledged", func() bool { return n.spool.Stats().Acknowledged == total })
	inOrder(t, e.numbers("alpha"), total)
	if cuts < total/500 {
		t.Errorf("only %d connections were cut", cuts)
	}
	t.Logf("%d connections were cut, %d batches came again", cuts, e.c.Status()[0].Duplicates)
}

// TestCollectorRestarts: what was not acknowledged comes again to the next
// collector, and what still holds on the node is told to it first.
func TestCollectorRestarts(t *testing.T) {
	a := authority(t)
	dir := t.TempDir()
	e := startCollector(t, a, link.CollectorOptions{Dir: dir})
	n := startNode(t, node(t, a, "alpha"), t.TempDir(), e.addr, link.NodeOptions{})
	now := time.Now().UTC()
	_ = n.Put(event.WitnessState{Header: event.Header{Time: now, Witness: event.WitnessKernel}, Up: true, Peers: true})
	_ = n.Put(event.ClientConnect{Header: event.Header{Time: now, Witness: event.WitnessKernel}, Conn: 5})
	_ = n.Put(event.ClientConnect{Header: event.Header{Time: now, Witness: event.WitnessKernel}, Conn: 6})
	_ = n.Put(event.ClientClose{Header: event.Header{Time: now, Witness: event.WitnessKernel}, Conn: 6})
	n.Beat(now.Add(time.Second))
	await(t, "all is acknowledged", func() bool { return n.spool.Stats().Acknowledged == 4 })
	e.mu.Lock()
	e.holding = true
	e.mu.Unlock()
	for i := 1; i <= 100; i++ {
		_ = n.Put(numbered(i))
	}
	await(t, "all has arrived", func() bool { return len(e.numbers("alpha")) == 100 })
	e.stop()
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 1 {
		t.Errorf("%v", files)
	}
	for i := 101; i <= 200; i++ {
		_ = n.Put(numbered(i))
	}
	_ = n.Put(event.ClientClose{Header: event.Header{Time: now, Witness: event.WitnessKernel}, Conn: 5})
	e2 := startCollector(t, reuse(t, a), link.CollectorOptions{Dir: dir, Address: e.addr})
	if known := e2.c.Nodes(); len(known) != 1 || known[0] != "alpha" {
		t.Errorf("nodes known: %v", known)
	}
	n.Beat(time.Now().Add(time.Second))
	await(t, "all is acknowledged", func() bool { return n.spool.Stats().Acknowledged == 205 })
	inOrder(t, e2.numbers("alpha"), 200)
	e2.mu.Lock()
	defer e2.mu.Unlock()
	var first []string
	for _, o := range e2.got {
		if o.Head().Node == "alpha" && len(first) < 3 {
			first = append(first, event.Name(o))
		}
	}
	if fmt.Sprint(first) != "[witness_state client_connect docker_event]" {
		t.Errorf("the first told: %v", first)
	}
}

// TestFullStore: while the store takes nothing, a bounded number is on the way,
// and all of it arrives afterwards.
func TestFullStore(t *testing.T) {
	a := authority(t)
	e := startCollector(t, a, link.CollectorOptions{Unstored: 100})
	e.mu.Lock()
	e.holding = true
	e.mu.Unlock()
	n := startNode(t, node(t, a, "alpha"), t.TempDir(), e.addr, link.NodeOptions{})
	for i := 1; i <= 2000; i++ {
		_ = n.Put(numbered(i))
	}
	await(t, "the link waits", func() bool { k, limit := e.c.Unstored(); return k == limit })
	e.mu.Lock()
	waiting := e.got
	e.holding = false
	e.mu.Unlock()
	if len(waiting) > 101+5 {
		t.Errorf("%d are on the way", len(waiting))
	}
	e.c.Stored(waiting)
	n.Beat(time.Now().Add(time.Second))
	await(t, "everything is acknowledged", func() bool { return n.spool.Stats().Acknowledged == 2000 })
	inOrder(t, e.numbers("alpha"), 2000)
}

func TestWhoMayLink(t *testing.T) {
	a, other := authority(t), authority(t)
	e := startCollector(t, a, link.CollectorOptions{})
	alpha := node(t, a, "alpha")
	strange := node(t, other, "alpha")
	for what, f := range map[string]link.Files{
		"a node of another authority":      {Cert: strange.Cert, Key: strange.Key, CA: alpha.CA},
		"a collector of another authority": {Cert: alpha.Cert, Key: alpha.Key, CA: strange.CA},
	} {
		n := startNode(t, f, t.TempDir(), e.addr, link.NodeOptions{})
		_ = n.Put(numbered(1))
		await(t, what+" is refused", func() bool { s := n.State(); return s.Err != nil && !s.Connected })
		t.Logf("%s: %v", what, n.State().Err)
		n.stop()
	}
	// A node cannot serve as a collector, nor somebody without a certificate link.
	conf, err := link.Files{Cert: alpha.Cert, Key: alpha.Key, CA: alpha.CA}.Client()
	if err != nil {
		t.Fatal(err)
	}
	conf.Certificates = nil
	c, err := tls.Dial("tcp", e.addr, conf)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	if err == nil || errors.Is(err, io.EOF) {
		t.Errorf("without a certificate: %v", err)
	}
	await(t, "all are refused", func() bool { return e.c.Refused() >= 3 })
	if len(e.numbers("alpha")) != 0 || len(e.c.Nodes()) != 0 {
		t.Errorf("observations %v, nodes %v, refused %d", e.numbers("alpha"), e.c.Nodes(), e.c.Refused())
	}
}

// TestHungPeer: who connects and says nothing is left; who connects twice is
// served once.
func TestHungPeer(t *testing.T) {
	a := authority(t)
	e := startCollector(t, a, link.CollectorOptions{Timeout: 100 * time.Millisecond})
	conf, _ := node(t, a, "alpha").Client()
	c, err := tls.Dial("tcp", e.addr, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if text, err := io.ReadAll(c); err != nil && !errors.Is(err, io.EOF) && len(text) == 0 {
		t.Errorf("a peer that says nothing: %q, %v", text, err)
	}
	raw, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := raw.Read(make([]byte, 1)); err == nil || errors.As(err, new(net.Error)) && err.(net.Error).Timeout() {
		t.Errorf("a peer without TLS: %v", err)
	}
}

// TestClock: the offset of a clock that is wrong is measured within its error.
func TestClock(t *testing.T) {
	const shift = -73 * time.Minute
	a := authority(t)
	e := startCollector(t, a, link.CollectorOptions{})
	n := startNode(t, node(t, a, "alpha"), t.TempDir(), e.addr, link.NodeOptions{Now: func() time.Time { return time.Now().Add(shift) }})
	var told event.Clock
	await(t, "the clock is told", func() bool {
		return e.count(func(o event.Observation) bool {
			c, ok := o.(event.Clock)
			if ok {
				told = c
			}
			return ok
		}) > 0
	})
	if off := (time.Duration(told.Offset) - shift).Abs(); told.Of != "alpha" || told.Node != "" || off > time.Duration(told.Error) || told.Error > event.Duration(200*time.Millisecond) {
		t.Errorf("%+v, off by %v", told, off)
	}
	if s := n.State(); s.Ahead == nil || *s.Ahead < shift || *s.Ahead > shift+time.Second {
		t.Errorf("the node takes its clock to be ahead by %v", s.Ahead)
	}
	t.Logf("offset %v, error %v", time.Duration(told.Offset), time.Duration(told.Error))
}

// TestSilentNode: time goes on without a node that is gone, its witnesses count
// as blind meanwhile, and as having seen all when it is back.
func TestSilentNode(t *testing.T) {
	a := authority(t)
	e := startCollector(t, a, link.CollectorOptions{Silent: 50 * time.Millisecond})
	dir, files := t.TempDir(), node(t, a, "alpha")
	n := startNode(t, files, dir, e.addr, link.NodeOptions{})
	began := time.Now().UTC()
	_ = n.Put(event.WitnessState{Header: event.Header{Time: began, Witness: event.WitnessKernel}, Up: true, Peers: true})
	n.Beat(began.Add(time.Millisecond))
	states := func() (out []event.WitnessState) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, o := range e.got {
			if s, ok := o.(event.WitnessState); ok && s.Node == "alpha" {
				out = append(out, s)
			}
		}
		return out
	}
	await(t, "the state arrives", func() bool { return len(states()) == 1 })
	await(t, "the beat arrives", func() bool { return !e.c.Status()[0].Heard.IsZero() })
	n.stop()
	await(t, "the silence is told", func() bool { return len(states()) == 2 })
	down := states()[1]
	if down.Up || !strings.Contains(down.Reason, "no word") || !down.Time.Equal(began.Add(time.Millisecond+1)) {
		t.Errorf("%+v, began %v", down, began)
	}
	ticks := func() int {
		return e.count(func(o event.Observation) bool {
			_, is := o.(event.Tick)
			return is && o.Head().Time.After(began.Add(time.Second/100))
		})
	}
	await(t, "time goes on", func() bool { return ticks() >= 2 })
	n = startNode(t, files, dir, e.addr, link.NodeOptions{})
	_ = n.Put(numbered(1))
	n.Beat(time.Now())
	await(t, "it counts again", func() bool { return len(states()) == 3 })
	up := states()[2]
	if !up.Up || !up.Peers || up.From.After(down.Time) {
		t.Errorf("%+v", up)
	}
}

// BenchmarkLink is the whole way of one observation: put, spool, disk, TLS,
// collector, acknowledgement.
func BenchmarkLink(b *testing.B) {
	a := authority(b)
	e := startCollector(b, a, link.CollectorOptions{})
	n := startNode(b, node(b, a, "alpha"), b.TempDir(), e.addr, link.NodeOptions{})
	i := 0
	for b.Loop() {
		i++
		_ = n.Put(numbered(i))
	}
	n.Beat(time.Now().Add(time.Second))
	await(b, "everything is acknowledged", func() bool { return n.spool.Stats().Acknowledged == uint64(i) })
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "observations/s")
}
