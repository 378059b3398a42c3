package correlate

import (
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

func (e *Engine) applyEntry(o event.SessionEntry) {
	n := e.inside.entry(o.Root)
	e.inside.cameIn(n, &o)
	n.process(o.Root)
	e.place(n, o.Container)
	e.touchEntry(n, true)
}

func (e *Engine) applyProcessExec(o event.ProcessExec) {
	if o.Entry.IsZero() {
		return // a runtime's own process on the host: the entry's lineage has it
	}
	n := e.inside.entry(o.Entry)
	if p := n.process(o.ID); p != nil {
		p.execs = insert(p.execs, o, execsOfProcess)
	}
	if o.ID == n.root {
		e.place(n, o.Container)
	}
	e.touchEntry(n, o.ID == n.root)
}

func (e *Engine) applyFork(o event.ProcessFork) {
	n := e.inside.entry(o.Entry)
	if p := n.process(o.ID); p != nil {
		fork := o // only what is kept may cost memory: a storm's processes are not
		p.fork = &fork
	} else {
		n.total++
	}
	e.touchEntry(n, false)
}

func (e *Engine) applyExit(o event.ProcessExit) {
	n := e.inside.entries.byRoot[o.Entry]
	if n == nil {
		if o.Entry.IsZero() {
			return
		}
		n = e.inside.entry(o.Entry)
	}
	if p := n.process(o.ID); p != nil {
		exit := o
		p.exit = &exit
	}
	e.touchEntry(n, o.ID == n.root)
	e.endOrphan(o)
}

// place notes which container an entry is in. The first process of a new
// container makes a run.
func (e *Engine) place(n *entry, id event.ContainerID) {
	if id == "" || n.where != "" {
		return
	}
	c := e.container(e.inside.wholeID(id))
	c.crio = c.crio || n.fact != nil && inCRIO(n.fact.Cgroup, id)
	e.inside.place(n, c)
	e.placeRun(n)
}

// inCRIO reports whether a container's cgroup is called as CRI-O calls it.
func inCRIO(cgroup string, id event.ContainerID) bool {
	return strings.TrimSuffix(cgroup, ".scope") == "crio-"+string(id)
}

func (e *Engine) placeRun(n *entry) {
	if n.where != "" && n.fact != nil && n.fact.Cause == event.EntryStart {
		r := e.run(newRunKey(n.where, n.root.PID))
		e.touch(r, true)
	}
}

func (e *Engine) applyConnect(o event.ClientConnect) {
	c := e.doors.conn(o.Conn)
	e.doors.introduce(c, o.Service, o.Peer)
	c.tapped = c.tapped || o.Tapped
	c.guarded = c.guarded || o.Witness == event.WitnessGuard
	c.lives(o.Time)
	since := o.Time
	if o.Found {
		since = time.Time{} // it was there before
		e.doors.unsettle()
	} else {
		c.opened = o.Time
	}
	e.touchAround(since)
}

func (e *Engine) applyClose(o event.ClientClose) {
	c := e.doors.conn(o.Conn)
	if o.Time.After(c.gone) {
		c.gone = o.Time
	}
	for _, s := range e.streams.byID {
		if s.req != nil && s.id.Conn == o.Conn {
			e.touch(s, true)
		}
	}
	e.touchAround(o.Time)
}

// applyGate takes what the gate stopped for a session. What it only observed went on,
// and is seen for what it is.
func (e *Engine) applyGate(o event.GateSighting) {
	if o.Verdict != event.GateRefused && o.Verdict != event.GateKilled {
		return
	}
	r := e.doors.rebuffs.add(&o)
	e.touch(r, r.tries == 1)
}
