//go:build linux && (amd64 || arm64)

package kernel

import (
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// processes turns records of processes into observations.
type processes struct {
	clock  *clock
	emit   func(event.Observation)
	places *placeTable
	// pending holds entries that are not reported yet: a runtime moves the root
	// into the container's cgroup after its birth and before its first exec.
	pending map[event.ProcessID]*pendingEntry
	// foreign says which container's programs the tree of a root runs that
	// stayed in the host's namespaces.
	foreign map[event.ProcessID]event.ContainerID
	// inits are the first processes of containers' own pid namespaces.
	inits map[event.ProcessID]place
	// alive says which entry a live process belongs to.
	alive map[event.ProcessID]event.ProcessID
	known procCache
}

// aliveMax bounds the live processes remembered. Beyond it some client's own
// entry is not known; its container is.
const aliveMax = 1 << 17

// pendingEntry is an entry before its root's first exec.
type pendingEntry struct {
	rec *entryRecord
	obs event.SessionEntry
	// told says that it was reported for lack of an exec; what the exec tells
	// may correct it.
	told bool
}

// How long an entry waits for its root's first exec before it is reported
// without, and how long its correction is still possible. A runtime's create
// waits for its start in between; that takes as long as the caller likes.
const (
	entryWait    = 300 * time.Millisecond
	entryCorrect = 10 * time.Minute
)

func newProcesses(c *clock, emit func(event.Observation)) *processes {
	return &processes{
		clock: c, emit: emit, places: newPlaceTable(),
		pending: map[event.ProcessID]*pendingEntry{},
		foreign: map[event.ProcessID]event.ContainerID{},
		inits:   map[event.ProcessID]place{},
		alive:   map[event.ProcessID]event.ProcessID{},
		known:   procCache{m: map[procKey]cachedProc{}},
	}
}

func (p *processes) header(boot uint64) event.Header {
	return event.Header{Time: p.clock.wall(boot), Witness: event.WitnessKernel}
}

var causes = map[sensorCause]event.EntryCause{
	sensorCauseCAUSE_START:    event.EntryStart,
	sensorCauseCAUSE_INJECTED: event.EntryInjected,
	sensorCauseCAUSE_FOREIGN:  event.EntryForeignExe,
}

func (p *processes) entry(r *entryRecord) {
	n := &pendingEntry{rec: r}
	cause := causes[sensorCause(r.Head.Cause)]
	if r.Root.NsPid == 1 { // a new pid namespace has an old one's number
		p.places.forget(place{pid: r.Place.PidNs})
	}
	n.obs = event.SessionEntry{
		Header: p.header(r.Head.Time), Root: r.Root.event(), Outer: r.Outer.event(), Cause: cause,
		AtExec: r.Head.Flags&uint16(sensorFlagFLAG_FORK) == 0,
		MntNS:  r.Place.MntNs, PIDNS: r.Place.PidNs, Cred: r.Who.event(), Lineage: p.lineage(r),
	}
	if len(p.pending) >= placesMax {
		p.makeRoom()
	}
	p.pending[n.obs.Root] = n
	put(p.alive, n.obs.Root, n.obs.Root, aliveMax)
}

// makeRoom reports and forgets any one pending entry.
func (p *processes) makeRoom() {
	for root := range p.pending {
		p.flush(root)
		delete(p.pending, root)
		return
	}
}

// lineage adds to the ancestors what they run. The arguments of the one that
// forked are the kernel's; the others' come from what was seen of them or,
// while they live, from /proc.
func (p *processes) lineage(r *entryRecord) []event.Ancestor {
	var out []event.Ancestor
	for i, a := range r.Ancestors[:r.AncestorCount] {
		e := a.event()
		if info, ok := p.known.get(e.ID, string(e.Comm), p.clock.now()); ok {
			e.Exe, e.Argv = info.exe.Path, info.argv
		}
		if i == 0 && r.ArgvLen > 0 {
			e.Argv = r.argv
		}
		out = append(out, e)
	}
	return out
}

// settle says which container the entry went into, given the root's cgroup, and
// reports it.
func (p *processes) settle(n *pendingEntry, cgroup []string) {
	o := n.obs
	c, ok := p.entered(n, cgroup)
	o.Container = c.id
	o.InCgroup = ok && c.holds(cgroup)
	if len(cgroup) > 0 {
		o.Cgroup = cgroup[0]
	}
	if n.told && o.InCgroup == n.obs.InCgroup && o.Container == n.obs.Container {
		return
	}
	n.obs = o
	p.emit(o)
	if !n.told && n.rec.Head.Flags&uint16(sensorFlagFLAG_FORK) != 0 {
		p.emit(event.ProcessFork{
			Header: o.Header, ID: o.Root, Parent: n.rec.Parent.event(), Entry: o.Root,
			NSPID: n.rec.Root.NsPid, Comm: event.Text(text(n.rec.Comm[:])), Cred: o.Cred,
		})
	}
	n.told = true
}

func (p *processes) entered(n *pendingEntry, cgroup []string) (container, bool) {
	at := n.rec.Place.place()
	switch n.obs.Cause {
	case event.EntryForeignExe:
		c, ok := p.places.at(place{mnt: n.rec.ExeMntId})
		put(p.foreign, n.obs.Root, c.id, placesMax)
		return c, ok
	case event.EntryStart:
		if c, ok := startedIn(n.obs.Lineage, cgroup); ok {
			first := n.rec.Root.NsPid == 1
			p.places.learn(at, c, first)
			if first {
				put(p.inits, n.obs.Root, at, placesMax)
			}
			return c, true
		}
	case event.EntryInjected, event.EntryFound:
	}
	if c, ok := p.places.at(at); ok {
		return c, true
	}
	id, ok := containerOf(cgroup)
	return container{id: id, cgroup: first(cgroup)}, ok
}

// startedIn is the container whose first process has this cgroup.
func startedIn(lineage []event.Ancestor, cgroup []string) (container, bool) {
	c := container{cgroup: first(cgroup)}
	var ok bool
	if c.id, ok = containerOf(cgroup); ok {
		return c, true
	}
	if !slices.ContainsFunc(lineage, isRuntime) {
		return container{}, false
	}
	c.id = named(cgroup)
	return c, c.id != ""
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

func isRuntime(a event.Ancestor) bool {
	for _, name := range []string{"runc", "crun", "youki", "runsc"} {
		if strings.HasPrefix(string(a.Comm), name) {
			return true
		}
	}
	return false
}

// where names the container of a process.
func (p *processes) where(entry event.ProcessID, at place, cgroup []string) event.ContainerID {
	if id, ok := p.foreign[entry]; ok {
		return id
	}
	if c, ok := p.places.at(at); ok {
		return c.id
	}
	id, _ := containerOf(cgroup)
	return id
}

func (p *processes) exec(r *execRecord) {
	o := event.ProcessExec{
		Header: p.header(r.Head.Time), ID: r.Id.event(), Parent: r.Parent.event(), Entry: r.Entry.event(),
		NSPID: r.Id.NsPid, Filename: event.Text(r.filename), Argv: r.argv, Exe: r.executable(),
		Cred: r.Who.event(), TTY: ttyName(text(r.Tty[:])), Cgroup: first(r.cgroup),
	}
	if r.Head.Flags&uint16(sensorFlagFLAG_HOST) != 0 {
		p.known.saw(o)
		p.emit(o)
		return
	}
	if n := p.pending[o.Entry]; n != nil {
		if o.ID == o.Entry {
			p.settle(n, r.cgroup)
			delete(p.pending, o.Entry)
		} else if !n.told {
			p.settle(n, n.rec.cgroup)
		}
	}
	o.Container = p.where(o.Entry, r.Place.place(), r.cgroup)
	p.emit(o)
}

func (p *processes) fork(r *sensorForkRecord) {
	o := event.ProcessFork{
		Header: p.header(r.Head.Time), ID: r.Id.event(), Parent: r.Parent.event(), Entry: r.Entry.event(),
		NSPID: r.Id.NsPid, Comm: event.Text(text(r.Comm[:])), Cred: r.Who.event(),
	}
	put(p.alive, o.ID, o.Entry, aliveMax)
	p.flush(o.Entry)
	p.emit(o)
}

func (p *processes) exit(r *sensorExitRecord) {
	o := event.ProcessExit{Header: p.header(r.Head.Time), ID: r.Id.event(), Entry: r.Entry.event()}
	o.Code, o.Signal = exitStatus(r.Code)
	delete(p.alive, o.ID)
	p.flush(o.Entry)
	p.emit(o)
	if o.ID == o.Entry {
		delete(p.pending, o.ID)
		delete(p.foreign, o.ID)
	}
	if at, ok := p.inits[o.ID]; ok {
		delete(p.inits, o.ID)
		p.places.forget(at)
	}
}

// flush reports an entry that something else of its tree came before.
func (p *processes) flush(root event.ProcessID) {
	if n := p.pending[root]; n != nil && !n.told {
		p.settle(n, orElse(readCgroup(root), n.rec.cgroup))
	}
}

func orElse(now, then []string) []string {
	if len(now) > 0 {
		return now
	}
	return then
}

// reported returns up to when everything is reported, once all records from
// before upTo are handled: the oldest entry that still waits holds it back.
func (p *processes) reported(upTo uint64) uint64 {
	for _, n := range p.pending {
		if !n.told {
			upTo = min(upTo, n.rec.Head.Time)
		}
	}
	return upTo
}

// expire reports the entries that have waited long enough.
func (p *processes) expire(now uint64) {
	for root, n := range p.pending {
		switch age := time.Duration(now - n.rec.Head.Time); {
		case n.rec.Head.Time > now || age < entryWait:
		case !n.told:
			p.flush(root)
		case age > entryCorrect:
			delete(p.pending, root)
		}
	}
}
