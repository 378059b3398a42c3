package correlate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// entry is a process tree that the kernel labelled: a root that came into a
// container from outside, and everything that descends from it.
type entry struct {
	st    state
	root  event.ProcessID
	fact  *event.SessionEntry // nil while only its processes were seen
	named event.ExecID        // as the runtime's arguments have it; see execID
	where event.ContainerID   // by the entry itself or by the root's exec
	procs map[event.ProcessID]*process
	total int // processes ever; of those beyond procsMax, the births that were seen
}

// procsMax bounds the processes remembered of one entry: a container's own
// tree may live for months.
const procsMax = 2 * session.MaxProcesses

// execsOfProcess bounds the programs remembered of one process.
const execsOfProcess = 16

func (n *entry) state() *state { return &n.st }

// process is what is known of one process of an entry.
type process struct {
	fork  *event.ProcessFork
	execs []event.ProcessExec // by time
	exit  *event.ProcessExit
}

// entries are the process trees that are known: each is in byRoot, in byPID under
// its root's host pid when that is known, and in byExec under the exec id that the
// arguments of its runtime name.
type entries struct {
	byRoot map[event.ProcessID]*entry
	byPID  map[uint32][]*entry
	byExec map[event.ExecID][]*entry
}

func newEntries() entries {
	return entries{byRoot: map[event.ProcessID]*entry{}, byPID: map[uint32][]*entry{}, byExec: map[event.ExecID][]*entry{}}
}

// entry returns the entry of a root, from now on a known one.
func (ns *entries) entry(root event.ProcessID) *entry {
	n := ns.byRoot[root]
	if n == nil {
		n = &entry{root: root, procs: map[event.ProcessID]*process{}}
		ns.byRoot[root] = n
		if root.PID != 0 {
			ns.byPID[root.PID] = append(ns.byPID[root.PID], n)
		}
	}
	return n
}

// cameIn notes how n came in.
func (ns *entries) cameIn(n *entry, o *event.SessionEntry) {
	if n.fact == nil || o.Cause != event.EntryFound {
		n.fact = o
		n.named = n.execID()
	}
	if id := n.named; id != "" && !slices.Contains(ns.byExec[id], n) {
		ns.byExec[id] = append(ns.byExec[id], n)
	}
}

// rootAt returns the entry whose root had pid at t: of several, the youngest.
func (ns *entries) rootAt(pid uint32, t time.Time) *entry {
	var best *entry
	for _, n := range ns.byPID[pid] {
		if n.alive(t) && (best == nil || n.root.Compare(best.root) > 0) {
			best = n
		}
	}
	return best
}

func (ns *entries) drop(n *entry) {
	delete(ns.byRoot, n.root)
	unlist(ns.byPID, n.root.PID, n)
	if n.fact != nil {
		unlist(ns.byExec, n.named, n)
	}
}

// forget takes the entry out of the indexes.
func (n *entry) forget(e *Engine) {
	n.st.gone = true
	e.agenda.remove(n)
	e.inside.dropEntry(n)
}

// process returns what is known of a process; nil when it is one too many to be
// remembered, which the root never is.
func (n *entry) process(id event.ProcessID) *process {
	p := n.procs[id]
	if p == nil && (len(n.procs) < procsMax || id == n.root) {
		n.total++
		p = &process{}
		n.procs[id] = p
	}
	return p
}

// born is when the root came in, by the kernel's clock.
func (n *entry) born() time.Time {
	if n.fact != nil {
		return n.fact.Time
	}
	if p := n.procs[n.root]; p != nil && len(p.execs) > 0 {
		return p.execs[0].Time
	}
	return time.Time{}
}

// ended returns the root's exit.
func (n *entry) ended() *event.ProcessExit {
	if p := n.procs[n.root]; p != nil {
		return p.exit
	}
	return nil
}

// alive reports whether a process with the root's pid that was reported at t
// can be this root.
func (n *entry) alive(t time.Time) bool {
	born := n.born()
	if born.IsZero() || born.After(t.Add(skew)) {
		return false
	}
	// A short command's end may precede the runtime's report of its start.
	exit := n.ended()
	return exit == nil || !exit.Time.Before(t.Add(-5*time.Second))
}

// ran reports whether the root executed a program: a runtime's child that did
// not find its command never does.
func (n *entry) ran() bool {
	p := n.procs[n.root]
	return p != nil && len(p.execs) > 0
}

// execID returns the exec id in the arguments of the runtime that made the
// entry: containerd's shims call it with --pid-file DIR/ID.pid.
func (n *entry) execID() event.ExecID {
	i := n.runtimeParent()
	if i < 0 || i+1 >= len(n.fact.Lineage) || !isShim(n.fact.Lineage[i+1]) {
		return ""
	}
	args := n.fact.Lineage[i].Argv.Args
	if n.fact.Lineage[i].Argv.Joined { // the id is looked for among execs that are known: no more is claimed
		args = strings.Fields(n.fact.Lineage[i].Argv.String())
	}
	at := slices.Index(args, "--pid-file")
	if at < 0 || at+1 >= len(args) || !slices.Contains(args[:at], "exec") {
		return ""
	}
	id, ok := strings.CutSuffix(base(args[at+1]), ".pid")
	if !ok {
		return ""
	}
	return event.ExecID(id)
}

// tree lists the entry's processes in order of start, the root first.
func (n *entry) tree() []session.Process {
	ids := make([]event.ProcessID, 0, len(n.procs))
	for id := range n.procs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b event.ProcessID) int { return rootFirst(n.root, a, b) })
	ids = ids[:min(len(ids), session.MaxProcesses)]
	out := make([]session.Process, 0, len(ids))
	for _, id := range ids {
		out = append(out, n.procs[id].show(id, n.fact))
	}
	return out
}

// rootFirst orders processes by start, with the root before all others.
func rootFirst(root, a, b event.ProcessID) int {
	switch {
	case a == b:
		return 0
	case a == root:
		return -1
	case b == root:
		return 1
	}
	return a.Compare(b)
}

// show renders what is known of one process. The birth of a root is its entry.
func (p *process) show(id event.ProcessID, root *event.SessionEntry) session.Process {
	out := session.Process{PID: id.PID, ID: id, Forked: len(p.execs) == 0}
	if p.fork != nil {
		out.PPID, out.NSPID, out.Start = p.fork.Parent.PID, p.fork.NSPID, p.fork.Time
		showCred(&out, p.fork.Cred)
	}
	if root != nil && root.Root == id {
		out.Start = root.Time
		showCred(&out, root.Cred)
		if len(root.Lineage) > 0 {
			out.PPID = root.Lineage[0].ID.PID
		}
	}
	for i, x := range p.execs {
		if i == len(p.execs)-1 {
			showExec(&out, x)
			continue
		}
		out.Execs = append(out.Execs, session.Program{Time: x.Time, Argv: x.Argv.Args, ArgvJoined: x.Argv.Joined, Exe: string(x.Exe.Path)})
	}
	if p.exit != nil {
		end := p.exit.Time
		out.End, out.ExitCode, out.Signal = &end, codeOf(p.exit), p.exit.Signal
	}
	return out
}

func codeOf(x *event.ProcessExit) *int {
	if x.NoCode {
		return nil
	}
	code := x.Code
	return &code
}

func showExec(out *session.Process, x event.ProcessExec) {
	if out.Start.IsZero() {
		out.Start = x.Time
	}
	if out.PPID == 0 {
		out.PPID = x.Parent.PID
	}
	out.NSPID = x.NSPID
	out.Argv, out.ArgvJoined = x.Argv.Args, x.Argv.Joined
	if x.Argv.Truncated && x.Argv.Hash != 0 {
		out.ArgvBytes, out.ArgvHash = x.Argv.Bytes, fmt.Sprintf("%016x", x.Argv.Hash)
	}
	out.Exe = string(x.Exe.Path)
	if f := string(x.Filename); f != out.Exe {
		out.Filename = f
	}
	out.Inode, out.UpperLayer, out.Memfd = x.Exe.Inode, x.Exe.UpperLayer, x.Exe.Memfd
	out.TTY = x.TTY
	showCred(out, x.Cred)
}

func showCred(out *session.Process, c event.Cred) {
	out.UID, out.GID, out.NoUID, out.NoGID, out.UserName = c.UID, c.GID, c.NoUID, c.NoGID, c.User
}
