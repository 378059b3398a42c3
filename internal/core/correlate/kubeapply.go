package correlate

import (
	"cmp"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

func (e *Engine) applyPod(o event.KubePod) {
	if e.site.alone() { // else the Fleet has seen to that
		e.kube.pods.apply(o)
	}
	for k := range o.Containers {
		id := o.Containers[k].ID
		if c := e.inside.container(id); c != nil {
			e.inside.placeAsTold(c)
		}
		if id != "" {
			e.touchContainer(id)
		}
	}
}

func (e *Engine) applyRuntimeContainer(o event.RuntimeContainer) {
	c := e.container(e.inside.wholeID(o.ID))
	c.namespace = cmp.Or(o.Namespace, c.namespace)
	if c.cri == nil || o.Witness == event.WitnessContainerd {
		c.cri = &o
	}
	if o.Pod != "" {
		e.inside.placeInPod(c, podPlace{pod: podName{o.PodNamespace, o.Pod}, uid: o.PodUID, container: o.Name, sandbox: o.Sandbox}, o.Time)
	}
	e.touchContainer(c.id)
}

func (e *Engine) applyProgress(o event.Progress) {
	switch {
	case o.Witness == event.WitnessKernel:
		e.applyRead(o.Through)
	case o.Witness == event.WitnessAudit && e.kube.progress(o.Through):
		e.touchUnnamed()
	}
}

func (e *Engine) applyClock(o event.Clock) {
	if e.kube.measured(o) {
		e.touchSince(time.Time{}) // every window has moved
	}
}

// applyRead notes how far the kernel sensor has told everything, and looks again
// at what waited for that. The latest word counts: the clock may be set back.
func (e *Engine) applyRead(through time.Time) {
	e.coverage.through = through
	for _, c := range e.agenda.told(through) {
		e.touch(c, true)
	}
}
