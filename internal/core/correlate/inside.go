package correlate

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// inside is what is, or was, in the containers of a site: the containers, what the
// service doors say of execs and starts, and the process trees that the process
// door saw come in. A container lists the execs, runs and entries that are in it,
// and each of those is in the index of its kind.
//
// What belongs together is not kept but found anew, by exec id, by host pid and
// time, and by container: either half may come late, or turn out to be another's.
type inside struct {
	coverage *coverage
	containers
	execs
	runs
	entries
}

func newInside(c *coverage, pods *pods) inside {
	return inside{coverage: c, containers: newContainers(pods), execs: newExecs(), runs: newRuns(), entries: newEntries()}
}

func (in *inside) dropExec(x *exec) {
	in.execs.drop(x)
	if c := in.seen(x.container); c != nil {
		c.execs = without(c.execs, x)
	}
}

// dropRun takes a run away, and its container with the last one, unless Docker
// still has it.
func (in *inside) dropRun(r *run) {
	in.runs.drop(r)
	c := in.seen(r.key.container)
	c.runs = without(c.runs, r)
	if len(c.runs) == 0 && (c.info == nil || c.destroyed()) {
		in.containers.drop(c)
	}
}

func (in *inside) dropEntry(n *entry) {
	in.entries.drop(n)
	if c := in.seen(n.where); c != nil {
		c.entries = without(c.entries, n)
	}
}

// merge gives the container to the runs and entries of from.
func (in *inside) merge(from, to *container) {
	for _, r := range from.runs {
		delete(in.runs.byKey, r.key)
		r.key.container = to.id
		if in.runs.byKey[r.key] == nil {
			in.runs.byKey[r.key] = r
			to.runs = append(to.runs, r)
		}
	}
	for _, n := range from.entries {
		in.place(n, to)
	}
}

// place notes which container n is in.
func (in *inside) place(n *entry, c *container) {
	n.where = c.id
	c.entries = append(c.entries, n)
}

func without[T comparable](list []T, v T) []T {
	return slices.DeleteFunc(list, func(w T) bool { return w == v })
}

// entryOf returns the process tree that the runtime's pid points to.
func (in *inside) entryOf(x *exec) *entry {
	if x.started != nil {
		if n := in.rootAt(x.started.PID, x.started.Time); n != nil {
			return n
		}
	}
	if x.task != nil && x.task.PID != 0 {
		if n := in.rootAt(x.task.PID, x.task.Time); n != nil {
			return n
		}
	}
	if x.inspect != nil && x.inspect.PID != 0 {
		if n := in.rootAt(x.inspect.PID, x.inspect.Time); n != nil {
			return n
		}
	}
	for _, n := range in.entries.byExec[x.key.id] {
		if n.ran() && in.namedBy(n) == x {
			return n
		}
	}
	return nil
}

// namedBy returns the exec that the arguments of n's runtime name. A process
// can say what it likes about itself, so this counts only where nobody knows
// better: containerd was not heard, or nothing ran in n anyway.
func (in *inside) namedBy(n *entry) *exec {
	if n.fact == nil || n.ran() && in.coverage.whole(event.WitnessContainerd, "", n.born(), n.born()) {
		return nil
	}
	for _, x := range in.execs.byID[n.named] {
		if x.container == n.where && len(x.pids) == 0 {
			return x
		}
	}
	return nil
}

// execOf returns the exec that accounts for n.
func (in *inside) execOf(n *entry) *exec {
	for _, x := range in.execs.byPID[n.root.PID] {
		if in.entryOf(x) == n {
			return x
		}
	}
	return in.namedBy(n)
}

// rootOf returns the process tree of a run.
func (in *inside) rootOf(r *run) *entry {
	var best *entry
	for _, n := range in.entries.byPID[r.key.pid] {
		fits := n.where == r.key.container || n.where == "" && n.alive(r.reported())
		if fits && (best == nil || n.root.Compare(best.root) > 0) {
			best = n
		}
	}
	return best
}

// runOf returns the run that accounts for n.
func (in *inside) runOf(n *entry) *run {
	for _, r := range in.runs.byPID[n.root.PID] {
		if in.rootOf(r) == n {
			return r
		}
	}
	return nil
}

// owned reports whether c is a process tree that an exec or a run accounts for.
func (in *inside) owned(c subject) bool {
	n, ok := c.(*entry)
	return ok && (in.execOf(n) != nil || in.runOf(n) != nil)
}

// begins is when the run began, by the best source.
func (in *inside) begins(r *run) time.Time {
	if n := in.rootOf(r); n != nil && n.fact != nil && n.fact.Cause != event.EntryFound {
		return n.born()
	}
	if t := r.reported(); !t.IsZero() && r.task == nil {
		return t
	}
	if c := in.seen(r.key.container); c != nil {
		for _, info := range c.infos {
			if info.InitPID == r.key.pid && !info.StartedAt.IsZero() {
				return info.StartedAt
			}
		}
	}
	if n := in.rootOf(r); n != nil {
		return n.born()
	}
	return r.reported()
}

// covers reports whether Docker's start event at t belongs to r: the engine
// writes it after the runtime started the task, and before it starts another.
func (in *inside) covers(r *run, t time.Time) bool {
	begins := in.begins(r)
	if begins.IsZero() || begins.After(t.Add(skew)) {
		return false
	}
	for _, o := range in.runsIn(r.key.container) {
		if b := in.begins(o); o != r && o.key.pid != 0 && b.After(begins) && !b.After(t.Add(skew)) {
			return false
		}
	}
	return true
}

// first reports whether this is the container's first life: it was created for
// it, as by docker run.
func (in *inside) first(r *run, begins time.Time) bool {
	c := in.seen(r.key.container)
	made := slices.ContainsFunc(c.events, func(ev event.DockerEvent) bool {
		return ev.Action == event.DockerCreate && !ev.Time.After(begins.Add(skew))
	}) || c.info != nil && !c.info.Created.IsZero() && begins.Sub(c.info.Created) < 10*time.Second
	if !made {
		return false
	}
	for _, o := range in.runsIn(r.key.container) {
		if o != r && o.key.pid != 0 && in.begins(o).Before(begins) {
			return false
		}
	}
	return true
}

// firstSince returns the first run of such containers that began at t or later;
// one that only an event of Docker's tells of, when there is no other.
func (in *inside) firstSince(t time.Time, match func(event.ContainerID) bool) *run {
	var list []*run
	for _, r := range in.runs.byKey {
		if match(r.key.container) && !in.begins(r).Before(t.Add(-skew)) {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return slices.MinFunc(list, func(a, b *run) int {
		if (a.key.pid == 0) != (b.key.pid == 0) {
			return cmp.Compare(b.key.pid, a.key.pid)
		}
		return cmp.Or(in.begins(a).Compare(in.begins(b)), cmp.Compare(a.key.String(), b.key.String()))
	})
}

// dockerEvent returns Docker's event of r, if one came.
func (in *inside) dockerEvent(r *run, a event.DockerAction) *event.DockerEvent {
	c := in.seen(r.key.container)
	for i := range c.events {
		if ev := &c.events[i]; ev.Action == a && in.covers(r, ev.Time) {
			return ev
		}
	}
	return nil
}

// ran reports whether the run came so far that its command was executed.
func (in *inside) ran(r *run) bool {
	n := in.rootOf(r)
	return r.started != nil || n == nil || n.ran()
}

// dockerKnows reports whether Docker told of the container; while it still may,
// it is assumed to.
func (in *inside) dockerKnows(r *run) bool {
	c := in.seen(r.key.container)
	if c.info != nil || len(c.events) > 0 {
		return true
	}
	t := in.begins(r)
	if docker := in.coverage.at(event.WitnessDocker, t); c.crio || in.byConmon(r) && (docker == nil || !docker.Up) {
		return false
	}
	return !in.coverage.wouldTell(event.WitnessDocker, "", t)
}

// byConmon reports whether the run was started by what CRI-O and Podman use, and Docker
// does not.
func (in *inside) byConmon(r *run) bool {
	n := in.rootOf(r)
	if n == nil || n.fact == nil {
		return false
	}
	i := n.runtimeParent() + 1
	return i < len(n.fact.Lineage) && isConmon(n.fact.Lineage[i])
}

// isHealthcheck reports whether x runs what the daemon runs in that container
// by itself. Whether the daemon did, another question, is attributeHealthcheck's.
func (in *inside) isHealthcheck(x *exec) bool {
	c := in.seen(x.container)
	if x.inspect != nil && x.inspect.Argv != nil {
		return c.isHealthcheck(x.inspect.Argv, "")
	}
	if n := in.entryOf(x); n != nil {
		if p := n.procs[n.root]; p != nil && len(p.execs) > 0 && p.execs[0].Argv.Joined {
			return c.isHealthcheck(nil, p.execs[0].Argv.String())
		} else if p != nil && len(p.execs) > 0 && !p.execs[0].Argv.Truncated {
			return c.isHealthcheck(p.execs[0].Argv.Args, "")
		}
	}
	if ev := x.event(event.DockerExecCreate); ev != nil {
		return c.isHealthcheck(nil, ev.Command)
	}
	return false
}

// byShim reports whether a service let n in: a container's shim, or CRI-O itself.
func (in *inside) byShim(n *entry) bool {
	i := n.runtimeParent() + 1
	return i < len(n.fact.Lineage) && (in.isShimOf(n.where, n.fact.Lineage[i]) || i > 0 && in.byCRIO(n.where, n.fact.Lineage[i:]))
}

// byCRIO reports whether CRI-O called a runtime whose parents these are: by itself
// for a stream, for exec_sync through a conmon that is not the container's own. A name
// is easily taken: where it is known which process CRI-O is, it is that and no other;
// where it is not, the container has to be CRI-O's.
func (in *inside) byCRIO(id event.ContainerID, parents []event.Ancestor) bool {
	if len(parents) > 1 && isShim(parents[0]) {
		parents = parents[1:]
	}
	if !isCRIO(parents[0]) {
		return false
	}
	is, told := in.coverage.serves(event.WitnessCRIO, parents[0].ID.PID)
	c := in.seen(id)
	return is || !told && c != nil && c.crio
}

// isShimOf reports whether a is the shim of that container. A name is easily
// taken: where the parent of the container's own first process is known, it is
// that process and no other. But Podman has a conmon for every exec; of CRI-O's, CRI-O
// itself is the proof.
func (in *inside) isShimOf(id event.ContainerID, a event.Ancestor) bool {
	if !isShim(a) {
		return false
	}
	c := in.seen(id)
	for _, r := range in.runsIn(id) {
		n := in.rootOf(r)
		if n == nil || n.fact == nil {
			continue
		}
		for _, p := range n.fact.Lineage {
			switch {
			case !isShim(p):
			case isConmon(p) && isConmon(a) && !c.crio:
				return true
			case p.ID.Logged() == a.ID.Logged():
				return p.ID == a.ID
			}
		}
	}
	return true
}

// input says whether what the client of an attach types reaches anybody: it asked
// for that, and the container's first process has a standard input.
func (in *inside) input(s *stream) *bool {
	if c := in.seen(s.container); c != nil && c.info != nil && c.info.Stdin != nil && !*c.info.Stdin {
		return c.info.Stdin
	}
	if s.req != nil {
		return &s.req.Stdin
	}
	return nil
}

// partOfRun reports whether an attach is the streams of a docker run: it came
// between the container's create and its start.
func (in *inside) partOfRun(s *stream) bool {
	c := in.seen(s.container)
	if c == nil {
		return false
	}
	for _, r := range in.runsIn(s.container) {
		b := in.begins(r)
		if wait := b.Sub(s.time()); wait > -skew && wait < time.Minute && in.first(r, b) {
			return true
		}
	}
	return false
}

// unlist takes v out of the list of k, and the list out of m when it was the last.
func unlist[K, V comparable](m map[K][]V, k K, v V) {
	if list := without(m[k], v); len(list) > 0 {
		m[k] = list
	} else {
		delete(m, k)
	}
}
