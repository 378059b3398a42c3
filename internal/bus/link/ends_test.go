package link_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/bus/link"
	"github.com/sallyport/sallyport/internal/bus/spool"
	"github.com/sallyport/sallyport/internal/core/event"
)

// authority makes certificates for a test.
func authority(t testing.TB) *link.Authority {
	t.Helper()
	a, err := link.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// end is the collector's end: what it gives to correlation, and a store that
// keeps it as long as it may.
type end struct {
	c    *link.Collector
	addr string

	mu      sync.Mutex
	got     []event.Observation
	holding bool // the store takes nothing
	stop    func()
}

func startCollector(t testing.TB, a *link.Authority, opt link.CollectorOptions) *end {
	t.Helper()
	files, err := a.Collector("127.0.0.1")
	if err != nil && !strings.Contains(err.Error(), "exists") {
		t.Fatal(err)
	}
	if opt.TLS, err = files.Server(); err != nil {
		t.Fatal(err)
	}
	if opt.Address == "" {
		opt.Address = "127.0.0.1:0"
	}
	if opt.Lag == 0 {
		opt.Lag = time.Millisecond
	}
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	e := &end{}
	if e.c, err = link.NewCollector(opt); err != nil {
		t.Fatal(err)
	}
	addr, err := e.c.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.addr = addr.String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.c.Run(ctx, e.emit) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(e.stop)
	return e
}

func (e *end) emit(o event.Observation) {
	e.mu.Lock()
	e.got = append(e.got, o)
	holding := e.holding
	e.mu.Unlock()
	if !holding {
		e.c.Stored([]event.Observation{o})
	}
}

// numbers returns the numbers of the numbered observations of a node.
func (e *end) numbers(node string) (out []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range e.got {
		if d, ok := o.(event.DockerEvent); ok && d.Node == node {
			n, _ := strconv.Atoi(d.Name)
			out = append(out, n)
		}
	}
	return out
}

func (e *end) count(f func(event.Observation) bool) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range e.got {
		if f(o) {
			n++
		}
	}
	return n
}

func numbered(n int) event.Observation {
	return event.DockerEvent{
		Header: event.Header{Time: time.Now().UTC(), Witness: event.WitnessDocker, Node: "liar"},
		Action: event.DockerOtherAction, Name: strconv.Itoa(n),
	}
}

type nodeEnd struct {
	*link.Node
	spool *spool.Spool
	stop  func()
}

func startNode(t testing.TB, files link.Files, dir, addr string, opt link.NodeOptions) *nodeEnd {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: dir, Delay: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if opt.TLS, err = files.Client(); err != nil {
		t.Fatal(err)
	}
	opt.Address, opt.Spool = addr, s
	opt.RetryMin, opt.RetryMax = 5*time.Millisecond, 50*time.Millisecond
	n := &nodeEnd{Node: link.NewNode(opt), spool: s}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		_ = s.Close()
	})
	t.Cleanup(n.stop)
	return n
}

func node(t testing.TB, a *link.Authority, name string) link.Files {
	t.Helper()
	f, err := a.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func inOrder(t testing.TB, got []int, to int) {
	t.Helper()
	if len(got) != to {
		t.Fatalf("%d observations, want %d", len(got), to)
	}
	for i, n := range got {
		if n != i+1 {
			t.Fatalf("at %d: number %d", i, n)
		}
	}
}

// proxy passes connections on and cuts them.
type proxy struct {
	addr string
	mu   sync.Mutex
	open map[net.Conn]bool
}

func newProxy(t testing.TB, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), open: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.open[in], p.open[out] = true, true
			p.mu.Unlock()
			wg.Go(func() { _, _ = io.CopyN(out, in, 20000+rand.Int64N(200000)); _ = in.Close(); _ = out.Close() })
			wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close(); _ = out.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); p.cut(); wg.Wait() })
	return p
}

func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.open) / 2
	for c := range p.open {
		_ = c.Close()
	}
	clear(p.open)
	return n
}

// reuse lets startCollector make the collector's certificate again.
func reuse(t testing.TB, a *link.Authority) *link.Authority {
	t.Helper()
	if err := a.Remove("collector"); err != nil {
		t.Fatal(err)
	}
	return a
}
