package correlate

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// clientsKnown reports whether every client that can have asked the Docker
// daemon at t is known.
func (c *coverage) clientsKnown(t time.Time) bool {
	whole, doors := c.peersWhole(t.Add(-skew), t.Add(skew))
	return whole && len(doors) == 0
}

// doorsShut reports whether every request that can have reached the Docker daemon
// at t came by a door that the kernel sensor reads, and has been read.
func (c *coverage) doorsShut(t time.Time) bool {
	return c.read(t.Add(skew)) && len(c.unwatched(t.Add(-skew), t.Add(skew))) == 0
}

// peersWhole reports whether every client of the Docker service that was
// connected between a and b is known, and which doors nobody watched.
func (c *coverage) peersWhole(a, b time.Time) (whole bool, doors []string) {
	k := c.at(event.WitnessKernel, a)
	return k != nil && k.Up && k.Peers && c.whole(event.WitnessKernel, "process", a, b), c.unwatched(a, b)
}

// unwatched lists the doors of the Docker service that nobody watched all the
// way from a to b.
func (c *coverage) unwatched(a, b time.Time) []string {
	d := c.at(event.WitnessDocker, b)
	if d == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(d.OpenDoors), func(door string) bool { return c.seesDoor(door, a, b) })
}

// seesDoor reports whether the kernel sensor saw all clients of a TCP door from
// a to b.
func (c *coverage) seesDoor(door string, a, b time.Time) bool {
	sees := func(s *event.WitnessState) bool { return s != nil && s.Up && slices.Contains(s.TCPDoors, door) }
	if !sees(c.at(event.WitnessKernel, a)) {
		return false
	}
	for i := range c.states[event.WitnessKernel] {
		if s := &c.states[event.WitnessKernel][i]; s.Time.After(a) && !s.Time.After(b) && !sees(s) {
			return false
		}
	}
	return true
}

// daemonPID returns the pid of the service that w watches, as last told.
func (c *coverage) daemonPID(w event.Witness) uint32 {
	list := c.states[w]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].DaemonPID != 0 {
			return list[i].DaemonPID
		}
	}
	return 0
}

// serves reports whether a process was told to be the service that w watches; told says
// that any was.
func (c *coverage) serves(w event.Witness, pid uint32) (is, told bool) {
	for _, s := range c.states[w] {
		is, told = is || s.DaemonPID == pid, told || s.DaemonPID != 0
	}
	return is, told
}

// doorWatched reports whether a service that can have asked for what began at t
// was watched without a gap: only then its silence says something.
func (c *coverage) doorWatched(t time.Time) bool {
	for _, w := range []event.Witness{event.WitnessDocker, event.WitnessContainerd, event.WitnessAudit, event.WitnessAdmission} {
		if c.whole(w, "", t, t.Add(c.opt.Window)) {
			return true
		}
	}
	return false
}

// nodeDoorsWatched reports whether every client of the kubelet's port and of
// the runtime's socket is known at t.
func (c *coverage) nodeDoorsWatched(t time.Time) bool {
	k := c.at(event.WitnessKernel, t)
	return k != nil && k.Peers && c.portWatched(t)
}

// portWatched reports whether every client of the kubelet's port is known at t.
func (c *coverage) portWatched(t time.Time) bool {
	k := c.at(event.WitnessKernel, t)
	return k != nil && k.Up && slices.Contains(k.Ports, event.ServiceKubelet) &&
		c.whole(event.WitnessKernel, "process", t.Add(-skew), t.Add(skew))
}

// isKubelet and isAPIServer go by what a local process is called: by its file,
// its name, or its first argument, as of a program that is several in one. Where
// the kernel sensor knows which processes serve the kubelet's port, no other is
// a kubelet.
func (c *coverage) isKubelet(p event.Peer) bool {
	return called(p, "kubelet") && (len(c.kubelets) == 0 || slices.Contains(c.kubelets, p.ID.PID))
}

// isAPIServer says nothing of a process that is elsewhere.
func isAPIServer(p event.Peer) bool { return called(p, "kube-apiserver") }

func called(p event.Peer, name string) bool {
	return base(string(p.Exe)) == name || string(p.Comm) == name || len(p.Argv.Args) > 0 && base(p.Argv.Args[0]) == name
}

// procTick is how exactly /proc tells when a process began.
const procTick = uint64(10 * time.Millisecond)

// isGuard reports whether a client of a service is a guard's process, which asks
// for others.
func (c *coverage) isGuard(p event.Peer) bool {
	return slices.ContainsFunc(c.guards, func(g event.ProcessID) bool {
		return g.PID == p.ID.PID && (g.Start == 0 || p.ID.Start == 0 || g.Start/procTick == p.ID.Start/procTick)
	})
}

// passedOn reports whether r is what a guard asked for somebody else.
func (c *coverage) passedOn(r *request) bool {
	return r.Witness != event.WitnessGuard && c.isGuard(r.Peer)
}

// guardTells reports whether the guards told of all that they let pass at t.
func (c *coverage) guardTells(t time.Time) bool { return c.whole(event.WitnessGuard, "", t, t) }

// guardHeard reports whether no guard fell silent since t.
func (c *coverage) guardHeard(t time.Time) bool {
	return c.whole(event.WitnessGuard, "", t, c.now)
}

// ownWord returns the requests that have somebody behind them. hidden says that
// there are none, though a guard passed one on.
func (c *coverage) ownWord(all []*request) (own []*request, hidden bool) {
	own = slices.DeleteFunc(slices.Clone(all), func(r *request) bool { return r.nameless() || c.passedOn(r) })
	return own, len(own) == 0 && slices.ContainsFunc(all, c.passedOn)
}
