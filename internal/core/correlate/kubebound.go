package correlate

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// sweepPods forgets pods that are gone for longer than evidence is awaited, with
// those of their containers that nothing else is known of. Of more than podsMax
// names it forgets those of which nothing was told for longest.
func (e *Engine) sweepPods() {
	old := e.now.Add(-max(e.opt.Late, e.opt.Keep))
	for name, lives := range e.kube.pods {
		gone := func(p event.KubePod) bool { return p.Deleted && p.Time.Before(old) }
		if !slices.ContainsFunc(lives, gone) {
			continue
		}
		if lives = slices.DeleteFunc(lives, gone); len(lives) == 0 {
			e.forgetPod(name)
		} else {
			e.kube.pods[name] = lives
		}
	}
	if n := len(e.kube.pods) - podsMax; n > 0 {
		names := slices.SortedFunc(maps.Keys(e.kube.pods), func(a, b podName) int {
			return cmp.Or(lastTold(e.kube.pods[a]).Compare(lastTold(e.kube.pods[b])), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
		})
		for _, name := range names[:n] {
			e.forgetPod(name)
		}
	}
}

func lastTold(lives []event.KubePod) time.Time { return lives[len(lives)-1].Time }

func (e *Engine) forgetPod(name podName) {
	delete(e.kube.pods, name)
	for _, id := range slices.Clone(e.kube.in[name]) {
		k := e.containers[id]
		if k != nil && (k.info != nil || len(k.runs)+len(k.execs)+len(k.entries)+len(k.events) > 0) {
			continue
		}
		delete(e.containers, id)
		unlist(e.kube.in, name, id)
	}
}

// boundCalls makes room for a request when callsMax are remembered: those about
// which nothing was told for longest are forgotten, down to three quarters. They
// are streams whose end has not been told, as a rule; when it is, it makes the
// session anew. What has not settled stays, however much it is.
func (e *Engine) boundCalls() {
	if e.kube.calm > 0 || len(e.kube.calls) < callsMax {
		e.kube.calm = max(0, e.kube.calm-1)
		return
	}
	e.kube.calm = callsMax / 4
	settled := e.now.Add(-e.opt.Settle - e.opt.Window)
	var calls []*call
	for _, c := range e.kube.calls {
		if c.st.lastSeen.Before(settled) {
			calls = append(calls, c)
		}
	}
	slices.SortFunc(calls, func(a, b *call) int {
		return cmp.Or(a.st.lastSeen.Compare(b.st.lastSeen), cmp.Compare(a.sessionID(), b.sessionID()))
	})
	for _, c := range calls[:min(len(calls), len(e.kube.calls)-callsMax*3/4)] {
		e.forgot(c.st.firstSeen)
		if c.st.index >= 0 {
			e.unschedule(c)
		}
		if p := c.st.published; p == nil || p.State != session.StateRunning {
			e.expire(c)
			continue
		}
		c.st.gone = true
		c.forget(e)
	}
	e.changed()
}
