package correlate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// attributePodRun finds who asked for a container of a pod to be started. A
// pod's name is used by one pod at a time and a container's by one container in
// it, so the request that made the pod, or put the container into it, is tied
// by an id.
func (e *Engine) attributePodRun(r *run, s *session.Session) {
	place := e.inside.seen(r.key.container).pod
	none(s)
	made := e.kube.makers(place, s.Started)
	switch {
	case len(made) == 1:
		known(s, session.LevelExact, e.kube.actor(made[0]), append([]string{viaPodUID}, via(made[0])...)...)
		o := made[0].ask().object
		if o != nil && o.Debug && !o.HostAccess.Plain() {
			s.Kind, s.Channel = session.KindDebug, event.ChannelKubeDebugNode
		}
		s.Target.HostAccess = cmp.Or(s.Target.HostAccess, o.AccessOf(place.container))
		if k := o.Container(place.container); k != nil && place.spec == nil {
			s.Carried = besides(k)
		}
	case len(made) > 1:
		var actors []session.Actor
		for _, c := range made {
			actors = appendIdentity(actors, e.kube.actor(c))
		}
		s.Attribution = session.Attribution{Level: session.LevelSet, Via: []string{viaWindow}, Candidates: actors}
	}
	e.kube.explainRun(place, s)
	e.kube.awaitAudit(r, s.Started, len(made) > 0 || e.kube.auditSettled(s.Started))
}

func podKind(p *podPlace) session.Kind {
	if p.spec != nil && p.spec.Kind == event.KubeEphemeralDebug {
		return session.KindDebug
	}
	return session.KindStart
}

func podChannel(p *podPlace) event.Channel {
	kind := event.KubeApp
	if p.spec != nil {
		kind = p.spec.Kind
	}
	switch {
	case p.static:
		return event.ChannelKubeletStatic
	case kind == event.KubeInit:
		return event.ChannelKubeInit
	case kind == event.KubeSidecar:
		return event.ChannelKubeSidecar
	case kind == event.KubeEphemeralDebug:
		return event.ChannelKubeEphemeral
	case strings.HasPrefix(p.owner, "Job/"):
		return event.ChannelKubeCron
	case p.owner != "" && !strings.HasPrefix(p.owner, "Node/"):
		return event.ChannelKubeWorkload
	}
	return event.ChannelKubePod
}

// makers returns the requests that made the pod, or put the ephemeral container
// into it, before it began. While the pod's specification is not known, neither
// is which of the two it was: then both can be.
func (ku *kube) makers(p *podPlace, began time.Time) []*call {
	ephemeral := p.spec != nil && p.spec.Kind == event.KubeEphemeralDebug
	var pods, debugs []*call
	for _, c := range ku.callsTo(p.pod) {
		a := c.ask()
		if c.refused() || ku.twin(c) || ku.earliest(c).After(began) || a.object != nil && a.object.UID != "" && p.uid != "" && a.object.UID != p.uid {
			continue
		}
		switch {
		case a.op == event.KubePodChange && !ephemeral && (a.verb == "create" || a.verb == "") && ku.canHold(a.object, p, began):
			pods = []*call{c} // the latest life of the name
		case a.op == event.KubeEphemeral && (ephemeral || p.spec == nil) && a.object.Container(p.container) != nil: // of others it is not known which container they put
			debugs = append(debugs, c)
		}
	}
	made := append(pods, debugs...)
	return slices.DeleteFunc(made, func(c *call) bool {
		return slices.ContainsFunc(made, func(d *call) bool { return ku.repeats(c, d) })
	})
}

// repeats reports whether c, which only the webhook saw, is a second asking about
// request d: the API server asks again when it carries out a change anew after
// a conflict, and only the first nonce is in the audit event.
func (ku *kube) repeats(c, d *call) bool {
	if c.fact() != nil || d.complete == nil || c.adm.User.Name != d.fact().User.Name {
		return false
	}
	until, _ := ku.latest(d)
	return causes(ku.earliest(d), c.adm.Time) && causes(c.adm.Time, until)
}

// canHold reports whether a pod that was made so can hold container p from its
// beginning: its specification is known and says so, or else nobody can have put
// it there later.
func (ku *kube) canHold(made *event.KubeObject, p *podPlace, began time.Time) bool {
	if p.spec != nil || p.sandbox {
		return true
	}
	if made != nil && len(made.Containers) > 0 {
		return made.Container(p.container) != nil
	}
	return ku.auditSettled(began) && !slices.ContainsFunc(ku.callsTo(p.pod), func(c *call) bool { return c.ask().op == event.KubeEphemeral })
}

// startOf returns the start of a container that c asked for, or nil: the start
// then tells of both. A change of what is there already stands for itself.
func (ku *kube) startOf(c *call) *run {
	a := c.ask()
	if a.op != event.KubeEphemeral && a.op != event.KubePodChange {
		return nil
	}
	var first *run
	for _, k := range ku.inside.ofPod(a.pod) {
		if k.pod.sandbox {
			continue
		}
		for _, r := range k.runs {
			began := ku.inside.begins(r)
			if slices.Contains(ku.makers(k.pod, began), c) && (first == nil || began.Before(ku.inside.begins(first))) {
				first = r
			}
		}
	}
	return first
}

// podTarget completes a target with the container's place in its pod.
func (c *container) podTarget(t *session.Target) {
	p := c.pod
	if p == nil {
		return
	}
	t.Namespace, t.Pod, t.PodUID, t.ContainerName = p.pod.namespace, p.pod.name, p.uid, p.container
	t.Workload, t.Node = p.owner, cmp.Or(p.node, t.Node)
	if p.spec != nil {
		t.Image = cmp.Or(p.spec.Image, t.Image)
	}
	if c.cri != nil {
		t.Image, t.Runtime = cmp.Or(t.Image, c.cri.Image), cmp.Or(c.cri.Runtime, t.Runtime)
	}
}

// explainRun says whether a container of a pod lacks its request.
func (ku *kube) explainRun(p *podPlace, s *session.Session) {
	if s.Attribution.Level != session.LevelNone || p.sandbox {
		return
	}
	pod := ku.podAt(p.pod, p.uid, s.Started)
	switch {
	case p.static:
		s.Unexplained = session.Unexplained{Is: true, Reason: "a static pod: a file on the node asked for it, and whoever wrote that"}
	case ku.coverage.before(s.Started) || pod != nil && !pod.Started.IsZero() && pod.Started.Add(ku.opt.Window).Before(s.Started):
		// The pod was there before; who made it, made it before we looked.
	case ku.coverage.whole(event.WitnessAudit, "", s.Started.Add(-time.Minute), s.Started) && ku.auditSettled(s.Started):
		s.Unexplained = session.Unexplained{Is: true, Reason: "no request at the API server made this pod"}
	}
}
