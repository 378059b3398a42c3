package correlate

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// run is one life of a container, from the start of its first process to its
// end. A restart makes another.
type run struct {
	st      state
	key     runKey
	created *event.RuntimeEvent // task_create
	started *event.RuntimeEvent // task_start
	exited  *event.RuntimeEvent
	task    *event.RuntimeTask // found running
}

func (r *run) state() *state { return &r.st }

func (r *run) sessionID() session.ID {
	return sessionID("start", string(r.key.container), r.key.String())
}

func (e *Engine) run(key runKey) *run {
	r := e.runs[key]
	if r == nil {
		r = &run{key: key}
		c := e.container(key.container)
		c.runs = append(c.runs, r)
		e.runs[key] = r
		if key.pid != 0 {
			e.runsByPID[key.pid] = append(e.runsByPID[key.pid], r)
			for _, n := range e.rootsByPID[key.pid] {
				e.touch(n, true)
			}
		}
	}
	return r
}

func (r *run) forget(e *Engine) {
	if n := e.rootOf(r); n != nil {
		n.forget(e)
	}
	delete(e.runs, r.key)
	unlist(e.runsByPID, r.key.pid, r)
	c := e.containers[r.key.container]
	c.runs = slices.DeleteFunc(c.runs, func(o *run) bool { return o == r })
	if len(c.runs) == 0 && (c.info == nil || c.destroyed()) {
		e.dropContainer(r.key.container)
		if c.pod != nil {
			unlist(e.kube.in, c.pod.pod, c.id)
		}
	}
}

func (c *container) destroyed() bool {
	return slices.ContainsFunc(c.events, func(ev event.DockerEvent) bool { return ev.Action == event.DockerDestroy })
}

func (e *Engine) applyRunEvent(o event.RuntimeEvent) {
	if o.PID == 0 {
		return
	}
	key := newRunKey(o.Container, o.PID)
	if o.Action == event.RuntimeExit && e.runs[key] == nil && len(e.execsByPID[o.PID]) > 0 {
		return
	}
	r := e.run(key)
	switch o.Action {
	case event.RuntimeCreate:
		r.created = &o
	case event.RuntimeStart:
		r.started = &o
	case event.RuntimeExit:
		r.exited = &o
	case event.RuntimeDelete, event.RuntimeExecAdded, event.RuntimeExecStarted:
	}
	e.touch(r, true)
}

// rootOf returns the process tree of a run.
func (e *Engine) rootOf(r *run) *entry {
	var best *entry
	for _, n := range e.rootsByPID[r.key.pid] {
		fits := n.where == r.key.container || n.where == "" && n.alive(r.reported())
		if fits && (best == nil || n.root.Compare(best.root) > 0) {
			best = n
		}
	}
	return best
}

// runOf returns the run that accounts for n.
func (e *Engine) runOf(n *entry) *run {
	for _, r := range e.runsByPID[n.root.PID] {
		if e.rootOf(r) == n {
			return r
		}
	}
	return nil
}

// reported is when a service door first told of the run.
func (r *run) reported() time.Time {
	switch {
	case r.started != nil:
		return r.started.Time
	case r.created != nil:
		return r.created.Time
	case r.task != nil:
		return r.task.Time
	case r.key.event != 0:
		return time.Unix(0, r.key.event).UTC()
	case r.exited != nil:
		return r.exited.Time
	}
	return time.Time{}
}

// begins is when the run began, by the best source.
func (e *Engine) begins(r *run) time.Time {
	if n := e.rootOf(r); n != nil && n.fact != nil && n.fact.Cause != event.EntryFound {
		return n.born()
	}
	if t := r.reported(); !t.IsZero() && r.task == nil {
		return t
	}
	if c := e.containers[r.key.container]; c != nil {
		for _, in := range c.infos {
			if in.InitPID == r.key.pid && !in.StartedAt.IsZero() {
				return in.StartedAt
			}
		}
	}
	if n := e.rootOf(r); n != nil {
		return n.born()
	}
	return r.reported()
}

// covers reports whether Docker's start event at t belongs to r: the engine
// writes it after the runtime started the task, and before it starts another.
func (e *Engine) covers(r *run, t time.Time) bool {
	begins := e.begins(r)
	if begins.IsZero() || begins.After(t.Add(skew)) {
		return false
	}
	for _, o := range e.runsIn(r.key.container) {
		if b := e.begins(o); o != r && o.key.pid != 0 && b.After(begins) && !b.After(t.Add(skew)) {
			return false
		}
	}
	return true
}

func (e *Engine) runsIn(id event.ContainerID) []*run {
	if c := e.containers[id]; c != nil {
		return c.runs
	}
	return nil
}

// dockerEvent returns Docker's event of r, if one came.
func (e *Engine) dockerEvent(r *run, a event.DockerAction) *event.DockerEvent {
	c := e.containers[r.key.container]
	for i := range c.events {
		if ev := &c.events[i]; ev.Action == a && e.covers(r, ev.Time) {
			return ev
		}
	}
	return nil
}

func (r *run) derive(e *Engine) (session.Session, bool) {
	if r.key.pid == 0 && slices.ContainsFunc(e.runsIn(r.key.container), func(o *run) bool {
		return o.key.pid != 0 && e.covers(o, r.reported())
	}) {
		return session.Session{}, false
	}
	n := e.rootOf(r)
	s := session.Session{
		ID:   r.sessionID(),
		Kind: session.KindStart, Channel: event.ChannelDockerStart, State: session.StateRunning,
		Target: e.target(r.key.container), Started: e.begins(r),
	}
	creates := e.creates(r.key.container)
	if s.Target.HostAccess == nil {
		s.Target.HostAccess = askedAccess(creates)
	}
	if n != nil {
		n.showTree(&s, &e.coverage)
	}
	s.Carried = e.containers[r.key.container].carried()
	r.command(e, &s)
	r.outcome(e, &s, n)
	e.coverage.unsure(&s, n, nil)
	e.attributeRun(r, n, &s)
	e.coverage.stamp(&s)
	s.Evidence = r.evidence(e, n, creates)
	return s, true
}

// creates returns the requests that made a container, as the answers to them say.
func (e *Engine) creates(id event.ContainerID) []*request {
	var out []*request
	for _, r := range e.requests {
		if r.Op == event.OpContainerCreate && e.refersTo(r, id) {
			out = append(out, r)
		}
	}
	return out
}

// askedAccess returns what of the host the request that made a container asked
// for, where it was read: some containers are gone before they can be inspected.
func askedAccess(creates []*request) *event.HostAccess {
	for _, r := range creates {
		if r.asked && r.Certain && r.succeeded() {
			return r.HostAccess
		}
	}
	return nil
}

func (r *run) command(e *Engine, s *session.Session) {
	c := e.containers[r.key.container]
	if c.info != nil {
		s.Stdin = c.info.Stdin
	} else if c.pod != nil && c.pod.spec != nil {
		s.Stdin = &c.pod.spec.Stdin
	}
	if c.info != nil && c.info.Argv != nil {
		s.Argv, s.ArgvSource, s.TTY = c.info.Argv, "inspect", c.info.TTY
		return
	}
	if c.cri != nil && c.cri.Argv != nil {
		s.Argv, s.ArgvSource, s.TTY = c.cri.Argv, "inspect", c.cri.TTY
		return
	}
	argvOfRoot(s)
}

func (r *run) outcome(e *Engine, s *session.Session, n *entry) {
	if n != nil && n.ended() != nil && !e.ran(r) && e.dockerEvent(r, event.DockerStart) == nil {
		s.State, s.Ended = session.StateFailed, &n.ended().Time
		return
	}
	conclude(s, n, r.exited, e.dockerEvent(r, event.DockerDie))
}

// first reports whether this is the container's first life: it was created for
// it, as by docker run.
func (e *Engine) first(r *run, begins time.Time) bool {
	c := e.containers[r.key.container]
	made := slices.ContainsFunc(c.events, func(ev event.DockerEvent) bool {
		return ev.Action == event.DockerCreate && !ev.Time.After(begins.Add(skew))
	}) || c.info != nil && !c.info.Created.IsZero() && begins.Sub(c.info.Created) < 10*time.Second
	if !made {
		return false
	}
	for _, o := range e.runsIn(r.key.container) {
		if o != r && o.key.pid != 0 && e.begins(o).Before(begins) {
			return false
		}
	}
	return true
}
