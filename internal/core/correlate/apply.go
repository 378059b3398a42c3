package correlate

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// apply sorts one observation into the facts.
func (e *Engine) apply(o event.Observation) {
	switch o := o.(type) {
	case event.Tick:
	case event.Host:
		e.site.learn(o)
	case event.WitnessState:
		e.applyState(o)
	case event.Loss:
		e.applyLoss(o)
	case event.SessionEntry:
		e.applyEntry(o)
	case event.ProcessExec:
		e.applyProcessExec(o)
	case event.ProcessFork:
		e.applyFork(o)
	case event.ProcessExit:
		e.applyExit(o)
	case event.ClientConnect:
		e.applyConnect(o)
	case event.ClientClose:
		e.applyClose(o)
	case event.DockerRequest:
		e.applyRequest(o)
	case event.DockerAnswer:
		e.applyAnswer(o)
	case event.Decision:
		e.applyDecision(o)
	case event.GateSighting:
		e.applyGate(o)
	case event.DockerEvent:
		e.applyDockerEvent(o)
	case event.DockerContainer:
		e.applyContainer(o)
	case event.DockerExec:
		e.applyDockerExec(o)
	case event.RuntimeEvent:
		e.applyRuntime(o)
	case event.RuntimeTask:
		e.applyTask(o)
	case event.RuntimeRequest:
		e.applyRuntimeRequest(o)
	case event.RuntimeContainer:
		e.applyRuntimeContainer(o)
	case event.KubeRequest:
		e.applyKubeRequest(o)
	case event.KubeAdmission:
		e.applyAdmission(o)
	case event.KubePod:
		e.applyPod(o)
	case event.Progress:
		e.applyProgress(o)
	case event.Clock:
		e.applyClock(o)
	}
}

func (e *Engine) applyState(s event.WitnessState) {
	e.coverage.learn(s)
	e.doors.unsettle()
	e.touchSince(s.Time)
}

func (e *Engine) applyLoss(l event.Loss) {
	e.coverage.lose(l)
	e.doors.unsettle()
	e.touchSince(l.From)
}

func (e *Engine) applyProgress(o event.Progress) {
	switch {
	case o.Witness == event.WitnessKernel:
		e.coverage.told(o.Through)
		for _, c := range e.agenda.told(o.Through) {
			e.touch(c, true)
		}
	case o.Witness == event.WitnessAudit && e.kube.progress(o.Through):
		e.touchUnnamed()
	}
}

func (e *Engine) applyClock(o event.Clock) {
	if e.kube.measured(o) {
		e.touchSince(time.Time{}) // every window has moved
	}
}

// container returns a container, from now on a known one.
func (e *Engine) container(id event.ContainerID) *container {
	c := e.inside.seen(id)
	if c == nil {
		c = e.inside.containers.add(id)
		for _, short := range e.inside.abbreviations(c) {
			e.merge(short, c)
		}
	}
	return c
}

// merge gives the container to what is known of the container from, which is the
// same one under the beginning of its id.
func (e *Engine) merge(from, to *container) {
	e.inside.merge(from, to)
	for _, n := range from.entries {
		e.touchEntry(n, true)
	}
	if to.cri == nil {
		to.cri = from.cri
	}
	if from.pod != nil {
		e.inside.placeInPod(to, *from.pod, from.pod.time)
	}
	e.inside.containers.drop(from)
}

// pidOf notes that x's root has this host pid.
func (e *Engine) pidOf(x *exec, pid uint32) {
	if e.inside.execs.at(pid, x) {
		for _, n := range e.inside.entries.byPID[pid] {
			e.touch(n, true)
		}
	}
}

// run returns a run, from now on a known one.
func (e *Engine) run(key runKey) *run {
	r := e.inside.runs.byKey[key]
	if r == nil {
		r = e.inside.runs.add(key, e.container(key.container))
		if key.pid != 0 {
			for _, n := range e.inside.entries.byPID[key.pid] {
				e.touch(n, true)
			}
		}
	}
	return r
}
