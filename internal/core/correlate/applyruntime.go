package correlate

import (
	"cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

func (e *Engine) applyRuntime(o event.RuntimeEvent) {
	c := e.container(o.Container)
	c.namespace = o.Namespace
	if o.ExecID == "" {
		e.applyRunEvent(o)
		return
	}
	x := e.exec(o.ExecID, o.Container, o)
	switch o.Action {
	case event.RuntimeExecAdded:
		x.added = &o
	case event.RuntimeExecStarted:
		x.started = &o
		e.pidOf(x, o.PID)
	case event.RuntimeExit:
		x.exited = &o
	case event.RuntimeCreate, event.RuntimeStart, event.RuntimeDelete:
	}
	e.doors.pace.note(x)
	e.touch(x, true)
}

func (e *Engine) applyTask(o event.RuntimeTask) {
	e.container(o.Container).namespace = o.Namespace
	if o.ExecID != "" {
		x := e.exec(o.ExecID, o.Container, o)
		x.task = &o
		e.pidOf(x, o.PID)
		e.touch(x, true)
		return
	}
	if o.PID != 0 {
		r := e.run(newRunKey(o.Container, o.PID))
		r.task = &o
		e.touch(r, true)
	}
}

func (e *Engine) applyRunEvent(o event.RuntimeEvent) {
	if o.PID == 0 {
		return
	}
	key := newRunKey(o.Container, o.PID)
	if o.Action == event.RuntimeExit && e.inside.runs.byKey[key] == nil && len(e.inside.execs.byPID[o.PID]) > 0 {
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

func (e *Engine) applyRuntimeContainer(o event.RuntimeContainer) {
	c := e.container(e.inside.wholeID(o.ID))
	c.namespace = cmp.Or(o.Namespace, c.namespace)
	c.crio = c.crio || o.Witness == event.WitnessCRIO
	if c.cri == nil || o.Witness == event.WitnessContainerd || o.Witness == event.WitnessCRIO {
		c.cri = &o
	}
	if o.Pod != "" {
		e.inside.placeInPod(c, podPlace{pod: podName{o.PodNamespace, o.Pod}, uid: o.PodUID, container: o.Name, sandbox: o.Sandbox}, o.Time)
	}
	e.touchContainer(c.id)
}

func (e *Engine) applyRuntimeRequest(o event.RuntimeRequest) {
	c := e.doors.conn(o.ID.Conn)
	e.doors.introduce(c, o.Service, o.Peer)
	if c.hear(&o) {
		e.doors.unsettle()
	}
	if !e.doors.keep(c, &o) {
		e.touchAround(c.opened)
		return
	}
	e.touchIf(func(s subject) bool { return names(&o, targetOf(s)) })
}
