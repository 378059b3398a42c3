package correlate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// kube is what was asked of the API server, by its audit log and by our admission
// webhook, and what it says of pods.
type kube struct {
	*clock
	coverage *coverage
	site     *site
	inside   *inside
	pods     *pods // of a fleet: all engines have the same
	calls
	audit
	reviews []*event.KubeRequest // access reviews by nodes, by time
	// admissions says that the admission webhook told of a request.
	admissions bool

	// What was worked out since the last observation; see Engine.changed.
	ordered map[podName][]*call
	spans   map[podName][]span
}

func newKube(now *clock, c *coverage, s *site, in *inside, pods *pods) kube {
	return kube{
		clock: now, coverage: c, site: s, inside: in, pods: pods, calls: newCalls(), audit: newAudit(now, s),
		ordered: map[podName][]*call{}, spans: map[podName][]span{},
	}
}

func (ku *kube) changed() {
	clear(ku.ordered)
	clear(ku.spans)
}

// admit notes what the webhook saw of c.
func (ku *kube) admit(c *call, o *event.KubeAdmission) {
	ku.admissions = true
	c.adm, c.told = o, nil
	ku.byNonce[o.Nonce] = c
	ku.measure(c)
}

// earliest is the earliest moment at which what c asked for can have begun, on this
// host's clock.
func (ku *kube) earliest(c *call) time.Time {
	if c.adm != nil {
		return c.adm.Time
	}
	t, err := ku.local(c.fact().Received)
	return t.Add(-err)
}

// streamWait is how long containerd waits for the client of an exec to open its
// streams before it gives up.
const streamWait = 30 * time.Second

// latest is the latest moment at which it can have begun; false while it still can.
func (ku *kube) latest(c *call) (time.Time, bool) {
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
	t, err := ku.local(at)
	return t.Add(err + time.Millisecond), true
}

// twin reports whether c is the same request as one that the webhook saw and
// the audit log has not named yet: it then does not count twice.
func (ku *kube) twin(c *call) bool {
	f := c.fact()
	return f != nil && f.Stage == event.KubeReceived && c.adm == nil &&
		ku.coverage.whole(event.WitnessAdmission, "", f.Received, f.Received)
}

// madeUp reports whether c is a claim at the webhook's port that the API server
// knows nothing of.
func (ku *kube) madeUp(c *call) bool {
	return !c.vouched() && ku.coverage.whole(event.WitnessAudit, "", c.adm.Arrived, c.adm.Time) && ku.auditSettled(c.adm.Time)
}

// asksKnown reports whether every request to the API server for a command that
// began at t is known: the admission webhook saw them come, or the audit log
// has told of them.
func (ku *kube) asksKnown(t time.Time) bool {
	from := t.Add(-ku.opt.Window)
	if ku.coverage.whole(event.WitnessAdmission, "", from, t) {
		return ku.settled(t)
	}
	return ku.coverage.whole(event.WitnessAudit, "", from, t) && ku.auditSettled(t)
}

// podAt returns the life of a pod's name around t, or nil.
func (ku *kube) podAt(name podName, uid string, t time.Time) *event.KubePod {
	return ku.pods.at(name, uid, t)
}

// nodeOf returns the node that c concerns, "" when it is not known.
func (ku *kube) nodeOf(c *call) string {
	a := c.ask()
	if a.node != "" {
		return a.node
	}
	if p := ku.podAt(a.pod, "", ku.earliest(c)); p != nil {
		return p.NodeName
	}
	return ""
}

// watched reports whether the processes of c's pod are seen.
func (ku *kube) watched(c *call) bool {
	t := ku.earliest(c)
	for _, k := range ku.inside.ofPod(c.pod()) {
		if len(k.runs) > 0 {
			return ku.coverage.whole(event.WitnessKernel, "process", t, t.Add(ku.opt.Window))
		}
	}
	return false
}

// callsTo lists the requests that concern a pod, in order of time. The list is
// not the caller's to change.
func (ku *kube) callsTo(pod podName) []*call {
	out, ok := ku.ordered[pod]
	if ok {
		return out
	}
	out = slices.Clone(ku.byPod[pod])
	slices.SortFunc(out, func(a, b *call) int {
		if d := ku.earliest(a).Compare(ku.earliest(b)); d != 0 {
			return d
		}
		return cmp.Compare(a.sessionID(), b.sessionID())
	})
	ku.ordered[pod] = out
	return out
}

// span is a request with its times at hand.
type span struct {
	*call
	from, until time.Time
	ends        bool
}

// holds reports whether m is of the request's time.
func (c span) holds(m moment) bool {
	return !m.arrivedAt.Before(c.from) && (!c.ends || !m.beganAt.After(c.until))
}

// spansOf lists the requests that concern a pod, in order of time.
func (ku *kube) spansOf(pod podName) []span {
	out, ok := ku.spans[pod]
	if ok {
		return out
	}
	for _, c := range ku.callsTo(pod) {
		until, ends := ku.latest(c)
		out = append(out, span{c, ku.earliest(c), until, ends})
	}
	ku.spans[pod] = out
	return out
}

// reviewsMax bounds the access reviews that are remembered.
const reviewsMax = 1024

// review notes that a kubelet asked about somebody.
func (ku *kube) review(o *event.KubeRequest) { ku.reviews = insert(ku.reviews, o, reviewsMax) }

// reviewCache is how long a kubelet remembers that somebody may talk to it
// before it asks the API server again.
const reviewCache = 5 * time.Minute

// reviewed lists the users about whom a kubelet asked, so that they may have
// asked it for something at t. They are never more than candidates: one
// question stands for many commands, and not each is about a command.
func (ku *kube) reviewed(t time.Time) []session.Actor {
	var out []session.Actor
	for _, r := range ku.reviews {
		at, err := ku.local(r.Received)
		if r.Review == nil || r.Review.AllowedSaid && !r.Review.Allowed || r.Review.Resource != "nodes/proxy" ||
			!ku.site.responsible(strings.TrimPrefix(r.User.Name, "system:node:")) {
			continue
		}
		if at.Add(-err).After(t.Add(ku.opt.Window)) || at.Add(err).Before(t.Add(-reviewCache)) {
			continue
		}
		u := r.Review.User
		out = appendIdentity(out, session.Actor{Kind: session.ActorKubernetes, User: u.Name, KubeUID: u.UID, Groups: u.Groups, Extra: u.Extra})
	}
	return out
}
