package audit

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// WebhookName is the name of Sallyport's admission webhook in the API server's
// configuration; the API server puts it before the webhook's annotations.
const WebhookName = "sessions.sallyport.dev"

// NonceKey is the annotation of an audit event in which the webhook's nonce is.
const NonceKey = WebhookName + "/nonce"

// Parse reads one audit event of audit.k8s.io/v1, in JSON, into q, which must be
// its zero value. It returns false, and leaves q as it is, for an event that
// concerns no command; an error for what is no audit event. What it puts into q
// shares no memory with line.
//
// An event is relevant when its resource is one of channels.md §3.2, or its
// asker is a node's identity and its user agent no kubelet's. Changes of pods
// and workloads are relevant once they have been decided on, and only when
// they touch what is run: one whose audit level keeps its body from us may.
func Parse(line []byte, q *event.KubeRequest) (bool, error) {
	var r record
	more, err := r.scan(line)
	if err != nil && bytes.HasPrefix(line, []byte("\x1f\x8b")) {
		err = errCompressed
	}
	if err != nil || !more {
		return false, err
	}
	op := r.op()
	if op == "" {
		return false, nil
	}
	return r.request(op, q)
}

func (r *record) request(op event.KubeOp, into *event.KubeRequest) (bool, error) {
	stage, ok := stages[text(r.stage)]
	at, received, err := r.times()
	if !ok || err != nil {
		return false, cmp.Or(err, fmt.Errorf("%w: stage %.40q", errMalformed, text(r.stage)))
	}
	q := event.KubeRequest{
		Header: event.Header{Time: at, Witness: event.WitnessAudit},
		ID:     event.AuditID(text(r.id)), Stage: stage, Received: received,
		Op: op, Verb: text(r.verb), URI: text(r.uri), UserAgent: text(r.agent),
		User: user(r.user), Sources: texts(r.sources),
		Namespace: string(r.target.namespace),
	}
	if !isNull(r.impersonated) {
		u := user(r.impersonated)
		q.Impersonated = &u
	}
	if n := len(q.Sources); n > 0 {
		q.Address = q.Sources[n-1]
	}
	r.outcome(&q)
	if !r.fill(&q) {
		return false, nil
	}
	*into = q
	return true, nil
}

var stages = map[string]event.KubeStage{
	"RequestReceived":  event.KubeReceived,
	"ResponseStarted":  event.KubeStarted,
	"ResponseComplete": event.KubeComplete,
	"Panic":            event.KubePanic,
}

func (r *record) times() (at, received time.Time, err error) {
	if at, err = time.Parse(time.RFC3339Nano, text(r.at)); err != nil {
		return at, received, fmt.Errorf("%w: stageTimestamp %.40q", errMalformed, text(r.at))
	}
	if received, err = time.Parse(time.RFC3339Nano, text(r.received)); err != nil {
		return at, received, fmt.Errorf("%w: requestReceivedTimestamp %.40q", errMalformed, text(r.received))
	}
	return at.UTC(), received.UTC(), nil
}

func user(raw []byte) event.KubeUser {
	var u event.KubeUser
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "username":
			u.Name = text(m.value)
		case "uid":
			u.UID = text(m.value)
		case "groups":
			u.Groups = texts(m.value)
		case "extra":
			u.Extra = extra(m.value)
		}
	}
	return u
}

func extra(raw []byte) map[string][]string {
	var out map[string][]string
	for m := membersOf(raw); m.next(); {
		if out == nil {
			out = make(map[string][]string, 4)
		}
		out[string(m.key)] = texts(m.value)
	}
	return out
}

// outcome says how the request came out: the status, and what the annotations
// tell.
func (r *record) outcome(q *event.KubeRequest) {
	var message string
	for m := membersOf(r.status); m.next(); {
		switch string(m.key) {
		case "code":
			q.Code = number(m.value)
		case "message":
			message = text(m.value)
		}
	}
	switch q.Code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		q.Refused = true
	default: // a webhook may choose the code of its refusal
		q.Refused = strings.HasPrefix(message, `admission webhook "`) && strings.Contains(message, "denied the request")
	}
	for m := membersOf(r.notes); m.next(); {
		switch string(m.key) {
		case "authorization.k8s.io/decision":
			q.Refused = q.Refused || text(m.value) == "forbid"
		case NonceKey:
			q.Nonce = text(m.value)
		}
	}
}

// fill adds what the request's operation has of its own. It reports whether the
// request is relevant after all.
func (r *record) fill(q *event.KubeRequest) bool {
	path, query, _ := strings.Cut(q.URI, "?")
	switch q.Op {
	case event.KubeExec, event.KubeAttach:
		q.Pod = string(r.target.name)
		podOptions(q, query)
	case event.KubePortForward:
		q.Pod = string(r.target.name)
		q.Ports = ports(query, "ports")
	case event.KubePodProxy:
		q.Pod, q.Path = proxyName(r.target.name), proxyPath(path, "pods")
	case event.KubeServiceProxy:
		q.Path = proxyPath(path, "services")
	case event.KubeNodeProxy:
		q.TargetNode, q.Path = proxyName(r.target.name), proxyPath(path, "nodes")
		kubeletOptions(q, query)
	case event.KubeEphemeral, event.KubePodChange, event.KubeWorkload:
		return r.change(q)
	case event.KubeAccessReview:
		return r.review(q)
	case event.KubeDoor:
		q.Object = &event.KubeObject{
			Kind: doors[string(r.target.group)][string(r.target.resource)], Namespace: q.Namespace, Name: string(r.target.name),
		}
		return q.Stage != event.KubeReceived
	case event.KubeOther:
		switch string(r.target.resource) {
		case "pods":
			q.Pod = string(r.target.name)
		case "nodes":
			q.TargetNode = string(r.target.name)
		}
	}
	return true
}

// change adds the object that was written. A request to write it that has not
// been decided on has none, and is not told; one that leaves alone what is run
// is of no interest.
func (r *record) change(q *event.KubeRequest) bool {
	if q.Op != event.KubeWorkload {
		q.Pod = string(r.target.name)
	}
	if q.Stage == event.KubeReceived {
		return q.Op == event.KubeEphemeral
	}
	if isNull(r.object) {
		return true
	}
	o, runs := object(r.object, string(r.target.resource), q.Verb != "patch")
	if !runs {
		return q.Op == event.KubeEphemeral
	}
	o.Namespace = cmp.Or(o.Namespace, q.Namespace)
	o.Name = cmp.Or(o.Name, string(r.target.name))
	for m := membersOf(r.answer); m.next(); {
		if string(m.key) == "metadata" {
			identify(o, m.value)
		}
	}
	if q.Op != event.KubeWorkload {
		q.Pod = cmp.Or(q.Pod, o.Name)
	}
	q.Object = o
	return true
}
