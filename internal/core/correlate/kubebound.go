package correlate

import (
	"cmp"
	"slices"

	"github.com/sallyport/sallyport/internal/core/session"
)

// boundCalls makes room for a request when callsMax are remembered: those about
// which nothing was told for longest are forgotten, down to three quarters. They
// are streams whose end has not been told, as a rule; when it is, it makes the
// session anew. What has not settled stays, however much it is.
func (e *Engine) boundCalls() {
	if e.kube.calm > 0 || len(e.kube.byKey) < callsMax {
		e.kube.calm = max(0, e.kube.calm-1)
		return
	}
	e.kube.calm = callsMax / 4
	settled := e.now.Add(-e.opt.Settle - e.opt.Window)
	var calls []*call
	for _, c := range e.kube.byKey {
		if c.st.lastSeen.Before(settled) {
			calls = append(calls, c)
		}
	}
	slices.SortFunc(calls, func(a, b *call) int {
		return cmp.Or(a.st.lastSeen.Compare(b.st.lastSeen), cmp.Compare(a.sessionID(), b.sessionID()))
	})
	for _, c := range calls[:min(len(calls), len(e.kube.byKey)-callsMax*3/4)] {
		e.missed(c)
		if p := c.st.published; p == nil || p.State != session.StateRunning {
			e.expire(c)
			continue
		}
		c.st.gone = true
		e.agenda.remove(c)
		c.forget(e)
	}
	e.changed()
}
