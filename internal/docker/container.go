package docker

import (
	"errors"
	"slices"

	"github.com/moby/moby/api/types/events"

	"github.com/sallyport/sallyport/internal/core/event"
)

// containerEvent tells an event of a container, as soon as the container's
// labels are known, and asks for what the event leaves out.
func (f *follower) containerEvent(m *events.Message) {
	id := m.Actor.ID
	if _, known := f.labels[id]; !known {
		if labels, ok := forgeableIn(m); ok {
			f.learn(id, labels)
		}
	}
	labels, known := f.labels[id]
	if !known && id != "" && f.heldN < heldMax && f.inspect(id) {
		f.held[id] = append(f.held[id], *m)
		f.heldN++
		return
	}
	f.tell(m, labels, known)
}

// tell reports an event and asks for what it leaves out.
func (f *follower) tell(m *events.Message, labels forgeable, known bool) {
	o := translate(m)
	o.Forged = labels.forged(m)
	if !known {
		o.Forged = unvouched(m)
	}
	f.stats.events.Add(1)
	f.emit(o)
	switch o.Action {
	case event.DockerCreate, event.DockerStart, event.DockerRestart, event.DockerRename:
		f.inspect(m.Actor.ID)
	case event.DockerDestroy:
		delete(f.labels, m.Actor.ID)
	case event.DockerExecCreate, event.DockerExecStart:
		f.askExec(m.Actor.ID, &o)
	case event.DockerOtherAction:
		if m.Action == events.ActionUpdate {
			f.inspect(m.Actor.ID)
		}
	}
}

// askExec asks for the exec of an event; where labels hide which one it is, for
// the container, which names its live execs.
func (f *follower) askExec(container string, o *event.DockerEvent) {
	if o.ExecID == "" || slices.Contains(o.Forged, "execID") {
		f.inspect(container)
		return
	}
	f.seenExec(string(o.ExecID))
	f.inspector.ask(question{exec: string(o.ExecID)})
}

// inspect asks for a container; a second time when it is being asked for.
func (f *follower) inspect(id string) bool {
	if id == "" {
		return false
	}
	if _, asked := f.pending[id]; asked {
		f.pending[id] = true
		return true
	}
	if !f.inspector.ask(question{container: id}) {
		return false
	}
	f.pending[id] = false
	return true
}

// learn remembers which attributes a container's labels forge.
func (f *follower) learn(id string, labels forgeable) {
	if len(f.labels) >= containersMax {
		for old := range f.labels { // any: what is forgotten is asked for again
			delete(f.labels, old)
			break
		}
	}
	f.labels[id] = labels
}

// reply takes an answer of the daemon's.
func (f *follower) reply(r reply) {
	switch {
	case r.err != nil && !errors.Is(r.err, errGone):
		f.stats.failed.Add(1)
		f.opts.Logger.Debug("docker inspect", "container", r.asked.container, "exec", r.asked.exec, "error", r.err)
	case r.err != nil: // gone
	case r.exec != nil:
		starting := r.exec.Running && r.exec.Pid == 0
		if starting {
			f.inspector.again(r.asked)
		}
		if !starting || r.asked.tries == 0 {
			f.stats.inspects.Add(1)
			f.emit(r.exec.observation(r.at))
		}
	case r.info != nil:
		f.learn(r.asked.container, forgeableOf(r.info.Config.Labels))
		f.stats.inspects.Add(1)
		f.emit(r.info.observation(r.at))
		f.askExecs(r.asked.container, r.info.ExecIDs)
	default:
		for _, id := range r.running {
			f.inspect(id)
		}
	}
	if id := r.asked.container; id != "" {
		again := f.pending[id]
		delete(f.pending, id)
		f.release(id)
		if again && r.err == nil {
			f.inspect(id)
		}
	}
}

// release tells the events that waited for a container's labels, known or not.
func (f *follower) release(id string) {
	held := f.held[id]
	delete(f.held, id)
	f.heldN -= len(held)
	for i := range held {
		labels, known := f.labels[id]
		f.tell(&held[i], labels, known)
	}
}

// askExecs asks for live execs that no event told of.
func (f *follower) askExecs(container string, ids []string) {
	_, hidden := f.labels[container]["execID"]
	for _, id := range ids {
		if !f.seenExec(id) || hidden {
			f.inspector.ask(question{exec: id})
		}
	}
}

// seenExec reports whether the exec was seen, and remembers it.
func (f *follower) seenExec(id string) bool {
	if f.execSeen[id] {
		return true
	}
	if len(f.execSeen) >= execsMax {
		clear(f.execSeen) // some will be asked for twice
	}
	f.execSeen[id] = true
	return false
}
