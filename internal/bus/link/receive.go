package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/bus"
	"github.com/sallyport/sallyport/internal/core/event"
)

// receiver takes what one connection brings.
type receiver struct {
	c      *Collector
	r      *remote
	conn   *conn
	unpack *bus.Unpacker
	emit   func(event.Observation)
}

func (in *receiver) listen(ctx context.Context) error {
	for {
		m, err := in.conn.receive()
		if err != nil {
			return err
		}
		got := in.c.opt.Now()
		switch m.kind {
		case kindBatch, kindFacts:
			var b bus.Batch
			if b, err = bus.Parse(m.body); err == nil && m.kind == kindBatch {
				err = in.batch(ctx, b)
			} else if err == nil {
				err = in.facts(ctx, b)
			}
		case kindBeat:
			err = in.beat(ctx, uint64(m.number(0)), m.time(1))
		case kindPong:
			in.pong(m.time(0), m.time(1), m.time(2), got.UTC())
		default:
			err = fmt.Errorf("message of kind %d", m.kind)
		}
		if err != nil {
			return err
		}
	}
}

// batch gives a batch to correlation, without what was there before.
func (in *receiver) batch(ctx context.Context, b bus.Batch) error {
	c, r := in.c, in.r
	c.mu.Lock()
	seen := r.seen
	r.met = true // its facts came before
	c.mu.Unlock()
	switch {
	case b.Last <= seen:
		c.count(&r.duplicates, uint64(b.Count))
		return nil
	case b.First > seen+1:
		return fmt.Errorf("number %d comes after %d", b.First, seen)
	}
	seq := b.First
	for o, err := range in.unpack.All(b) {
		if err != nil {
			return err
		}
		if b.Whole() && seq <= seen {
			c.count(&r.duplicates, 1)
		} else if err := in.give(ctx, o, 0); err != nil {
			return err
		}
		seq++
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r.seen = b.Last
	if n := len(r.marks); n > 0 {
		r.marks[n-1].seq = b.Last
	} else {
		r.acked = b.Last // nothing of it was the node's to tell, or all is stored
	}
	return nil
}

// facts gives to correlation what still holds on a node.
func (in *receiver) facts(ctx context.Context, b bus.Batch) error {
	for o, err := range in.unpack.All(b) {
		if err != nil {
			return err
		}
		if err := in.give(ctx, o, 0); err != nil {
			return err
		}
	}
	return nil
}

func (c *Collector) count(n *uint64, by uint64) {
	c.mu.Lock()
	*n += by
	c.mu.Unlock()
}

// ours reports whether a node may tell o: what happens on it, and nothing of
// the cluster's.
func ours(o event.Observation) bool {
	switch o := o.(type) {
	case event.KubeRequest, event.KubeAdmission, event.KubePod, event.Clock, event.Tick:
		return false
	case event.Progress:
		return o.Witness == event.WitnessKernel
	}
	switch o.Head().Witness {
	case event.WitnessAudit, event.WitnessAdmission, event.WitnessKube, event.WitnessNodes:
		return false
	}
	return true
}

// give stamps an observation with the node's name and hands it on.
func (in *receiver) give(ctx context.Context, o event.Observation, seq uint64) error {
	c, r := in.c, in.r
	if _, tick := o.(event.Tick); !tick && !ours(o) {
		c.count(&r.foreign, 1)
		return nil
	}
	if err := c.waitForRoom(ctx); err != nil {
		return err
	}
	o = event.WithNode(o, r.name)
	h := o.Head()
	c.mu.Lock()
	r.observations++
	if h.Time.After(r.high) {
		r.high = h.Time
	}
	if s, ok := o.(event.WitnessState); ok && len(r.states) < 16 {
		r.states[s.Witness] = s
	}
	r.marks = append(r.marks, mark{h.Time, h.Witness, event.Name(o), r.high, seq})
	c.unstored++
	c.mu.Unlock()
	in.emit(o)
	return nil
}

// errStore says that the store took nothing for too long.
var errStore = errors.New("the store does not keep up")

// waitForRoom waits while too much waits for the store.
func (c *Collector) waitForRoom(ctx context.Context) error {
	var timer *time.Timer
	for {
		c.mu.Lock()
		full, room := c.unstored >= c.opt.Unstored, c.room
		c.mu.Unlock()
		if !full {
			return nil
		}
		if timer == nil {
			timer = time.NewTimer(c.opt.StoreWait)
			defer timer.Stop()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return errStore
		case <-room:
		}
	}
}

// beat tells correlation how far a node's stream is complete.
func (in *receiver) beat(ctx context.Context, seq uint64, at time.Time) error {
	c, r := in.c, in.r
	c.mu.Lock()
	ahead := seq > r.seen
	healed := c.heal(r, at)
	if !ahead {
		r.heard = at
	}
	r.met = true
	seen := r.seen
	c.mu.Unlock()
	if ahead {
		return fmt.Errorf("a beat about number %d, the latest is %d", seq, seen)
	}
	for _, s := range healed {
		if err := in.give(ctx, s, 0); err != nil {
			return err
		}
	}
	return in.give(ctx, event.Tick{Header: event.Header{Time: at, Witness: event.WitnessEngine}}, seen)
}

// pong notes a measurement of the node's clock.
func (in *receiver) pong(sent, came, left, got time.Time) {
	c, r := in.c, in.r
	c.mu.Lock()
	r.clock.add(sent, came, left, got)
	s, tell := r.clock.news(got)
	c.mu.Unlock()
	if tell {
		in.emit(event.Clock{
			Header: event.Header{Time: got, Witness: event.WitnessEngine},
			Of:     r.name, Offset: event.Duration(s.offset), Error: event.Duration(s.err),
		})
	}
}
