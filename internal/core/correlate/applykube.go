package correlate

import (
	"cmp"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

func (e *Engine) applyKubeRequest(o event.KubeRequest) {
	e.kube.entered(o.Time)
	if o.Op == event.KubeAccessReview {
		e.kube.review(&o)
		e.touchUnnamed()
		return
	}
	c := e.call(callKey{id: o.ID, received: o.Received.UnixNano(), user: o.User.Name, uri: o.URI}, podName{o.Namespace, o.Pod})
	c.learn(&o)
	if o.Nonce != "" && c.adm == nil {
		e.absorb(c, o.Nonce)
	}
	e.kube.measure(c)
	e.touchCall(c)
}

func (e *Engine) applyAdmission(o event.KubeAdmission) {
	c := e.kube.byNonce[o.Nonce]
	if c == nil || c.adm != nil {
		c = e.call(callKey{nonce: o.Nonce}, podName{o.Namespace, o.Pod})
	}
	e.kube.admit(c, &o)
	e.touchCall(c)
}

func (e *Engine) call(key callKey, pod podName) *call {
	c := e.kube.byKey[key]
	if c == nil {
		e.boundCalls()
		c = e.kube.calls.add(key, pod)
	}
	return c
}

// absorb gives a request of the audit log what the webhook saw of it, and the
// session that was made of that.
func (e *Engine) absorb(c *call, nonce string) {
	if was := e.kube.absorb(c, nonce); was != nil {
		e.agenda.remove(was)
		was.st.gone = true
		c.st.published = cmp.Or(c.st.published, was.st.published)
	}
}

func (e *Engine) applyPod(o event.KubePod) {
	if e.site.alone() { // else the Fleet has seen to that
		e.kube.pods.apply(o)
	}
	for k := range o.Containers {
		id := o.Containers[k].ID
		if c := e.inside.seen(id); c != nil {
			e.inside.placeAsTold(c)
		}
		if id != "" {
			e.touchContainer(id)
		}
	}
}

// boundCalls makes room for a request. What is forgotten are streams whose end has
// not been told, as a rule; when it is, it makes the session anew.
func (e *Engine) boundCalls() {
	surplus := e.kube.surplus(e.now.Add(-e.opt.Settle - e.opt.Window))
	for _, c := range surplus {
		e.missed(c)
		if p := c.st.published; p == nil || p.State != session.StateRunning {
			e.expire(c)
			continue
		}
		c.st.gone = true
		e.agenda.remove(c)
		c.forget(e)
	}
	if len(surplus) > 0 {
		e.changed()
	}
}
