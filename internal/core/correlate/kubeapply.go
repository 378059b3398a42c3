package correlate

import (
	"cmp"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
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

// touchUnnamed looks again at sessions in pods that are without a name: what
// comes late may tell.
func (e *Engine) touchUnnamed() {
	if len(e.inside.containers.byID) == 0 && !e.kube.admissions {
		return // there is none
	}
	e.touchIf(func(c subject) bool {
		if k, ok := c.(*call); ok {
			return !k.vouched()
		}
		p := c.state().published
		return e.now.Before(c.state().lookAt) || p != nil && !named(p.Attribution.Level) && e.inside.inPod(targetOf(c))
	})
}

func named(l session.Level) bool { return l == session.LevelExact || l == session.LevelStrong }
