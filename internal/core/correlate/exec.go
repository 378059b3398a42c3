package correlate

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// execKey names one exec. Docker's and CRI's ids are random and stand alone;
// ids that a person chose (ctr) are unique only within a container. Any of them may
// be used again: n numbers the execs of one id; see lives.
type execKey struct {
	container event.ContainerID
	id        event.ExecID
	n         int
}

func newExecKey(id event.ExecID, in event.ContainerID) execKey {
	if randomID(string(id)) {
		return execKey{id: id}
	}
	return execKey{container: in, id: id}
}

// exec is one exec through a runtime: everything that carries its exec id.
type exec struct {
	st        state
	key       execKey
	container event.ContainerID
	pids      []uint32          // that its root is said to have
	inspect   *event.DockerExec // the latest that knows most
	life
}

func (x *exec) state() *state { return &x.st }

// randomID reports whether id is of the kind that daemons draw: 64 hex digits.
func randomID(id string) bool {
	if len(id) != 64 {
		return false
	}
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// execs are the execs that are known: each is in byKey under its key, in byID under
// its exec id, and in byPID under every host pid that its root is said to have.
type execs struct {
	byKey map[execKey]*exec
	byID  map[event.ExecID][]*exec // exec ids chosen by ctr need not be unique
	byPID map[uint32][]*exec
}

func newExecs() execs {
	return execs{byKey: map[execKey]*exec{}, byID: map[event.ExecID][]*exec{}, byPID: map[uint32][]*exec{}}
}

func (xs *execs) add(key execKey, in *container) *exec {
	for xs.byKey[key] != nil {
		key.n++
	}
	x := &exec{key: key, container: in.id}
	xs.byKey[key] = x
	xs.byID[key.id] = append(xs.byID[key.id], x)
	in.execs = append(in.execs, x)
	return x
}

// at notes that x's root has this host pid, and reports whether that is news.
func (xs *execs) at(pid uint32, x *exec) bool {
	if pid == 0 || slices.Contains(x.pids, pid) {
		return false
	}
	x.pids = append(x.pids, pid)
	xs.byPID[pid] = append(xs.byPID[pid], x)
	return true
}

func (xs *execs) drop(x *exec) {
	delete(xs.byKey, x.key)
	unlist(xs.byID, x.key.id, x)
	for _, pid := range x.pids {
		unlist(xs.byPID, pid, x)
	}
}

func (x *exec) forget(e *Engine) {
	if n := e.inside.entryOf(x); n != nil {
		n.forget(e)
	}
	e.inside.dropExec(x)
}

// begun reports whether the exec was started, or is said to have been.
func (x *exec) begun() bool {
	if x.added != nil || x.started != nil || x.exited != nil || x.task != nil {
		return true
	}
	if x.inspect != nil && (x.inspect.PID != 0 || x.inspect.Running || x.inspect.ExitCode != nil) {
		return true
	}
	return x.event(event.DockerExecStart) != nil || x.event(event.DockerExecDie) != nil
}

// seenStarting reports whether the start itself was observed, so that asked is
// the time of the start and not of something later.
func (x *exec) seenStarting() bool {
	return x.added != nil || x.started != nil || x.event(event.DockerExecStart) != nil ||
		!x.begun() && x.event(event.DockerExecCreate) != nil
}

func (x *exec) event(a event.DockerAction) *event.DockerEvent {
	for i := range x.docker {
		if x.docker[i].Action == a {
			return &x.docker[i]
		}
	}
	return nil
}

// created is when the exec was created, as far as known.
func (x *exec) created() time.Time {
	if c := x.event(event.DockerExecCreate); c != nil {
		return c.Time
	}
	if x.inspect != nil {
		return x.inspect.Time
	}
	if x.stopped() {
		return x.decision.Time
	}
	return time.Time{}
}

// stopped reports whether a guard at the runtime had it not begin.
func (x *exec) stopped() bool { return x.decision != nil && x.decision.Stopped }

// asked is when the exec was started, by the first that tells; the moment for
// which connections count as candidates. One that was never started was asked
// for when it was created.
func (x *exec) asked() time.Time {
	if !x.begun() {
		return x.created()
	}
	var t time.Time
	for _, o := range []*event.RuntimeEvent{x.added, x.started, x.exited} {
		if o != nil && (t.IsZero() || o.Time.Before(t)) {
			t = o.Time
		}
	}
	if s := x.event(event.DockerExecStart); s != nil && (t.IsZero() || s.Time.Before(t)) {
		t = s.Time
	}
	if t.IsZero() && x.event(event.DockerExecDie) != nil {
		t = x.event(event.DockerExecDie).Time
	}
	if t.IsZero() && x.task != nil {
		t = x.task.Time
	}
	if t.IsZero() && x.inspect != nil {
		t = x.inspect.Time
	}
	return t
}

// ran reports whether a process is known to have run.
func (x *exec) ran() bool { return x.started != nil || x.exited != nil || x.task != nil }
