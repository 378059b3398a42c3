package correlate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// The keys of Attribution.Via for requests to the API server.
const (
	viaAudit     = "audit"        // the API server's audit log
	viaAdmission = "admission"    // the admission webhook
	viaWindow    = "audit-window" // the only request that fits in container, command and time
	viaPodUID    = "pod"          // the request made the pod or container of that name
)

// via says how a request itself is known.
func via(c *call) []string {
	var out []string
	if c.fact() != nil {
		out = append(out, viaAudit)
	}
	if c.adm != nil {
		out = append(out, viaAdmission)
	}
	return out
}

// actor describes who made a request. Whoever impersonates is told apart
// from who is impersonated; the webhook knows only the latter, so until the
// audit log speaks a name may be somebody's who lent it.
func (ku *kube) actor(c *call) session.Actor {
	a := session.Actor{Kind: session.ActorKubernetes}
	f := c.fact()
	if f == nil {
		identify(&a, c.adm.User)
		return a
	}
	identify(&a, f.User)
	if f.Impersonated == nil && c.adm != nil && c.adm.User.Name != f.User.Name {
		identify(&a, c.adm.User) // the stage that tells of impersonation is still to come
	}
	if f.Impersonated != nil {
		identify(&a, *f.Impersonated)
		a.Impersonator = &session.Identity{User: f.User.Name, UID: f.User.UID, Groups: f.User.Groups, Extra: f.User.Extra}
	}
	a.Address, a.UserAgent = f.Address, f.UserAgent
	a.Doubts = ku.doubts(f)
	return a
}

func identify(a *session.Actor, u event.KubeUser) {
	a.User, a.KubeUID, a.Groups, a.Extra = u.Name, u.UID, u.Groups, u.Extra
	a.Deputy = strings.HasPrefix(u.Name, "system:serviceaccount:")
}

// doubts says why an identity may be in other hands than its owner's.
func (ku *kube) doubts(f *event.KubeRequest) []string {
	var out []string
	if foreignNode(f) {
		out = append(out, fmt.Sprintf("a node's identity, with the user agent %s", quote(f.UserAgent)))
	}
	pod, uid := f.User.Extra["authentication.kubernetes.io/pod-name"], f.User.Extra["authentication.kubernetes.io/pod-uid"]
	namespace, ok := namespaceOf(f.User.Name)
	if !ok || len(pod) != 1 || len(uid) != 1 || f.Address == "" {
		return out
	}
	p := ku.podAt(podName{namespace, pod[0]}, uid[0], f.Received)
	if p == nil || len(p.Addresses) == 0 || slices.Contains(p.Addresses, f.Address) {
		return out
	}
	return append(out, fmt.Sprintf("the token of pod %s/%s (%s) was used from %s", namespace, pod[0], strings.Join(p.Addresses, ", "), f.Address))
}

// namespaceOf returns the namespace in a service account's user name.
func namespaceOf(user string) (string, bool) {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	namespace, _, found := strings.Cut(rest, ":")
	return namespace, ok && found
}

func (c *call) evidence() []session.Evidence { return c.lines() }

func (a *account) call(c *call) { *a = append(*a, c.lines()...) }

var (
	requestName   = event.Name(event.KubeRequest{})
	admissionName = event.Name(event.KubeAdmission{})
)

// lines returns what c itself adds to the evidence, sorted. They are put together
// once for what is known of c, and not the caller's to change.
func (c *call) lines() []session.Evidence {
	if c.told != nil {
		return c.told
	}
	for _, f := range []*event.KubeRequest{c.received, c.started, c.complete} {
		if f != nil {
			c.told = append(c.told, session.Evidence{
				Time: f.Time, Witness: f.Witness, What: requestName + " " + string(f.Op) + " " + string(f.Stage), Detail: requestDetail(f),
			})
		}
	}
	if f := c.adm; f != nil {
		detail := fmt.Sprintf("nonce %s, by %s, held for %s", f.Nonce, f.User.Name, f.Time.Sub(f.Arrived))
		if !f.Alone {
			detail += "; identical requests were under way"
		}
		c.told = append(c.told, session.Evidence{Time: f.Time, Witness: f.Witness, What: admissionName + " " + string(f.Op), Detail: detail})
	}
	c.told = slices.Clip(account(c.told).sorted())
	return c.told
}

func requestDetail(f *event.KubeRequest) string {
	var room [512]byte
	b := append(append(room[:0], "audit id "...), f.ID...)
	b = append(append(b, ", "...), f.Verb...)
	b = appendQuoted(append(b, ' '), f.URI)
	b = append(append(b, ", by "...), f.User.Name...)
	if f.Impersonated != nil {
		b = append(append(b, " as "...), f.Impersonated.Name...)
	}
	b = append(append(b, " from "...), f.Address...)
	return string(strconv.AppendInt(append(b, ", status "...), int64(f.Code), 10))
}

// asked adds to the evidence of a command in a pod the requests that can stand
// behind it.
func (a *account) asked(e *Engine, at arrival) {
	for _, c := range e.choices.of(at).calls {
		a.call(c)
	}
	asked, _ := e.cri.asked(at)
	a.asks(asked...)
}
