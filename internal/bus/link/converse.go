package link

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/bus"
	"github.com/sallyport/sallyport/internal/core/event"
)

// converse answers a hello and then listens and speaks until one fails.
func (c *Collector) converse(ctx context.Context, r *remote, conn *conn, h hello, emit func(event.Observation)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := c.joined(r, conn, h)
	text, err := json.Marshal(w)
	if err == nil {
		err = conn.send(kindWelcome, text...)
	}
	if err != nil {
		return err
	}
	unpack, err := bus.NewUnpacker()
	if err != nil {
		return err
	}
	defer unpack.Close()
	spoke := make(chan struct{})
	go func() {
		defer close(spoke)
		if err := c.speak(ctx, r, conn); err != nil {
			cancel(err)
			_ = conn.raw.Close()
		}
	}()
	in := receiver{c: c, r: r, conn: conn, unpack: unpack, emit: emit}
	err = in.listen(ctx)
	cancel(err)
	_ = conn.raw.Close()
	<-spoke
	return context.Cause(ctx)
}

// joined notes that a node is there and returns what to say to it.
func (c *Collector) joined(r *remote, conn *conn, h hello) welcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.spool != h.Spool {
		r.spool, r.seen, r.acked = h.Spool, 0, 0
		c.forgetMarks(r)
	}
	// What the node does not have any more it was told that we have.
	r.seen, r.acked = max(r.seen, h.First-1), max(r.acked, h.First-1)
	if r.boot != h.Boot {
		r.clock = clock{}
	}
	r.connected, r.since, r.boot, r.address = true, c.opt.Now(), h.Boot, conn.raw.RemoteAddr().String()
	r.connects++
	w := welcome{Version: Version, Node: r.name, Acked: r.acked, Fresh: !r.met}
	return w
}

// forgetMarks gives up, mu held, what waits for the store: it will come again.
func (c *Collector) forgetMarks(r *remote) {
	c.unstored -= len(r.marks) - r.stored
	r.marks, r.stored = nil, 0
	close(c.room)
	c.room = make(chan struct{})
}

// left notes that a node is gone.
func (c *Collector) left(r *remote, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.connected, r.since = false, c.opt.Now()
	if errors.Is(err, errStore) {
		c.forgetMarks(r)
		r.seen = r.acked
	}
}

// How often a node's clock is measured: at first, and later.
const (
	pingFirst = 500 * time.Millisecond
	pingLater = 10 * time.Second
	pingsFast = 8
	ackEvery  = 200 * time.Millisecond
)

// speak sends acknowledgements and pings.
func (c *Collector) speak(ctx context.Context, r *remote, conn *conn) error {
	ticker := time.NewTicker(ackEvery)
	defer ticker.Stop()
	var told uint64
	var pinged time.Time
	for pings := 0; ; {
		every := pingLater
		if pings < pingsFast {
			every = pingFirst
		}
		if time.Since(pinged) >= every {
			if err := conn.send(kindPing, numbers(c.opt.Now().UnixNano())...); err != nil {
				return err
			}
			pinged = time.Now()
			pings++
		}
		c.mu.Lock()
		acked := r.acked
		c.mu.Unlock()
		if acked > told {
			if err := conn.send(kindAck, numbers(int64(acked))...); err != nil {
				return err
			}
			told = acked
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
