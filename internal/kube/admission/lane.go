package admission

import (
	"slices"
	"strings"
	"time"
)

// Command is what a request would start, as far as it shows at the process.
// Whether it has a terminal is left out: not every sensor sees that, and two
// requests must not pass for different where it does not.
type Command struct {
	Namespace, Pod string
	// Container is empty where the request leaves the choice to the API server
	// or where the witness of a start does not know it: then it may be any.
	Container string
	Argv      []string
	// Run says that the kubelet is to run it and return what it printed, by
	// nodes/proxy. What it runs is not told: it may be any command.
	Run bool
}

// site is where a Command runs.
type site struct{ namespace, pod string }

func (c Command) site() site { return site{c.Namespace, c.Pod} }

// what is the rest of a Command.
type what struct {
	container, argv string
	run             bool
}

func (c Command) what() what { return what{c.Container, strings.Join(c.Argv, "\x00"), c.Run} }

// like reports whether the processes of two commands at one site could be taken
// for each other.
func (w what) like(o what) bool { return w.in(o.container) && (w.run || o.run || w.argv == o.argv) }

// in reports whether w may run in a container of that name.
func (w what) in(container string) bool {
	return w.container == container || w.container == "" || container == ""
}

// starts reports whether the start of o can be that of w.
func (w what) starts(o what) bool {
	return w.in(o.container) && w.run == o.run && (w.run || w.argv == o.argv)
}

// flight is a request that was let go and is not known to have started.
type flight struct {
	what
	nonce string
	since time.Time
}

// ticket is a request at the gate. alone and at are valid once it was let go.
type ticket struct {
	site
	what
	nonce string
	alone bool
	at    time.Time
	gone  chan struct{} // closed when it was let go; nil until it waits
}

// lane is everything under way at one site.
type lane struct {
	flights []flight
	waiting []*ticket // in order of arrival
}

// lanes decides who may go. It has no clock and no goroutines: whoever calls
// says what time it is.
type lanes struct {
	opts      GateOptions
	at        map[site]*lane
	nonces    map[string]site // of flights
	waiting   int
	untracked time.Time // when a request was last let go without a flight
}

func newLanes(o GateOptions) *lanes {
	return &lanes{opts: o, at: map[site]*lane{}, nonces: map[string]site{}}
}

// arrive lets t go or makes it wait, and reports which.
func (l *lanes) arrive(now time.Time, t *ticket, mayHold bool) (gone bool) {
	n := l.open(now, t.site)
	crowd := slices.ContainsFunc(n.flights, func(f flight) bool { return f.like(t.what) })
	queue := slices.ContainsFunc(n.waiting, func(w *ticket) bool { return w.like(t.what) })
	fresh := slices.ContainsFunc(n.flights, func(f flight) bool {
		return f.like(t.what) && now.Sub(f.since) < l.opts.Patience
	})
	if !crowd && !queue || !mayHold || !fresh && !queue || l.waiting >= l.opts.Waiting {
		l.release(now, n, t)
		return true
	}
	t.gone = make(chan struct{})
	n.waiting = append(n.waiting, t)
	l.waiting++
	return false
}

// leave lets a waiting t go: it has waited long enough. One that is gone
// already is left alone.
func (l *lanes) leave(now time.Time, t *ticket) {
	n := l.open(now, t.site)
	if i := slices.Index(n.waiting, t); i >= 0 {
		n.waiting = slices.Delete(n.waiting, i, i+1)
		l.waiting--
		l.release(now, n, t)
	}
}

// started settles the oldest flight that the start of c at the given time can
// be, and lets the next ones go. It returns since when that was under way, and
// whether there was one.
func (l *lanes) started(now time.Time, c Command, at time.Time) (since time.Time, ok bool) {
	n, ok := l.at[c.site()]
	if !ok {
		return since, false
	}
	i := slices.IndexFunc(n.flights, func(f flight) bool { return f.starts(c.what()) && !f.since.After(at) })
	if i >= 0 {
		since = n.flights[i].since
		l.settle(n, i)
	}
	l.next(now, c.site())
	return since, i >= 0
}

// refused settles the flight with the nonce: it will not start.
func (l *lanes) refused(now time.Time, nonce string) bool {
	s, ok := l.nonces[nonce]
	if !ok {
		return false
	}
	n := l.at[s]
	l.settle(n, slices.IndexFunc(n.flights, func(f flight) bool { return f.nonce == nonce }))
	l.next(now, s)
	return true
}

// release lets t go and notes its flight.
func (l *lanes) release(now time.Time, n *lane, t *ticket) {
	t.at = now
	t.alone = now.Sub(l.untracked) >= l.opts.Forget &&
		!slices.ContainsFunc(n.flights, func(f flight) bool { return f.like(t.what) })
	if len(l.nonces) >= l.opts.Flights {
		l.sweep(now)
	}
	if len(l.nonces) >= l.opts.Flights {
		l.untracked = now // nobody can be said to be alone until this one is surely over
		l.drop(t.site, n)
	} else {
		n.flights = append(n.flights, flight{t.what, t.nonce, now})
		l.nonces[t.nonce] = t.site
		l.at[t.site] = n // sweep may have dropped it
	}
	if t.gone != nil {
		close(t.gone)
	}
}

// next lets those go whom nobody is in the way of any more.
func (l *lanes) next(now time.Time, s site) {
	n := l.at[s]
	for i := 0; i < len(n.waiting); {
		t := n.waiting[i]
		if slices.ContainsFunc(n.flights, func(f flight) bool { return f.like(t.what) }) ||
			slices.ContainsFunc(n.waiting[:i], func(w *ticket) bool { return w.like(t.what) }) {
			i++
			continue
		}
		n.waiting = slices.Delete(n.waiting, i, i+1)
		l.waiting--
		l.release(now, n, t)
	}
	l.drop(s, n)
}

// open returns the lane of a site, without flights that are surely over.
func (l *lanes) open(now time.Time, s site) *lane {
	n, ok := l.at[s]
	if !ok {
		n = &lane{}
		l.at[s] = n
	}
	l.prune(now, n)
	return n
}

func (l *lanes) prune(now time.Time, n *lane) {
	for len(n.flights) > 0 && now.Sub(n.flights[0].since) >= l.opts.Forget {
		l.settle(n, 0)
	}
}

func (l *lanes) settle(n *lane, i int) {
	delete(l.nonces, n.flights[i].nonce)
	n.flights = slices.Delete(n.flights, i, i+1)
}

// sweep drops everywhere what is surely over.
func (l *lanes) sweep(now time.Time) {
	for s, n := range l.at {
		l.prune(now, n)
		l.drop(s, n)
	}
}

func (l *lanes) drop(s site, n *lane) {
	if len(n.flights) == 0 && len(n.waiting) == 0 {
		delete(l.at, s)
	}
}
