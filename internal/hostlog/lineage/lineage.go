// Package lineage makes entries of the processes that a log tells of: who of
// them came into a container from outside, and who descends from those.
//
// A log is a stream of programs that were run (and, with some tools, of
// processes that ended). Tracker remembers who was whose parent, and reports an
// event.SessionEntry for a process in a container whose parent is outside of it
// (a runtime, a shim, a process of the host) or not told at all. A process whose
// parent is known and not known to be outside is no session of its own; it is
// counted (Tracker.Inside).
// Nothing is reported that no record says: an id, a cause, a container that
// cannot be read from the records is left out.
package lineage

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Place says where a process runs.
type Place uint8

// The places.
const (
	Unknown Place = iota
	Host
	Inside // a container, which may not be known
)

// Seen is what a record tells of a process that runs a program. Zero values are
// what the record does not tell.
type Seen struct {
	Time time.Time
	Node string
	// Key is the tool's own id of the process, ParentKey of its parent. Where
	// there is none, the pid stands for the process until it ends or runs
	// another program under another parent.
	Key, ParentKey string
	PID, PPID      uint32
	NSPID          uint32
	Place          Place
	Container      event.ContainerID
	// Injected is the tool's own word that the process does not descend from its
	// container's first process.
	Injected bool
	Name     event.Text // of the process: what its parents are called
	Filename event.Text
	Argv     event.Argv
	Exe      event.Executable
	Cred     event.Cred
	TTY      string
	// Parents is what the record itself says of the parents, the nearest first.
	Parents []Parent
}

// Parent is what a record says of a parent of its process.
type Parent struct {
	event.Ancestor
	Place     Place
	Container event.ContainerID
}

// Tracker follows the processes of one log. It is not safe for concurrent use.
type Tracker struct {
	state   event.WitnessState // what to say of the log, once for each node
	greeted map[string]bool
	byKey   map[string]*process
	byPID   map[nodePID]*process
	oldest  []*process // in the order in which they were first seen
	placed  map[event.ContainerID]Container
	// Inside counts programs run in containers by processes whose way in the log
	// does not show.
	Inside int
}

type nodePID struct {
	node string
	pid  uint32
}

// process is one process as far as the log has shown it.
type process struct {
	id        event.ProcessID
	keys      []string
	at        nodePID
	ppid      uint32
	entry     event.ProcessID
	place     Place
	container event.ContainerID
	self      event.Ancestor
	parent    *process         // nil when not known, or forgotten
	above     []event.Ancestor // of a process without a record: its own parents
	// starting is the container that a runtime made for this shim, and whose
	// first process has not shown yet.
	starting event.ContainerID
	ended    time.Time
	gone     bool
}

// orphaned is how long after its end a process can still be named as a parent:
// a runtime may be gone in the moment in which the command that it made begins.
const orphaned = 5 * time.Second

const (
	processesMax = 1 << 16
	parentsMax   = 16
	placedMax    = 1 << 14
	nodesMax     = 1 << 12
)

// New returns a tracker of the log that state describes: its witness, and what
// the log lacks. The state itself is reported with the first record of each
// node.
func New(state event.WitnessState) *Tracker {
	state.Up, state.Partial = true, true
	return &Tracker{
		state: state, greeted: map[string]bool{}, byKey: map[string]*process{}, byPID: map[nodePID]*process{},
		placed: map[event.ContainerID]Container{},
	}
}

func (t *Tracker) head(at time.Time, node string) event.Header {
	return event.Header{Time: at, Witness: t.state.Witness, Node: node}
}

// greet says what the log is, before the first thing that it tells of a node.
func (t *Tracker) greet(at time.Time, node string) []event.Observation {
	if t.greeted[node] || len(t.greeted) >= nodesMax {
		return nil
	}
	t.greeted[node] = true
	s := t.state
	s.Header, s.From = t.head(at, node), at
	return []event.Observation{s}
}

// Exec takes a record of a program that was run.
func (t *Tracker) Exec(s Seen) []event.Observation {
	parent := t.parent(&s)
	p, again := t.process(&s, parent)
	out := t.greet(s.Time, s.Node)
	switch enters := t.enters(&s, p, parent); {
	case !p.entry.IsZero() && (s.Container == "" || p.container == "" || s.Container == p.container):
	case enters:
		out = append(out, t.entry(&s, p, parent, again))
	case s.Place == Inside:
		p.place, p.container = Inside, s.Container
		t.Inside++
	case s.Place == Host:
		p.place = Host
	}
	p.self = event.Ancestor{ID: p.id, Comm: s.Name, Exe: cmp.Or(s.Exe.Path, s.Filename), Argv: s.Argv, Cred: s.Cred, TTY: s.TTY}
	t.starts(p, parent)
	if p.entry.IsZero() {
		return out
	}
	return append(out, event.ProcessExec{
		Header: t.head(s.Time, s.Node), ID: p.id, Parent: parentID(&s, p, parent), Entry: p.entry, Container: p.container,
		NSPID: s.NSPID, Filename: s.Filename, Argv: s.Argv, Exe: s.Exe, Cred: s.Cred, TTY: s.TTY,
	})
}

// Exit takes a record of a process that ended. A process that the log has not
// shown before tells nothing by its end. code is nil when the record has none.
func (t *Tracker) Exit(at time.Time, node, key string, pid uint32, code *int, signal int) []event.Observation {
	p := t.byKey[key]
	if key == "" {
		p = t.byPID[nodePID{node, pid}]
	}
	if p == nil || !p.ended.IsZero() {
		return nil
	}
	p.ended = at
	if p.entry.IsZero() {
		return nil
	}
	x := event.ProcessExit{Header: t.head(at, node), ID: p.id, Entry: p.entry, Signal: signal, NoCode: code == nil}
	if code != nil {
		x.Code = *code
	}
	return []event.Observation{x}
}

// parent returns the parent of s, made of what s says of it when no record of
// its own was seen; nil when nothing is known.
func (t *Tracker) parent(s *Seen) *process {
	p := t.byKey[s.ParentKey]
	if s.ParentKey == "" && s.PPID != 0 {
		p = t.byPID[nodePID{s.Node, s.PPID}]
	}
	if p != nil && !p.ended.IsZero() && s.Time.Sub(p.ended) > orphaned {
		p = nil // another process has its pid
	}
	if p != nil || len(s.Parents) == 0 {
		return p
	}
	first := s.Parents[0]
	p = &process{
		id: first.ID, at: nodePID{s.Node, s.PPID}, place: first.Place, container: first.Container, self: first.Ancestor,
	}
	if p.id.Start == 0 {
		p.id.PID = s.PPID
	}
	p.self.ID = p.id
	for _, a := range s.Parents[1:min(len(s.Parents), parentsMax)] {
		p.above = append(p.above, a.Ancestor)
	}
	if s.ParentKey != "" {
		p.keys = []string{s.ParentKey}
	}
	if s.ParentKey != "" || s.PPID != 0 {
		t.keep(p)
	}
	return p
}

// process returns the process that s is of; again says that it ran another
// program before.
func (t *Tracker) process(s *Seen, parent *process) (p *process, again bool) {
	switch known := t.byPID[nodePID{s.Node, s.PID}]; {
	case s.Key != "" && t.byKey[s.Key] != nil:
		p = t.byKey[s.Key]
	case parent != nil && s.Key != "" && parent.at.pid == s.PID && s.PID != 0 && parent.at.node == s.Node:
		p = parent // a tool that gives each program an id of its own
	case s.Key == "" && s.PID != 0 && known != nil && known.ended.IsZero() && (known.ppid == s.PPID || s.PPID == 0):
		p = known
	}
	if p != nil {
		if s.Key != "" && !slices.Contains(p.keys, s.Key) && len(p.keys) < parentsMax {
			p.keys = append(p.keys, s.Key)
			t.byKey[s.Key] = p
		}
		return p, true
	}
	p = &process{id: event.LoggedProcess(s.PID, s.Time), at: nodePID{s.Node, s.PID}, ppid: s.PPID}
	if s.Key != "" {
		p.keys = []string{s.Key}
	}
	if parent != nil {
		p.entry, p.container, p.place, p.parent = parent.entry, parent.container, parent.place, parent
	}
	t.keep(p)
	return p, false
}

// enters reports whether the process of s came into a container from outside, as
// far as the log knows.
func (t *Tracker) enters(s *Seen, p, parent *process) bool {
	if exe := cmp.Or(s.Exe.Path, s.Filename); isRuntime(s.Name, exe) || isShim(s.Name, exe) {
		return false // it is on its way in, or lets others in
	}
	outside := p.parent != nil && starts(p.parent.self)
	if s.Place != Inside {
		return outside && s.Place == Unknown
	}
	switch {
	case outside, s.Injected:
		return true
	case parent != nil && parent != p:
		return parent.place == Host
	case p.parent != nil || p.place != Unknown:
		return p.place == Host
	}
	return true // nothing at all is known of where it came from
}

// entry reports that the process of s came in.
func (t *Tracker) entry(s *Seen, p, parent *process, again bool) event.Observation {
	e := event.SessionEntry{
		Header: t.head(s.Time, s.Node), Root: p.id, Outer: p.entry, Cause: event.EntryReported, AtExec: again,
		Container: s.Container, Cred: s.Cred, Lineage: p.lineage(),
	}
	from := door(e.Lineage)
	e.Container = cmp.Or(e.Container, from.container)
	first := from.op == opCreate || s.NSPID == 1
	if parent != nil && parent.starting != "" && from.op == opNone {
		first = first || s.Container == "" || s.Container == parent.starting
		e.Container = cmp.Or(e.Container, parent.starting)
		parent.starting = ""
	}
	switch {
	case first && s.PID != 0: // nobody can tell two starts without pids apart
		e.Cause = event.EntryStart
	case from.op == opExec, s.Injected, s.NSPID > 1 && p.parent != nil && starts(p.parent.self):
		e.Cause = event.EntryInjected
	}
	p.entry, p.container, p.place = p.id, e.Container, Inside
	return e
}

// starts notes that a runtime makes a container for its shim.
func (t *Tracker) starts(p, parent *process) {
	if parent == nil || !isShim(parent.self.Comm, parent.self.Exe) || !isRuntime(p.self.Comm, p.self.Exe) {
		return
	}
	if d := door([]event.Ancestor{p.self}); d.op == opCreate {
		parent.starting = d.container
	}
}

func parentID(s *Seen, p, parent *process) event.ProcessID {
	switch {
	case parent != nil && parent != p:
		return parent.id
	case p.parent != nil:
		return p.parent.id
	}
	return event.ProcessID{PID: s.PPID}
}

// lineage lists the parents of p, the nearest first.
func (p *process) lineage() []event.Ancestor {
	var out []event.Ancestor
	for q := p.parent; q != nil && len(out) < parentsMax; q = q.parent {
		out = append(out, q.self)
		if q.parent == nil {
			out = append(out, q.above...)
		}
	}
	return out[:min(len(out), parentsMax)]
}

func (t *Tracker) keep(p *process) {
	for _, k := range p.keys {
		t.byKey[k] = p
	}
	if p.at.pid != 0 {
		t.byPID[p.at] = p
	}
	t.oldest = append(t.oldest, p)
	if len(t.oldest) > processesMax {
		t.forget(t.oldest[0])
		t.oldest = t.oldest[1:]
	}
}

func (t *Tracker) forget(p *process) {
	if p.gone {
		return
	}
	p.gone, p.parent = true, nil
	for _, k := range p.keys {
		if t.byKey[k] == p {
			delete(t.byKey, k)
		}
	}
	if t.byPID[p.at] == p {
		delete(t.byPID, p.at)
	}
}
