package admission

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// GateOptions tunes a Gate. The zero value of a field means its default.
type GateOptions struct {
	// Hold bounds how long one request waits; default 2.5 s.
	Hold time.Duration
	// Patience is how long after it was let go a request is worth waiting for;
	// default 2 s. One that has not started by then probably failed.
	Patience time.Duration
	// Forget is after how long a request that was let go cannot start any more;
	// default 2 min. containerd's streaming server forgets its token after one.
	Forget time.Duration
	// Waiting bounds the requests that wait, default 64; Flights those that are
	// followed, default 8192. Beyond them requests are let go, not alone.
	Waiting, Flights int
	// Covered says whether somebody would call Started for a command in this
	// pod. Where nobody would, nothing is held. Nil: always. It must not call
	// the Gate.
	Covered func(namespace, pod string) bool
	// Company reports whether somebody else runs the same command just now, or is
	// about to within lead, whom no gate can hold: the kubelet with a probe. The
	// request is held until he has, for as long as Hold. Nil: nobody. It must not
	// call the Gate.
	Company func(c Command, now time.Time, lead time.Duration) bool
}

// companyPoll is how often Company is asked while a request is held for it.
const companyPoll = 10 * time.Millisecond

// Gate lets requests for commands go so that two which cannot be told apart at
// the process are not under way together, as far as a short wait can bring that
// about. Whoever sees processes start must call Started. Its methods may be
// called from several goroutines.
type Gate struct {
	opts GateOptions

	mu    sync.Mutex
	lanes *lanes // guarded by mu
	pace  pace   // guarded by mu
	stats GateStats
}

// GateStats counts what a Gate has done.
type GateStats struct {
	Passed  uint64        // requests let go
	Alone   uint64        // of these, with nobody under way who could be taken for them
	Held    uint64        // of these, those that waited
	Timeout uint64        // of these, those that waited in vain
	Wait    time.Duration // for how long altogether
	Started uint64        // starts that settled a request
	Over    uint64        // ends of requests that did
	Strange uint64        // starts that nobody had asked for here
}

// NewGate returns a gate that nobody has passed.
func NewGate(o GateOptions) *Gate {
	o.Hold = cmp.Or(o.Hold, 2500*time.Millisecond)
	o.Patience = cmp.Or(o.Patience, 2*time.Second)
	o.Forget = cmp.Or(o.Forget, 2*time.Minute)
	o.Waiting = cmp.Or(o.Waiting, 64)
	o.Flights = cmp.Or(o.Flights, 8192)
	if o.Covered == nil {
		o.Covered = func(string, string) bool { return true }
	}
	return &Gate{opts: o, lanes: newLanes(o)}
}

// Pass returns when the request may go, with the moment from which on it is
// under way. alone says that no other request was under way then that could
// start the same command in the same container. When ctx ends the request goes
// at once: whoever asked has given up waiting, not the request.
func (g *Gate) Pass(ctx context.Context, nonce string, c Command) (at time.Time, alone bool) {
	t := &ticket{site: c.site(), what: c.what(), nonce: nonce}
	mayHold := g.opts.Covered(c.Namespace, c.Pod)
	began := time.Now()
	g.mu.Lock()
	gone := g.lanes.arrive(began, t, mayHold)
	g.mu.Unlock()
	if !gone {
		g.wait(ctx, t)
	}
	avoided := mayHold && g.avoid(ctx, c, began)
	g.mu.Lock()
	defer g.mu.Unlock()
	if avoided {
		t.at = time.Now()
	}
	g.stats.Passed++
	if t.alone {
		g.stats.Alone++
	}
	if !gone || avoided {
		g.stats.Held++
		g.stats.Wait += t.at.Sub(began)
	}
	return t.at, t.alone
}

// avoid waits while the request would have company. It is under way already as far
// as other requests go, so none of them overtakes it.
func (g *Gate) avoid(ctx context.Context, c Command, began time.Time) (waited bool) {
	if g.opts.Company == nil {
		return false
	}
	for now := time.Now(); ctx.Err() == nil && now.Sub(began) < g.opts.Hold && g.opts.Company(c, now, g.lead(now)); now = time.Now() {
		waited = true
		select {
		case <-time.After(companyPoll):
		case <-ctx.Done():
		}
	}
	return waited
}

// lead is how long before somebody else runs the same command a request is better
// held: as long as requests take, just now, from their leave to their start.
func (g *Gate) lead(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return min(max(g.pace.slowest(now), leadMin), g.opts.Hold/2)
}

func (g *Gate) wait(ctx context.Context, t *ticket) {
	timer := time.NewTimer(g.opts.Hold)
	defer timer.Stop()
	select {
	case <-t.gone:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lanes.leave(time.Now(), t)
	if !t.alone {
		g.stats.Timeout++
	}
}

// Started says that a process with c's argv has entered that container, at a
// time of this host's clock. A start before a request was let go is not its
// own.
func (g *Gate) Started(c Command, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	since, ok := g.lanes.started(now, c, at)
	if !ok {
		g.stats.Strange++
		return
	}
	g.pace.add(now, now.Sub(since))
	g.stats.Started++
}

// Over says that the request with this nonce is done with: it was refused, or its
// stream has ended. It starts nothing any more.
func (g *Gate) Over(nonce string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lanes.refused(time.Now(), nonce) {
		g.stats.Over++
	}
}

// Stats may be called at any time.
func (g *Gate) Stats() GateStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats
}
