package correlate

import (
	"cmp"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

const levelExact = session.LevelExact

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
}

func (c *call) state() *state { return &c.st }

func (c *call) forget(e *Engine) {
	delete(e.kube.calls, c.key)
	unlist(e.kube.byPod, c.pod(), c)
	if n := c.nonce(); n != "" && e.kube.byNonce[n] == c {
		delete(e.kube.byNonce, n)
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
			return &a.stdin
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

func (e *Engine) applyKubeRequest(o event.KubeRequest) {
	e.kube.lag = max(e.kube.lag, min(e.now.Sub(o.Time), maxLag))
	if o.Time.After(e.kube.newest) {
		e.kube.newest = o.Time
	}
	if o.Op == event.KubeAccessReview {
		e.kube.reviews = insert(e.kube.reviews, &o, reviewsMax)
		e.touchUnnamed()
		return
	}
	c := e.call(callKey{id: o.ID, received: o.Received.UnixNano(), user: o.User.Name, uri: o.URI}, podName{o.Namespace, o.Pod})
	c.told = nil
	switch o.Stage {
	case event.KubeReceived:
		c.received = &o
	case event.KubeStarted:
		c.started = &o
	case event.KubeComplete, event.KubePanic:
		c.complete = &o
	}
	if o.Nonce != "" && c.adm == nil {
		e.absorb(c, o.Nonce)
	}
	e.measure(c)
	e.touchCall(c)
}

// maxLag bounds what one late entry can teach about the delay of the log.
const maxLag = 15 * time.Minute

func (e *Engine) call(key callKey, pod podName) *call {
	c := e.kube.calls[key]
	if c == nil {
		e.boundCalls()
		c = &call{key: key}
		e.kube.calls[key] = c
		if pod.name != "" {
			e.kube.byPod[pod] = append(e.kube.byPod[pod], c)
		}
	}
	return c
}

// absorb gives a request of the audit log what the webhook saw of it.
func (e *Engine) absorb(c *call, nonce string) {
	was := e.kube.byNonce[nonce]
	if was == nil {
		e.kube.byNonce[nonce] = c
		return
	}
	if was == c || was.adm == nil || was.fact() != nil {
		return // a nonce is drawn once: whoever repeats it made it up
	}
	c.adm, c.told = was.adm, nil
	if was.st.index >= 0 && !was.st.firstSeen.IsZero() {
		e.unschedule(was)
	}
	was.st.gone = true
	c.st.published = cmp.Or(c.st.published, was.st.published)
	delete(e.kube.calls, was.key)
	unlist(e.kube.byPod, was.pod(), was)
	e.kube.byNonce[nonce] = c
}

func (e *Engine) applyAdmission(o event.KubeAdmission) {
	e.kube.admissions = true
	if c := e.kube.byNonce[o.Nonce]; c != nil && c.adm == nil {
		c.adm, c.told = &o, nil
		e.measure(c)
		e.touchCall(c)
		return
	}
	c := e.call(callKey{nonce: o.Nonce}, podName{o.Namespace, o.Pod})
	c.adm, c.told = &o, nil
	e.kube.byNonce[o.Nonce] = c
	e.touchCall(c)
}

// touchCall looks again at c and at the sessions that it may stand behind.
func (e *Engine) touchCall(c *call) {
	e.touch(c, true)
	pod := c.pod()
	for _, k := range e.inside.ofPod(pod) {
		e.touchIn(k)
	}
}

// lo is the earliest moment at which what c asked for can have begun, on this
// host's clock.
func (e *Engine) lo(c *call) time.Time {
	if c.adm != nil {
		return c.adm.Time
	}
	t, err := e.local(c.fact().Received)
	return t.Add(-err)
}

// streamWait is how long containerd waits for the client of an exec to open its
// streams before it gives up.
const streamWait = 30 * time.Second

// hi is the latest moment at which it can have begun; false while it still can.
func (e *Engine) hi(c *call) (time.Time, bool) {
	var at time.Time
	if s := c.started; s != nil {
		at = s.Time.Add(streamWait)
	}
	if f := c.complete; f != nil && (at.IsZero() || f.Time.Before(at)) {
		at = f.Time
	}
	if at.IsZero() {
		if c.adm != nil && c.fact() == nil {
			return c.adm.Time.Add(streamWait), true
		}
		return time.Time{}, false
	}
	t, err := e.local(at)
	return t.Add(err + time.Millisecond), true
}

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

// twin reports whether c is the same request as one that the webhook saw and
// the audit log has not named yet: it then does not count twice.
func (e *Engine) twin(c *call) bool {
	f := c.fact()
	return f != nil && f.Stage == event.KubeReceived && c.adm == nil &&
		e.coverage.whole(event.WitnessAdmission, "", f.Received, f.Received)
}

// vouched reports whether the API server itself stands behind c: its audit log
// tells of it, or it showed its certificate to the webhook.
func (c *call) vouched() bool { return c.fact() != nil || c.adm.Authenticated }

// identified reports whether it is known as whom c was made: when a request is
// received, impersonation does not show yet.
func (c *call) identified() bool { return c.adm != nil || c.fact().Stage != event.KubeReceived }

// madeUp reports whether c is a claim at the webhook's port that the API server
// knows nothing of.
func (e *Engine) madeUp(c *call) bool {
	return !c.vouched() && e.coverage.whole(event.WitnessAudit, "", c.adm.Arrived, c.adm.Time) && e.auditSettled(c.adm.Time)
}

// measure learns how the API server's clock and ours differ from a request that
// both the audit log and the webhook saw: it came before the webhook was asked,
// and was carried out after the webhook had answered.
func (e *Engine) measure(c *call) {
	f, done := c.fact(), cmp.Or(c.started, c.complete)
	if c.adm == nil || f == nil || done == nil {
		return
	}
	least, most := f.Received.Sub(c.adm.Arrived), done.Time.Sub(c.adm.Time)
	if most < least {
		return // a clock was set in between
	}
	err := (most - least + 1) / 2
	if was, ok := e.kube.clocks["apiserver"]; ok && time.Duration(was.Error) <= err && e.now.Sub(was.Time) < measuredFor {
		return
	}
	e.kube.clocks["apiserver"] = event.Clock{
		Header: event.Header{Time: e.now, Witness: event.WitnessAdmission},
		Of:     "apiserver", Offset: event.Duration(least + err), Error: event.Duration(err),
	}
}

// measuredFor is how long a measurement of a clock stands above a worse one.
const measuredFor = 10 * time.Minute

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
