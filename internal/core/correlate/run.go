package correlate

import (
	"slices"
	"strconv"
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

// runKey names one run of a container: by the host pid of its first process or,
// when nobody told the pid, by the time of Docker's start event.
type runKey struct {
	container event.ContainerID
	pid       uint32
	event     int64
}

func newRunKey(c event.ContainerID, pid uint32) runKey { return runKey{container: c, pid: pid} }

func (k runKey) String() string {
	return string(k.container) + " " + strconv.FormatUint(uint64(k.pid), 10) + " " + strconv.FormatInt(k.event, 10)
}

// runs are the runs that are known: each is in byKey under its key, and in byPID
// under the host pid of its first process when that is known.
type runs struct {
	byKey map[runKey]*run
	byPID map[uint32][]*run
}

func newRuns() runs { return runs{byKey: map[runKey]*run{}, byPID: map[uint32][]*run{}} }

func (rs *runs) add(key runKey, in *container) *run {
	r := &run{key: key}
	in.runs = append(in.runs, r)
	rs.byKey[key] = r
	if key.pid != 0 {
		rs.byPID[key.pid] = append(rs.byPID[key.pid], r)
	}
	return r
}

func (rs *runs) drop(r *run) {
	delete(rs.byKey, r.key)
	unlist(rs.byPID, r.key.pid, r)
}

func (r *run) forget(e *Engine) {
	if n := e.inside.rootOf(r); n != nil {
		n.forget(e)
	}
	e.inside.dropRun(r)
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

func (r *run) derive(e *Engine, s *session.Session) bool {
	if r.key.pid == 0 && slices.ContainsFunc(e.inside.runsIn(r.key.container), func(o *run) bool {
		return o.key.pid != 0 && e.inside.covers(o, r.reported())
	}) {
		return false
	}
	n := e.inside.rootOf(r)
	*s = session.Session{
		ID:   r.sessionID(),
		Kind: session.KindStart, Channel: event.ChannelDockerStart, State: session.StateRunning,
		Target: e.target(r.key.container), Started: e.inside.begins(r),
	}
	creates := e.doors.creates(r.key.container)
	if s.Target.HostAccess == nil {
		s.Target.HostAccess = askedAccess(creates)
	}
	if n != nil {
		n.showTree(s, &e.coverage)
	}
	s.Carried = e.inside.seen(r.key.container).carried()
	r.command(e, s)
	r.outcome(e, s, n)
	e.coverage.unsure(s, n, nil)
	e.attributeRun(r, n, s)
	if d := e.doors.verdictOn(r, s.Started); d != nil {
		s.Decision = asDecided(d)
	}
	e.coverage.stamp(s)
	s.Evidence = r.evidence(e, n, creates)
	return true
}

func (r *run) command(e *Engine, s *session.Session) {
	c := e.inside.seen(r.key.container)
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
	if n != nil && n.ended() != nil && !e.inside.ran(r) && e.inside.dockerEvent(r, event.DockerStart) == nil {
		s.State, s.Ended = session.StateFailed, &n.ended().Time
		return
	}
	conclude(s, n, r.exited, e.inside.dockerEvent(r, event.DockerDie))
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
