package correlate

import (
	"cmp"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// kube is what the engine knows of Kubernetes: pods, requests to the API
// server, and how far the witnesses that come late have come.
type kube struct {
	pods    *pods // of a fleet: all engines have the same
	calls   map[callKey]*call
	byPod   map[podName][]*call
	byNonce map[string]*call
	reviews []*event.KubeRequest // access reviews by nodes, by time
	// through is up to when the audit log has told everything, where its
	// witness says so; newest is the time of its youngest entry; lag is the
	// longest that an entry took to arrive.
	through, newest time.Time
	lag             time.Duration
	clocks          map[string]event.Clock
	// admissions says that the admission webhook told of a request.
	admissions bool
	calm       int // requests that may still come before boundCalls looks again
}

func newKube(pods *pods) kube {
	return kube{
		pods: pods, calls: map[callKey]*call{}, byPod: map[podName][]*call{},
		byNonce: map[string]*call{}, clocks: map[string]event.Clock{},
	}
}

// podName names a pod at a time: names are used again.
type podName struct{ namespace, name string }

const (
	reviewsMax = 1024    // access reviews remembered
	callsMax   = 1 << 13 // requests to the API server remembered; see boundCalls
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

// podPlace is a container's place in a pod, as the API server or the node's
// runtime tells it. The runtime knows no specification.
type podPlace struct {
	pod       podName
	uid       string
	container string
	sandbox   bool
	spec      *event.KubeContainer
	node      string
	owner     string
	static    bool
	time      time.Time
}

// place notes c's place in a pod. What only the API server knows stays when the
// runtime repeats the rest.
func (c *container) place(p podPlace, at time.Time) {
	p.time = at
	was := c.pod
	if was == nil {
		c.pod = &p
		return
	}
	p.sandbox = p.sandbox || was.sandbox
	if p.pod == was.pod {
		p.uid, p.container = cmp.Or(p.uid, was.uid), cmp.Or(p.container, was.container)
	}
	newer := !at.Before(was.time)
	if p.spec == nil || was.spec != nil && !newer {
		p.spec, p.node, p.owner, p.static = was.spec, was.node, was.owner, was.static
	}
	if !newer {
		p.time = was.time
	}
	c.pod = &p
}

// podAt returns the life of a pod's name around t, or nil.
func (e *Engine) podAt(name podName, uid string, t time.Time) *event.KubePod {
	return e.kube.pods.at(name, uid, t)
}

func (e *Engine) applyProgress(o event.Progress) {
	switch {
	case o.Witness == event.WitnessKernel:
		e.applyRead(o.Through)
	case o.Witness == event.WitnessAudit && o.Through.After(e.kube.through):
		e.kube.through = o.Through
		e.touchUnnamed()
	}
}

func (e *Engine) applyClock(o event.Clock) {
	if was, ok := e.kube.clocks[o.Of]; !ok || !o.Time.Before(was.Time) {
		e.kube.clocks[o.Of] = o
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

// unmeasured is how far the API server's clock may be off while nobody has
// measured it.
const unmeasured = time.Second

// local turns a time by the API server's clock into this host's, with the most
// by which that can be wrong.
func (e *Engine) local(t time.Time) (time.Time, time.Duration) {
	off, err := time.Duration(0), unmeasured
	if c, ok := e.kube.clocks["apiserver"]; ok {
		off, err = -time.Duration(c.Offset), time.Duration(c.Error)
	}
	if own, ok := e.kube.clocks[e.site.name()]; ok && own.Of != "apiserver" {
		off += time.Duration(own.Offset)
		err += time.Duration(own.Error)
	}
	return t.Add(off), err
}

// An audit log arrives nearly in order, and after a while: auditDisorder is how
// far its entries may be out of order, auditWait how long it may be silent, when
// nothing else is known. A name rests on both only in so far as nobody else can
// have asked for the same.
const (
	auditDisorder = 10 * time.Second
	auditWait     = 2 * time.Minute
)

// auditSettled reports whether the audit log has told of everything that was
// asked before t: its witness says so, much younger entries have come, or it
// had more time than it has ever needed.
func (e *Engine) auditSettled(t time.Time) bool {
	through := e.kube.through
	if n := e.kube.newest.Add(-auditDisorder); n.After(through) {
		through = n
	}
	if at, err := e.local(through); !at.Add(-err).Before(t) {
		return true
	}
	return !e.now.Before(t.Add(auditWait + 2*e.kube.lag))
}

// asksKnown reports whether every request to the API server for a command that
// began at t is known: the admission webhook saw them come, or the audit log
// has told of them.
func (e *Engine) asksKnown(t time.Time) bool {
	from := t.Add(-e.opt.Window)
	if e.coverage.whole(event.WitnessAdmission, "", from, t) {
		return e.settled(t)
	}
	return e.coverage.whole(event.WitnessAudit, "", from, t) && e.auditSettled(t)
}
