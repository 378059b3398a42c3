package correlate

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
)

func (e *Engine) applyContainer(o event.DockerContainer) {
	c := e.container(o.ID)
	c.infos = insert(c.infos, o, 8)
	c.info = &c.infos[len(c.infos)-1]
	if o.InitPID != 0 {
		r := e.run(newRunKey(o.ID, o.InitPID))
		e.touch(r, true)
	}
	e.touchContainer(o.ID)
}

func (e *Engine) applyDockerEvent(o event.DockerEvent) {
	switch o.Action {
	case event.DockerExecCreate, event.DockerExecStart, event.DockerExecDie, event.DockerExecDetach:
		if c := e.container(o.Container); slices.Contains(o.Forged, "execID") {
			c.forged = insert(c.forged, o, eventsMax)
			e.touchContainer(o.Container)
		} else if o.ExecID != "" {
			x := e.exec(o.ExecID, o.Container, o)
			x.docker = insert(x.docker, o, 16)
			e.touch(x, true)
		}
		return
	case event.DockerAttach, event.DockerDetach, event.DockerCopyIn, event.DockerCopyOut:
		e.applyStreamEvent(o)
	case event.DockerCreate, event.DockerStart, event.DockerRestart, event.DockerDie,
		event.DockerDestroy, event.DockerRename, event.DockerHealth, event.DockerOtherAction:
	}
	c := e.container(o.Container)
	c.events = insert(c.events, o, eventsMax)
	if o.Action == event.DockerStart {
		// Only a short-lived container has nothing but this; see run.derive.
		e.touch(e.run(runKey{container: o.Container, event: o.Time.UnixNano()}), true)
	}
	if o.Action == event.DockerDie {
		for _, r := range c.runs { // also one that has been running quietly for long
			e.touch(r, true)
		}
	}
	e.touchContainer(o.Container)
}

func (e *Engine) applyDockerExec(o event.DockerExec) {
	x := e.exec(o.ID, o.Container, o)
	if x.inspect == nil || knows(o) > knows(*x.inspect) || knows(o) == knows(*x.inspect) && o.Time.After(x.inspect.Time) {
		x.inspect = &o
	}
	e.pidOf(x, o.PID)
	e.touch(x, true)
}

func knows(o event.DockerExec) int {
	n := 0
	if o.PID != 0 {
		n += 2
	}
	if o.ExitCode != nil {
		n++
	}
	return n
}

func (e *Engine) applyRequest(o event.DockerRequest) {
	r := e.doors.request(o.ID)
	r.DockerRequest, r.asked = o, true
	if !o.Plugin { // which knows of no connections
		c := e.doors.conn(o.ID.Conn)
		e.doors.introduce(c, c.service, o.Peer)
		c.lives(o.Time)
		if !o.Certain {
			c.blurred = true
		}
	}
	if o.Op == event.OpExecStart && o.ExecID != "" {
		e.doors.claim(o.ExecID, r)
	}
	e.relate(r)
}

func (e *Engine) applyAnswer(o event.DockerAnswer) {
	r := e.doors.request(o.ID)
	r.answer = &o
	e.doors.conn(o.ID.Conn).lives(o.Time)
	if o.Op == event.OpExecCreate && o.Created != "" {
		e.doors.claim(event.ExecID(o.Created), r)
	}
	e.relate(r)
}

// relate looks again at the sessions that a request may concern.
func (e *Engine) relate(r *request) {
	e.touchExecs(r.ExecID)
	if r.answer != nil {
		e.touchExecs(event.ExecID(r.answer.Created))
	}
	switch r.Op {
	case event.OpContainerCreate, event.OpContainerStart, event.OpAttach, event.OpCopyIn, event.OpCopyOut:
		for _, u := range e.inside.runs.byKey {
			if e.inside.refersTo(r, u.key.container) {
				e.touch(u, true)
			}
		}
		e.applyStreamRequest(r)
	case event.OpExecCreate, event.OpExecStart, event.OpOther:
	}
	if r.refused != nil {
		e.touch(r.refused, true)
	}
	if r.answer != nil && r.answer.Status == forbidden {
		e.touchRefused(r)
	}
}

var streamOps = map[event.DockerAction]event.DockerOp{
	event.DockerAttach:  event.OpAttach,
	event.DockerCopyIn:  event.OpCopyIn,
	event.DockerCopyOut: event.OpCopyOut,
}

// applyStreamEvent keeps Docker's event as a stream of its own; derive leaves
// it to the request that accounts for it.
func (e *Engine) applyStreamEvent(o event.DockerEvent) {
	op, ok := streamOps[o.Action]
	if !ok {
		return // detach ends a stream: see ended
	}
	s := &stream{op: op, container: o.Container, began: &o}
	e.streams.add(s)
	e.touch(s, true)
	e.touchStreams(o.Container)
}

func (e *Engine) applyStreamRequest(r *request) {
	if r.Op != event.OpAttach && r.Op != event.OpCopyIn && r.Op != event.OpCopyOut || !r.asked || !r.Certain || r.nameless() {
		return
	}
	s := e.streams.byID[r.ID]
	if s == nil {
		s = &stream{id: r.ID, op: r.Op, req: r}
		e.streams.add(s)
	}
	s.container = e.inside.resolve(r)
	e.touch(s, true)
	e.touchStreams(s.container)
}

func (e *Engine) applyDecision(o event.Decision) {
	switch {
	case o.ExecID == "" && o.Container != "":
		e.applyVerdict(o)
		return
	case o.ExecID != "":
		x := e.exec(o.ExecID, o.Container, o)
		x.decision = &o
		e.touch(x, true)
		return
	}
	r := e.doors.request(o.Request)
	if r.decision == nil || r.decision.Waiting {
		r.decision = &o
	}
	if r.stopped() && r.refused == nil {
		r.refused = &refusal{req: r}
		e.touch(r.refused, true)
	}
	if r.asked {
		e.relate(r)
	}
}
