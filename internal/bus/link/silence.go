package link

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// watchSilence lets time go on for nodes that are gone.
func (c *Collector) watchSilence(ctx context.Context, emit func(event.Observation)) {
	ticker := time.NewTicker(min(time.Second, c.opt.Silent))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, o := range c.silence() {
			emit(o)
		}
	}
}

// silence returns what is to be said of nodes that say nothing.
func (c *Collector) silence() (out []event.Observation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opt.Now().UTC()
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		r := c.nodes[name]
		if !r.silent && (r.connected || now.Sub(r.since) < c.opt.Silent) {
			continue
		}
		if !r.silent {
			r.silent, r.blindSince = true, maxTime(r.heard, r.high)
			c.opt.Logger.Warn("a node is silent; time goes on without it", slog.String("node", name), slog.Time("last_word", r.blindSince))
			out = append(out, r.blind(false, r.blindSince.Add(1))...)
		}
		best, _ := r.clock.best(now) // 0 when it was never measured
		if t := now.Add(best.offset); t.After(r.blindSince) {
			out = append(out, event.Tick{Header: event.Header{Time: t, Witness: event.WitnessEngine, Node: name}})
		}
	}
	return out
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// blind returns the states of a node's witnesses as they are after a silence
// began or, with up, after all is heard that was seen during it.
func (r *remote) blind(up bool, at time.Time) (out []event.Observation) {
	for _, w := range slices.Sorted(maps.Keys(r.states)) {
		s := r.states[w]
		if !s.Up {
			continue
		}
		s.Time, s.From, s.Node = at, r.blindSince, r.name
		if !up {
			s = event.WitnessState{Header: s.Header, Reason: "no word from node " + r.name}
		}
		out = append(out, s)
	}
	return out
}

// heal ends, mu held, a silence: everything of it is heard by now.
func (c *Collector) heal(r *remote, at time.Time) []event.Observation {
	if !r.silent {
		return nil
	}
	r.silent = false
	return r.blind(true, at)
}
