package link

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// remote is a node as its collector knows it. What has no other owner is
// guarded by the collector's mu.
type remote struct {
	name string

	turn    chan struct{} // capacity 1: held by the connection that is served
	current sync.Mutex
	raw     net.Conn // guarded by current; of the connection that is served

	spool string
	seen  uint64 // number of the latest observation given to correlation
	acked uint64 // number up to which everything is stored
	met   bool   // this process gave its facts to correlation

	marks  []mark    // given to correlation, not acknowledged; oldest first
	stored int       // how many of marks the store has
	high   time.Time // latest time of any observation, by the node's clock

	connected  bool
	since      time.Time // of connected, by our clock
	address    string
	boot       event.BootID
	heard      time.Time // of the latest beat, by the node's clock
	silent     bool      // time goes on without it
	blindSince time.Time // its last word before that, by its clock
	states     map[event.Witness]event.WitnessState
	clock      clock

	observations, duplicates, foreign, connects uint64
}

// mark is an observation on its way to the store.
type mark struct {
	time    time.Time
	witness event.Witness
	kind    string
	high    time.Time // latest time up to here
	seq     uint64    // acknowledged by this one; 0 inside a batch
}

func newRemote(name string, now time.Time) *remote {
	return &remote{name: name, turn: make(chan struct{}, 1), since: now, states: map[event.Witness]event.WitnessState{}}
}

// take makes raw the connection that is served: the one before is dead or about
// to be, since a node has one.
func (r *remote) take(ctx context.Context, raw net.Conn) bool {
	r.current.Lock()
	if r.raw != nil {
		_ = r.raw.Close()
	}
	r.raw = raw
	r.current.Unlock()
	select {
	case r.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *remote) release() { <-r.turn }

// settle notes that the store has o, and returns how many observations fewer
// it lacks.
func (r *remote) settle(o event.Observation) int {
	h, kind := o.Head(), event.Name(o)
	for i := r.stored; i < len(r.marks); i++ {
		if m := r.marks[i]; m.time.Equal(h.Time) && m.witness == h.Witness && m.kind == kind {
			n := i + 1 - r.stored
			r.stored = i + 1
			return n
		}
	}
	return 0
}

// advance drops the marks that can be acknowledged and reports whether acked
// moved.
func (r *remote) advance(lag time.Duration) bool {
	if r.stored == 0 {
		return false
	}
	limit := r.marks[r.stored-1].high.Add(-lag)
	n, was := 0, r.acked
	for i := 0; i < r.stored && !r.marks[i].high.After(limit); i++ {
		if r.marks[i].seq > 0 {
			r.acked, n = max(r.acked, r.marks[i].seq), i+1
		}
	}
	r.marks = slices.Delete(r.marks, 0, n)
	r.stored -= n
	return r.acked != was
}

// NodeStatus is how a node is, seen from its collector.
type NodeStatus struct {
	Name      string
	Connected bool
	Since     time.Time // of Connected
	Address   string
	Boot      event.BootID
	Spool     string
	// Seen and Acknowledged are numbers of the node's spool.
	Seen, Acknowledged uint64
	// Heard is up to when the node's stream is complete, by its clock.
	Heard  time.Time
	Silent bool
	// Offset is the node's clock minus ours, Error the most by which that can
	// be wrong; both are valid when Measured.
	Offset, Error time.Duration
	Measured      bool
	// Observations were given to correlation; Duplicates were there before;
	// Foreign were not the node's to tell.
	Observations, Duplicates, Foreign uint64
	Connects                          uint64
	States                            []event.WitnessState
}

// Status returns how the nodes are, in order of name.
func (c *Collector) Status() []NodeStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opt.Now()
	out := make([]NodeStatus, 0, len(c.nodes))
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		r := c.nodes[name]
		best, ok := r.clock.best(now)
		s := NodeStatus{
			Name: name, Connected: r.connected, Since: r.since, Address: r.address, Boot: r.boot, Spool: r.spool,
			Seen: r.seen, Acknowledged: r.acked, Heard: r.heard, Silent: r.silent,
			Offset: best.offset, Error: best.err, Measured: ok,
			Observations: r.observations, Duplicates: r.duplicates, Foreign: r.foreign, Connects: r.connects,
		}
		for _, w := range slices.Sorted(maps.Keys(r.states)) {
			s.States = append(s.States, r.states[w])
		}
		out = append(out, s)
	}
	return out
}

// Unstored returns how many observations wait for the store, and how many may.
func (c *Collector) Unstored() (n, limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unstored, c.opt.Unstored
}

// Refused returns how many connections led to nothing.
func (c *Collector) Refused() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// Stored says that the store keeps these observations, in the order in which
// they were emitted; those of others than nodes are passed over. Ticks count:
// whoever stores must pass them on, stored or not.
func (c *Collector) Stored(observations []event.Observation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	freed := 0
	touched := map[*remote]bool{}
	for _, o := range observations {
		if r := c.nodes[o.Head().Node]; r != nil {
			freed += r.settle(o)
			touched[r] = true
		}
	}
	moved := false
	for r := range touched {
		moved = r.advance(c.opt.Lag) || moved
	}
	if freed > 0 {
		c.unstored -= freed
		close(c.room)
		c.room = make(chan struct{})
	}
	if moved && time.Since(c.saved) >= time.Second {
		_ = c.save()
	}
}
