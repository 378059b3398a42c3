package link

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// CollectorOptions configures a Collector. The zero value of a field means its
// default.
type CollectorOptions struct {
	Address string      // to listen on; required
	TLS     *tls.Config // Files.Server; required
	// Dir keeps what was acknowledged to which node; required.
	Dir    string
	Now    func() time.Time // the clock that nodes' clocks are measured against; default time.Now
	Logger *slog.Logger

	// Lag is how much younger than an observation must be what is stored before
	// the observation is acknowledged: until then it may be needed again, for
	// what follows from it may not be stored. Default 3 s.
	Lag time.Duration
	// Silent is for how long a node may be gone before time goes on without it.
	// Default 30 s.
	Silent time.Duration
	// Timeout bounds a handshake, a write, and the silence on a connection.
	// Default 20 s.
	Timeout time.Duration
	// Unstored bounds the observations that wait for the store. Default 8192.
	Unstored int
	// StoreWait is how long a node waits for the store before it has to send
	// again. Default 1 min.
	StoreWait time.Duration
	// Connections bounds connections, also those that have not yet shown a
	// certificate. Default 1024.
	Connections int
}

func (o CollectorOptions) withDefaults() CollectorOptions {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	setInt := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&o.Lag, 3*time.Second)
	set(&o.Silent, 30*time.Second)
	set(&o.Timeout, 20*time.Second)
	set(&o.StoreWait, time.Minute)
	setInt(&o.Unstored, 8192)
	setInt(&o.Connections, 1024)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Collector receives what nodes send. It is a witness (watch.Witness).
type Collector struct {
	opt CollectorOptions

	mu       sync.Mutex
	nodes    map[string]*remote // guarded by mu
	listener net.Listener       // guarded by mu
	unstored int                // guarded by mu; observations of all nodes that the store does not have
	room     chan struct{}      // guarded by mu; closed when unstored gets smaller
	saved    time.Time          // guarded by mu
	refused  uint64             // guarded by mu; connections
}

const nodesName = "nodes.json"

// kept is what is remembered of a node across restarts.
type kept struct {
	Spool string `json:"spool"`
	Acked uint64 `json:"acknowledged"`
}

// NewCollector returns a collector that is not running. It reads what an
// earlier one acknowledged.
func NewCollector(opt CollectorOptions) (*Collector, error) {
	c := &Collector{opt: opt.withDefaults(), nodes: map[string]*remote{}, room: make(chan struct{})}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("collector's directory: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(opt.Dir, nodesName))
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	known := map[string]kept{}
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil {
		return nil, fmt.Errorf("read the nodes known: %w", err)
	}
	now := c.opt.Now()
	for name, k := range known {
		r := newRemote(name, now)
		r.spool, r.acked, r.seen = k.Spool, k.Acked, k.Acked
		c.nodes[name] = r
	}
	return c, nil
}

// Nodes returns the names of the nodes known, in order.
func (c *Collector) Nodes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.nodes))
}

// Listen opens the address. Run does it too, when it was not done.
func (c *Collector) Listen(ctx context.Context) (net.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listener == nil {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.opt.Address)
		if err != nil {
			return nil, err
		}
		c.listener = l
	}
	return c.listener.Addr(), nil
}

// Run receives until ctx ends.
func (c *Collector) Run(ctx context.Context, emit func(event.Observation)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := c.Listen(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	l := c.listener
	c.listener = nil
	c.mu.Unlock()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	defer l.Close()
	emit(event.WitnessState{Header: event.Header{Time: c.opt.Now().UTC(), Witness: event.WitnessNodes}, Up: true, Level: l.Addr().String()})
	var wg sync.WaitGroup
	wg.Go(func() { c.watchSilence(ctx, emit) })
	err := c.accept(ctx, l, &wg, emit)
	cancel()
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(err, c.save())
}

// accept serves connections, each in a goroutine of its own.
func (c *Collector) accept(ctx context.Context, l net.Listener, wg *sync.WaitGroup, emit func(event.Observation)) error {
	slots := make(chan struct{}, c.opt.Connections)
	for {
		raw, err := l.Accept()
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			return fmt.Errorf("accept nodes: %w", err)
		}
		select {
		case slots <- struct{}{}:
		default:
			c.refuse(raw, errors.New("too many connections"))
			_ = raw.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			defer raw.Close()
			defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
			c.serve(ctx, raw, emit)
		})
	}
}

// refuse counts a connection that leads to nothing.
func (c *Collector) refuse(raw net.Conn, err error) {
	c.mu.Lock()
	c.refused++
	c.mu.Unlock()
	c.opt.Logger.Warn("connection refused", slog.String("from", raw.RemoteAddr().String()), slog.Any("error", err))
}

// serve runs one connection.
func (c *Collector) serve(ctx context.Context, raw net.Conn, emit func(event.Observation)) {
	handshake, cancel := context.WithTimeout(ctx, c.opt.Timeout)
	defer cancel()
	secure := tls.Server(raw, c.opt.TLS)
	if err := secure.HandshakeContext(handshake); err != nil {
		c.refuse(raw, err)
		return
	}
	name, err := peerName(secure)
	if err != nil {
		c.refuse(raw, err)
		return
	}
	conn := newConn(secure, c.opt.Timeout)
	m, err := conn.receive()
	var h hello
	if err == nil && m.kind != kindHello {
		err = fmt.Errorf("message of kind %d instead of a hello", m.kind)
	}
	if err == nil {
		if err = m.parse(&h); err == nil {
			err = h.check()
		}
	}
	if err != nil {
		c.refuse(raw, fmt.Errorf("node %s: %w", name, err))
		_ = conn.send(kindRefuse, clip(err.Error())...)
		return
	}
	r := c.remote(name)
	if !r.take(ctx, raw) {
		return
	}
	defer r.release()
	c.opt.Logger.Info("node linked", slog.String("node", name), slog.String("from", raw.RemoteAddr().String()))
	err = c.converse(ctx, r, conn, h, emit)
	c.left(r, err)
	if ctx.Err() == nil {
		c.opt.Logger.Warn("node left", slog.String("node", name), slog.Any("error", err))
	}
}

// clip bounds a text that goes to the other end.
func clip(s string) []byte { return []byte(s[:min(len(s), smallMax)]) }

// remote returns what is known of a node.
func (c *Collector) remote(name string) *remote {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.nodes[name]
	if r == nil {
		r = newRemote(name, c.opt.Now())
		c.nodes[name] = r
		_ = c.save() // a node that was seen once is known for ever
	}
	return r
}

// save writes, mu held, what was acknowledged. Without it nodes send again.
func (c *Collector) save() error {
	c.saved = time.Now()
	known := make(map[string]kept, len(c.nodes))
	for name, r := range c.nodes {
		known[name] = kept{r.spool, r.acked}
	}
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	name := filepath.Join(c.opt.Dir, nodesName)
	if err := os.WriteFile(name+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("save the nodes known: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("save the nodes known: %w", err)
	}
	return nil
}
