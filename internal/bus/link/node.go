package link

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/bus/spool"
	"github.com/sallyport/sallyport/internal/core/event"
)

// NodeOptions configures a Node. The zero value of a field means its default.
type NodeOptions struct {
	Address string       // of the collector, host:port; required
	TLS     *tls.Config  // Files.Client; required
	Spool   *spool.Spool // required; the caller closes it after Run
	Boot    event.BootID
	Now     func() time.Time // the clock to be measured; default time.Now
	Logger  *slog.Logger

	Timeout  time.Duration // of connecting, of a write, of silence; default 20 s
	RetryMin time.Duration // before the second attempt, doubled up to RetryMax; default 250 ms
	RetryMax time.Duration // default 15 s
}

func (o NodeOptions) withDefaults() NodeOptions {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&o.Timeout, 20*time.Second)
	set(&o.RetryMin, 250*time.Millisecond)
	set(&o.RetryMax, 15*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// NodeState says how a node's link is.
type NodeState struct {
	Connected bool
	Since     time.Time // of Connected
	Name      string    // by which the collector knows this node
	Err       error     // why it is not connected
	Connects  uint64    // connections so far
	Sent      uint64    // number of the latest observation sent
	Facts     int       // held for a collector that starts anew
	FactsOver uint64    // that found no room
	// Ahead is by how much at most this node's clock is ahead of the collector's,
	// negative when it is behind: the way of a message is in it. Nil while it was
	// not measured.
	Ahead *time.Duration
}

// Node is the node's end of the link. Put and Beat are for one goroutine.
type Node struct {
	opt   NodeOptions
	facts *facts

	mu    sync.Mutex
	state NodeState       // guarded by mu
	beat  beat            // guarded by mu; the latest
	told  beat            // guarded by mu; the latest that was sent
	pings []time.Duration // guarded by mu; of this connection
}

// beat says that what happened before at has numbers up to seq.
type beat struct {
	seq uint64
	at  time.Time
}

// NewNode returns a node's end that is not running.
func NewNode(opt NodeOptions) *Node {
	return &Node{opt: opt.withDefaults(), facts: newFacts()}
}

// Put takes one observation. It waits while the spool's disk is behind.
func (n *Node) Put(o event.Observation) error {
	if err := n.opt.Spool.Put(o); err != nil {
		return err
	}
	n.facts.see(o, n.opt.Spool.Last())
	return nil
}

// Beat says that every observation of before at has been put.
func (n *Node) Beat(at time.Time) {
	seq := n.opt.Spool.Last()
	n.mu.Lock()
	n.beat = beat{seq, at}
	n.mu.Unlock()
}

// Newest returns the latest time of any observation put, also in an earlier run.
func (n *Node) Newest() (time.Time, bool) { return n.opt.Spool.Newest() }

// State returns how the link is.
func (n *Node) State() NodeState {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.state
	s.Facts, s.FactsOver = n.facts.size()
	return s
}

// Run keeps the link up until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	pause := n.opt.RetryMin
	for {
		began := time.Now()
		err := n.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		n.down(err)
		if time.Since(began) > n.opt.RetryMax {
			pause = n.opt.RetryMin
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, n.opt.RetryMax)
	}
}

// down notes why there is no link, and says so when it is news.
func (n *Node) down(err error) {
	n.mu.Lock()
	was := n.state
	n.state.Connected, n.state.Err = false, err
	if was.Connected || was.Err == nil {
		n.state.Since = n.opt.Now()
	}
	n.mu.Unlock()
	if was.Connected || was.Err == nil || was.Err.Error() != err.Error() {
		n.opt.Logger.Warn("no link to the collector; observations wait in the spool", slog.String("collector", n.opt.Address), slog.Any("error", err))
	}
}

// connect runs one connection.
func (n *Node) connect(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, n.opt.Timeout)
	defer cancel()
	dialer := tls.Dialer{NetDialer: &net.Dialer{KeepAlive: n.opt.Timeout}, Config: n.opt.TLS}
	raw, err := dialer.DialContext(dialing, "tcp", n.opt.Address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	c := newConn(raw, n.opt.Timeout)
	w, err := n.greet(c)
	if err != nil {
		return err
	}
	n.up(w)
	return n.exchange(ctx, c, w)
}

// greet says hello and returns the collector's answer.
func (n *Node) greet(c *conn) (welcome, error) {
	var w welcome
	s := n.opt.Spool
	text, err := json.Marshal(hello{
		Version: Version, Wire: event.WireVersion, Spool: s.ID(), Boot: n.opt.Boot, First: s.First(), Last: s.Last(),
	})
	if err == nil {
		err = c.send(kindHello, text...)
	}
	if err != nil {
		return w, fmt.Errorf("greet: %w", err)
	}
	m, err := c.receive()
	switch {
	case err != nil:
		return w, fmt.Errorf("greet: %w", err)
	case m.kind == kindRefuse:
		return w, fmt.Errorf("the collector refuses: %q", m.body)
	case m.kind != kindWelcome:
		return w, fmt.Errorf("greet: message of kind %d", m.kind)
	}
	if err := m.parse(&w); err != nil {
		return w, err
	}
	if w.Version != Version {
		return w, fmt.Errorf("greet: the collector speaks version %d", w.Version)
	}
	return w, nil
}

func (n *Node) up(w welcome) {
	n.mu.Lock()
	n.state.Connected, n.state.Since, n.state.Name, n.state.Err = true, n.opt.Now(), w.Node, nil
	n.state.Connects++
	n.told, n.pings, n.state.Ahead = beat{}, nil, nil
	n.mu.Unlock()
	n.opt.Logger.Info("linked to the collector", slog.String("collector", n.opt.Address), slog.String("node", w.Node))
}

// exchange sends and listens until one of both fails.
func (n *Node) exchange(ctx context.Context, c *conn, w welcome) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	run := func(f func(context.Context, *conn) error) {
		wg.Go(func() {
			if err := f(ctx, c); err != nil {
				cancel(err)
				_ = c.raw.Close() // the other one must not wait
			}
		})
	}
	n.opt.Spool.SkipTo(w.Acked)
	n.opt.Spool.Acknowledge(w.Acked)
	n.facts.forget(w.Acked)
	run(n.listen)
	run(func(ctx context.Context, c *conn) error { return n.speak(ctx, c, w) })
	wg.Wait()
	return context.Cause(ctx)
}

// listen takes acknowledgements and answers pings.
func (n *Node) listen(_ context.Context, c *conn) error {
	for {
		m, err := c.receive()
		if err != nil {
			return err
		}
		came := n.opt.Now().UnixNano()
		switch m.kind {
		case kindAck:
			seq := uint64(m.number(0))
			n.opt.Spool.Acknowledge(seq)
			n.facts.forget(seq)
		case kindPing:
			n.pinged(time.Duration(came - m.number(0)))
			if err := c.sendAt(func() []byte { return numbers(m.number(0), came, n.opt.Now().UnixNano()) }); err != nil {
				return err
			}
		case kindRefuse:
			return fmt.Errorf("the collector refuses: %q", m.body)
		default:
			return fmt.Errorf("message of kind %d", m.kind)
		}
	}
}

// pingsMax is how many pings are remembered.
const pingsMax = 16

// pinged notes how long, by the two clocks, a ping was on its way.
func (n *Node) pinged(took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pings = append(n.pings, took)
	n.pings = n.pings[max(0, len(n.pings)-pingsMax):]
	least := slices.Min(n.pings)
	n.state.Ahead = &least
}

// The longest time between two beats: while something happens, and without.
const (
	beatBusy = 200 * time.Millisecond
	beatIdle = time.Second
)

// speak sends what the spool holds and, between, how far that goes.
func (n *Node) speak(ctx context.Context, c *conn, w welcome) error {
	sent := max(w.Acked, n.opt.Spool.First()-1)
	if w.Fresh {
		if err := n.sendFacts(c, sent); err != nil {
			return err
		}
	}
	busy := time.Now()
	for {
		waiting, cancel := context.WithTimeout(ctx, beatBusy)
		b, err := n.opt.Spool.Next(waiting, sent)
		cancel()
		switch {
		case err == nil:
			if err := c.send(kindBatch, b.Append(nil)...); err != nil {
				return err
			}
			sent, busy = b.Last, time.Now()
			n.mu.Lock()
			n.state.Sent = sent
			n.mu.Unlock()
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		}
		every := beatBusy
		if time.Since(busy) > 5*time.Second {
			every = beatIdle
		}
		if err := n.sendBeat(c, sent, every); err != nil {
			return err
		}
	}
}

// sendBeat sends the latest beat once all that it speaks of is sent, not more
// often than every so often.
func (n *Node) sendBeat(c *conn, sent uint64, every time.Duration) error {
	n.mu.Lock()
	b := n.beat
	due := !b.at.IsZero() && b.seq <= sent && b.at.Sub(n.told.at) >= every-beatBusy/4
	if due {
		n.told = b
	}
	n.mu.Unlock()
	if !due {
		return nil
	}
	return c.send(kindBeat, numbers(int64(b.seq), b.at.UnixNano())...)
}

// sendFacts sends what still holds.
func (n *Node) sendFacts(c *conn, seq uint64) error {
	list := n.facts.before(seq)
	for len(list) > 0 {
		b, taken, err := packFacts(list)
		if err != nil {
			return err
		}
		if b.Count > 0 {
			if err := c.send(kindFacts, b.Append(nil)...); err != nil {
				return err
			}
		}
		list = list[taken:]
	}
	return nil
}
