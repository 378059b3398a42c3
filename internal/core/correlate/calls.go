package correlate

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// callsMax bounds the requests to the API server that are remembered; see boundCalls.
const callsMax = 1 << 13

// calls are the requests to the API server: each is in byKey under its key, in
// byPod under the pod that it concerns, if any, and in byNonce when our webhook
// drew a nonce for it.
type calls struct {
	byKey   map[callKey]*call
	byPod   map[podName][]*call
	byNonce map[string]*call
	calm    int // requests that may still come before boundCalls looks again
}

func newCalls() calls {
	return calls{byKey: map[callKey]*call{}, byPod: map[podName][]*call{}, byNonce: map[string]*call{}}
}

func (cs *calls) add(key callKey, pod podName) *call {
	c := &call{key: key}
	cs.byKey[key] = c
	if pod.name != "" {
		cs.byPod[pod] = append(cs.byPod[pod], c)
	}
	return c
}

func (cs *calls) drop(c *call) {
	delete(cs.byKey, c.key)
	unlist(cs.byPod, c.pod(), c)
	if n := c.nonce(); n != "" && cs.byNonce[n] == c {
		delete(cs.byNonce, n)
	}
}

// retried reports whether c, refused, is the first half of a kubectl that tried
// by WebSocket and then again by SPDY: both are one deed.
func (cs *calls) retried(c *call) bool {
	f := c.fact()
	if f == nil || f.Verb != "get" || f.Op != event.KubeExec && f.Op != event.KubeAttach && f.Op != event.KubePortForward {
		return false
	}
	for _, o := range cs.byPod[c.pod()] {
		g := o.fact()
		if o == c || g == nil || g.Op != f.Op || g.Verb != "create" || g.User.Name != f.User.Name || g.Address != f.Address {
			continue
		}
		if d := g.Received.Sub(f.Received); d >= 0 && d < 5*time.Second && slices.Equal(f.Argv, g.Argv) && f.Container == g.Container {
			return true
		}
	}
	return false
}

func (e *Engine) applyKubeRequest(o event.KubeRequest) {
	e.kube.entered(o.Time)
	if o.Op == event.KubeAccessReview {
		e.kube.reviews = insert(e.kube.reviews, &o, reviewsMax)
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

func (e *Engine) call(key callKey, pod podName) *call {
	c := e.kube.byKey[key]
	if c == nil {
		e.boundCalls()
		c = e.kube.calls.add(key, pod)
	}
	return c
}

// absorb gives a request of the audit log what the webhook saw of it.
func (e *Engine) absorb(c *call, nonce string) {
	was := e.kube.byNonce[nonce]
	if was != nil && (was == c || was.adm == nil || was.fact() != nil) {
		return // a nonce is drawn once: whoever repeats it made it up
	}
	e.kube.byNonce[nonce] = c
	if was == nil {
		return
	}
	c.adm, c.told = was.adm, nil
	e.agenda.remove(was)
	was.st.gone = true
	c.st.published = cmp.Or(c.st.published, was.st.published)
	e.kube.calls.drop(was)
}

func (e *Engine) applyAdmission(o event.KubeAdmission) {
	e.kube.admissions = true
	if c := e.kube.byNonce[o.Nonce]; c != nil && c.adm == nil {
		c.adm, c.told = &o, nil
		e.kube.measure(c)
		e.touchCall(c)
		return
	}
	c := e.call(callKey{nonce: o.Nonce}, podName{o.Namespace, o.Pod})
	c.adm, c.told = &o, nil
	e.kube.byNonce[o.Nonce] = c
	e.touchCall(c)
}
