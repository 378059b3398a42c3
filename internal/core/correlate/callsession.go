package correlate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// derive makes a session of a request that starts no process, or whose process
// nobody saw.
func (c *call) derive(e *Engine, s *session.Session) bool {
	a := c.ask()
	if !e.site.responsible(e.kube.nodeOf(c)) || e.kube.twin(c) || e.kube.madeUp(c) {
		return false
	}
	if f := c.fact(); f != nil && f.Op == event.KubeOther && !foreignNode(f) {
		return false
	}
	if commands(a.op) && !c.refused() {
		if !e.settled(e.kube.earliest(c)) || len(e.choices.arrivalsOf(c)) > 0 {
			return false
		}
	}
	if c.refused() && e.kube.retried(c) || a.op == event.KubeNodeProxy || e.kube.startOf(c) != nil {
		return false
	}
	*s = session.Session{
		ID: c.sessionID(), State: session.StateRunning, Started: e.kube.earliest(c), Argv: a.argv, TTY: a.tty, Stdin: a.input(),
		Target: e.targetOfCall(c), Path: a.path,
	}
	if a.argv != nil {
		s.ArgvSource = a.argvSource()
	}
	if f := c.fact(); f != nil {
		s.AuditID, s.Verb = f.ID, f.Verb
		s.Started, _ = e.kube.local(f.Received)
	}
	c.classify(e, s)
	c.outcome(e, s)
	switch {
	case !c.identified():
		none(s)
		s.Gaps = append(s.Gaps, gapReceived)
	case c.vouched():
		known(s, session.LevelExact, e.kube.actor(c), via(c)...)
	default:
		oneOf(s, []session.Actor{e.kube.actor(c)}, false)
	}
	c.explain(e, s)
	e.coverage.stamp(s)
	s.Evidence = c.evidence()
	return true
}

var callKinds = map[event.KubeOp]struct {
	kind    session.Kind
	channel event.Channel
}{
	event.KubeExec:         {session.KindExec, event.ChannelKubeExecSPDY},
	event.KubeAttach:       {session.KindAttach, event.ChannelKubeAttach},
	event.KubePortForward:  {session.KindForward, event.ChannelKubeForward},
	event.KubeEphemeral:    {session.KindDebug, event.ChannelKubeEphemeral},
	event.KubeNodeExec:     {session.KindExec, event.ChannelKubeNodeExec},
	event.KubeNodeRun:      {session.KindExec, event.ChannelKubeNodeRun},
	event.KubeNodeAttach:   {session.KindAttach, event.ChannelKubeNodeExec},
	event.KubeNodeForward:  {session.KindForward, event.ChannelKubeNodeExec},
	event.KubeNodeProxy:    {session.KindProxy, event.ChannelUnknown},
	event.KubePodProxy:     {session.KindProxy, event.ChannelKubePodProxy},
	event.KubeServiceProxy: {session.KindProxy, event.ChannelKubeServiceProxy},
	event.KubePodChange:    {session.KindChange, event.ChannelKubePod},
	event.KubeWorkload:     {session.KindChange, event.ChannelKubeWorkload},
	event.KubeDoor:         {session.KindDoor, event.ChannelUnknown},
	event.KubeOther:        {session.KindIdentity, event.ChannelKubeletCred},
}

// channelOf returns the kind and channel of a request.
func (c *call) channelOf() (session.Kind, event.Channel) {
	a := c.ask()
	k := callKinds[a.op]
	ws := a.verb == "get"
	switch {
	case a.op == event.KubeExec && ws:
		k.channel = event.ChannelKubeExecWS
	case a.op == event.KubeAttach && ws:
		k.channel = event.ChannelKubeAttachWS
	case a.op == event.KubePodChange && (a.verb == "patch" || a.verb == "update"):
		k.channel = event.ChannelKubePatchImage
	case a.op == event.KubePodChange && a.object != nil && a.object.Mirror:
		k.channel = event.ChannelKubeletStatic
	case a.op == event.KubePodChange && a.object != nil && a.object.Debug && !a.object.HostAccess.Plain():
		k.channel = event.ChannelKubeDebugNode
	case a.op == event.KubeWorkload && a.object != nil && a.object.Kind == "CronJob":
		k.channel = event.ChannelKubeCron
	}
	return k.kind, k.channel
}

func (c *call) classify(e *Engine, s *session.Session) {
	s.Kind, s.Channel = c.channelOf()
	if dir, path, ok := copied(s.Argv); ok && s.Kind == session.KindExec {
		s.Kind, s.Channel, s.Direction, s.Path = session.KindCopy, event.ChannelKubeCopy, dir, path
	}
	o := c.ask().object
	if o == nil {
		return
	}
	s.Carried = c.carried(o)
	if s.Argv == nil {
		s.Argv = firstCommand(o.Containers)
		if s.Argv != nil {
			s.ArgvSource = "request"
		}
	}
}

// carried returns what is carried by o, of c. It is worked out once for one object.
func (c *call) carried(o *event.KubeObject) []session.Carried {
	if c.carrier != o {
		c.carrier, c.carries = o, carriedBy(o.Containers)
	}
	return c.carries
}

func firstCommand(list []event.KubeContainer) []string {
	for _, c := range list {
		if argv := slices.Concat(c.Command, c.Args); len(argv) > 0 {
			return argv
		}
	}
	return nil
}

func (c *call) outcome(e *Engine, s *session.Session) {
	f := c.fact()
	switch {
	case c.refused():
		s.State = session.StateFailed
	case f != nil && c.complete != nil:
		s.State = session.StateEnded
	case f == nil && !e.settled(c.adm.Time.Add(streamWait)), f != nil:
		return
	default:
		s.State = session.StateEnded // changes are over once admitted; streams are told of by the audit log
	}
	at := s.Started
	if c.complete != nil {
		at, _ = e.kube.local(c.complete.Time)
	}
	s.Ended = &at
}

// explain says whether the request lacks its process.
func (c *call) explain(e *Engine, s *session.Session) {
	switch {
	case s.Kind == session.KindIdentity:
		s.Unexplained = session.Unexplained{Is: true, Reason: "a node's identity, used by something that says it is no kubelet"}
	case s.Kind != session.KindExec && s.Kind != session.KindCopy, s.State == session.StateFailed:
	case !e.kube.watched(c):
		s.Gaps = append(s.Gaps, "the node of this pod is not watched: what ran is not known")
	case c.opened():
		s.Unexplained = session.Unexplained{Is: true, Reason: "the API server opened a stream, and no process began"}
		if s.State == session.StateRunning {
			s.Unexplained.Reason += " yet"
		}
	}
}

// foreignNode reports whether a request was made with a node's identity by
// something that does not say it is a kubelet.
func foreignNode(f *event.KubeRequest) bool {
	return strings.HasPrefix(f.User.Name, "system:node:") && !event.SaysKubelet(f.UserAgent)
}

func (e *Engine) targetOfCall(c *call) session.Target {
	a := c.ask()
	t := session.Target{Pod: a.pod.name, Namespace: a.pod.namespace, ContainerName: a.container, Node: a.node}
	for _, k := range e.inside.ofPod(a.pod) {
		if k.pod.container == a.container && a.container != "" && len(k.runs) > 0 {
			t = e.target(k.id)
		}
	}
	if p := e.kube.podAt(a.pod, t.PodUID, e.kube.earliest(c)); p != nil {
		t.PodUID, t.Node, t.Workload = p.UID, cmp.Or(t.Node, p.NodeName), cmp.Or(t.Workload, p.Owner)
		t.HostAccess = cmp.Or(t.HostAccess, event.AccessIn(p.Containers, a.container))
	}
	if o := a.object; o != nil {
		if o.Kind != "Pod" {
			t.Pod, t.Workload = "", o.Kind+"/"+cmp.Or(o.Name, a.pod.name)
		}
		t.Namespace = cmp.Or(t.Namespace, o.Namespace)
		t.Node = cmp.Or(t.Node, o.NodeName)
		t.HostAccess = cmp.Or(o.Access(), t.HostAccess)
		if len(o.Containers) > 0 {
			t.ContainerName, t.Image = cmp.Or(t.ContainerName, o.Containers[0].Name), cmp.Or(t.Image, o.Containers[0].Image)
		}
	}
	return t
}
