package correlate

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// callKey names one request to the API server. The audit id alone does not:
// clients choose it. A request that only the admission webhook saw is named by
// its nonce.
type callKey struct {
	id        event.AuditID
	received  int64
	user, uri string
	nonce     string
}

// call is one request to the API server: its stages in the audit log and what
// the admission webhook saw of it.
type call struct {
	st       state
	key      callKey
	received *event.KubeRequest
	started  *event.KubeRequest
	complete *event.KubeRequest
	adm      *event.KubeAdmission
	id       session.ID // see sessionID
	idNonce  string
	told     []session.Evidence // see lines; nil after every change of the facts
	carrier  *event.KubeObject  // see carried
	carries  []session.Carried
}

func (c *call) state() *state { return &c.st }

func (c *call) forget(e *Engine) { e.kube.calls.drop(c) }

// learn notes what the audit log says of one stage of c.
func (c *call) learn(o *event.KubeRequest) {
	c.told = nil
	switch o.Stage {
	case event.KubeReceived:
		c.received = o
	case event.KubeStarted:
		c.started = o
	case event.KubeComplete, event.KubePanic:
		c.complete = o
	}
}

// fact returns what the audit log says, of the stage that says most; nil when
// only the webhook saw the request.
func (c *call) fact() *event.KubeRequest {
	return cmp.Or(c.complete, c.started, c.received)
}

func (c *call) nonce() string {
	if c.adm != nil {
		return c.adm.Nonce
	}
	if f := c.fact(); f != nil {
		return f.Nonce
	}
	return ""
}

// ask is what a request wants, by whichever witness.
type ask struct {
	op        event.KubeOp
	verb      string
	pod       podName
	container string
	node      string
	argv      []string
	joined    bool // argv is one string
	unsaid    bool // what is empty of container, argv and tty is not known
	tty       bool
	stdin     bool
	path      string
	ports     []string
	object    *event.KubeObject
}

func (c *call) ask() ask {
	if f := c.fact(); f != nil {
		a := ask{
			op: f.Op, verb: f.Verb, pod: podName{f.Namespace, f.Pod}, container: f.Container, node: f.TargetNode,
			argv: f.Argv, joined: f.Joined, unsaid: f.NoQuery, tty: f.TTY, stdin: f.Stdin, path: f.Path, ports: f.Ports,
			object: f.Object,
		}
		if a.object == nil && c.adm != nil {
			a.object = c.adm.Object
		}
		return a
	}
	f := c.adm
	return ask{ // the webhook is not told the query of what is proxied to a node
		op: f.Op, pod: podName{f.Namespace, f.Pod}, container: f.Container, node: f.TargetNode,
		unsaid: f.TargetNode != "", argv: f.Argv, tty: f.TTY, stdin: f.Stdin, path: f.Path, object: f.Object,
	}
}

// input says whether standard input is asked for; nil when that is not known, or
// nothing has any.
func (a ask) input() *bool {
	switch a.op {
	case event.KubeExec, event.KubeAttach, event.KubeNodeExec, event.KubeNodeAttach, event.KubeNodeRun:
		if !a.unsaid || a.op == event.KubeNodeRun { // which takes none
			stdin := a.stdin // alone: a pointer into a keeps all of it
			return &stdin
		}
	case event.KubeEphemeral:
		if a.object != nil && len(a.object.Containers) > 0 {
			return &a.object.Containers[0].Stdin
		}
	}
	return nil
}

// argvSource says where the command of a session is known from.
func (a ask) argvSource() string {
	if a.joined {
		return "log"
	}
	return "request"
}

func (c *call) pod() podName { return c.ask().pod }

// refused reports whether the API server did not carry c out.
func (c *call) refused() bool {
	f := c.fact()
	return f != nil && (f.Refused || f.Code >= 400) || c.adm != nil && c.adm.DryRun
}

// opened reports whether a stream was opened or the answer was given.
func (c *call) opened() bool {
	f := c.fact()
	return f != nil && !c.refused() && f.Code != 0 && f.Stage != event.KubeReceived
}

// vouched reports whether the API server itself stands behind c: its audit log
// tells of it, or it showed its certificate to the webhook.
func (c *call) vouched() bool { return c.fact() != nil || c.adm.Authenticated }

// identified reports whether it is known as whom c was made: when a request is
// received, impersonation does not show yet.
func (c *call) identified() bool { return c.adm != nil || c.fact().Stage != event.KubeReceived }

// commands reports whether an operation runs a command in a running container.
func commands(op event.KubeOp) bool {
	return op == event.KubeExec || op == event.KubeNodeExec || op == event.KubeNodeRun
}

// sessionID is the id of the session that c would be by itself. It is that of the
// nonce once there is one.
func (c *call) sessionID() session.ID {
	n := c.nonce()
	if c.id == "" || c.idNonce != n {
		c.id, c.idNonce = c.newID(n), n
	}
	return c.id
}

func (c *call) newID(nonce string) session.ID {
	if nonce != "" {
		return sessionID("call", nonce)
	}
	return sessionID("call", string(c.key.id), strconv.FormatInt(c.key.received, 10), c.key.user, c.key.uri)
}

// callsMax bounds the requests to the API server that are remembered; see surplus.
const callsMax = 1 << 13

// calls are the requests to the API server: each is in byKey under its key, in
// byPod under the pod that it concerns, if it names one, and in byNonce when our
// webhook drew a nonce for it.
type calls struct {
	byKey   map[callKey]*call
	byPod   map[podName][]*call
	byNonce map[string]*call
	calm    int // requests that may still come before surplus looks again
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

// absorb gives c, of the audit log, what the webhook saw of it, and returns the
// request that stood for that so far, or nil.
func (cs *calls) absorb(c *call, nonce string) *call {
	was := cs.byNonce[nonce]
	if was != nil && (was == c || was.adm == nil || was.fact() != nil) {
		return nil // a nonce is drawn once: whoever repeats it made it up
	}
	cs.byNonce[nonce] = c
	if was != nil {
		c.adm, c.told = was.adm, nil
		cs.drop(was)
	}
	return was
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

// surplus returns, when callsMax are remembered, those about which nothing was told
// for longest, down to three quarters. What has not settled stays, however much it
// is: the last word about the others came before then.
func (cs *calls) surplus(settled time.Time) []*call {
	if cs.calm > 0 || len(cs.byKey) < callsMax {
		cs.calm = max(0, cs.calm-1)
		return nil
	}
	cs.calm = callsMax / 4
	var old []*call
	for _, c := range cs.byKey {
		if c.st.lastSeen.Before(settled) {
			old = append(old, c)
		}
	}
	slices.SortFunc(old, func(a, b *call) int {
		if d := a.st.lastSeen.Compare(b.st.lastSeen); d != 0 {
			return d
		}
		return cmp.Compare(a.sessionID(), b.sessionID())
	})
	return old[:min(len(old), len(cs.byKey)-callsMax*3/4)]
}
