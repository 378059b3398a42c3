package audit

import (
	"bytes"
	"errors"

	"github.com/sallyport/sallyport/internal/core/event"
)

// record is an audit event with its members raw.
type record struct {
	id, stage, uri, verb, agent              []byte
	user, impersonated, sources, ref, status []byte
	object, answer, received, at, notes      []byte
	kind                                     []byte
	target                                   target
}

// target is what an audit event's objectRef names.
type target struct {
	group, resource, subresource, namespace, name []byte
}

// errMalformed says that a line is no audit event.
var errMalformed = errors.New("not an audit event")

// errNoList says that a body is no list of audit events.
var errNoList = errors.New("not an EventList, or cut short")

// scan fills r from one audit event. It stops, with false, as soon as it is sure
// that the event concerns no command: the API server writes user, user agent
// and objectRef before the long parts. What comes after is then not looked at
// except for its very last byte, so that a line cut short is noticed.
func (r *record) scan(line []byte) (more bool, err error) {
	m := membersOf(line)
	for m.next() {
		r.set(m.key, m.value)
		if string(m.key) == "objectRef" && r.uninteresting() {
			if end := bytes.TrimRight(line, " \t\r\n"); end[len(end)-1] != '}' {
				return false, errMalformed
			}
			return false, nil
		}
	}
	if m.bad || m.end == 0 || skipSpace(line, m.end) != len(line) {
		return false, errMalformed
	}
	if r.stage == nil || r.verb == nil || r.kind != nil && string(r.kind) != `"Event"` {
		return false, errMalformed
	}
	return true, nil
}

func (r *record) set(key, value []byte) {
	switch string(key) {
	case "kind":
		r.kind = value
	case "auditID":
		r.id = value
	case "stage":
		r.stage = value
	case "requestURI":
		r.uri = value
	case "verb":
		r.verb = value
	case "user":
		r.user = value
	case "impersonatedUser":
		r.impersonated = value
	case "sourceIPs":
		r.sources = value
	case "userAgent":
		r.agent = value
	case "objectRef":
		r.ref = value
		r.target = targetOf(value)
	case "responseStatus":
		r.status = value
	case "requestObject":
		r.object = value
	case "responseObject":
		r.answer = value
	case "requestReceivedTimestamp":
		r.received = value
	case "stageTimestamp":
		r.at = value
	case "annotations":
		r.notes = value
	}
}

func targetOf(raw []byte) target {
	var t target
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "resource":
			t.resource = plain(m.value)
		case "subresource":
			t.subresource = plain(m.value)
		case "apiGroup":
			t.group = plain(m.value)
		case "namespace":
			t.namespace = plain(m.value)
		case "name":
			t.name = plain(m.value)
		}
	}
	return t
}

// uninteresting reports that the event is surely not relevant, by what has been
// read of it so far.
func (r *record) uninteresting() bool {
	if r.user == nil || r.verb == nil || r.target.op(plain(r.verb)) != "" {
		return false
	}
	if !isNode(username(r.user)) && !isNode(username(r.impersonated)) {
		return true
	}
	return r.agent != nil && isKubelet(plain(r.agent)) && r.impersonated == nil
}

// op returns what the event is about, "" when its object alone makes it of no
// interest.
func (r *record) op() event.KubeOp {
	op := r.target.op(plain(r.verb))
	asker := username(r.user)
	if op == event.KubeAccessReview && !isNode(asker) {
		op = ""
	}
	if op == "" && (isNode(asker) && !isKubelet(plain(r.agent)) || isNode(username(r.impersonated))) {
		return event.KubeOther
	}
	return op
}

// op returns the operation that a resource and verb stand for, "" for those
// that carry no command. The API groups are checked because anybody may define
// a resource of any name in a group of his own.
func (t *target) op(verb []byte) event.KubeOp {
	switch string(t.group) {
	case "":
		return t.coreOp(verb)
	case "apps":
		switch string(t.resource) {
		case "deployments", "daemonsets", "statefulsets", "replicasets":
			return t.change(verb, event.KubeWorkload)
		}
	case "batch":
		switch string(t.resource) {
		case "jobs", "cronjobs":
			return t.change(verb, event.KubeWorkload)
		}
	case "admissionregistration.k8s.io", "rbac.authorization.k8s.io":
		return t.door(verb)
	case "authorization.k8s.io":
		switch string(t.resource) {
		case "subjectaccessreviews", "localsubjectaccessreviews":
			if string(verb) == "create" {
				return event.KubeAccessReview
			}
		}
	}
	return ""
}

// doors are the kinds of the resources that say who may do what, by group.
var doors = map[string]map[string]string{
	"admissionregistration.k8s.io": {
		"validatingwebhookconfigurations": "ValidatingWebhookConfiguration", "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
		"validatingadmissionpolicies": "ValidatingAdmissionPolicy", "validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBinding",
		"mutatingadmissionpolicies": "MutatingAdmissionPolicy", "mutatingadmissionpolicybindings": "MutatingAdmissionPolicyBinding",
	},
	"rbac.authorization.k8s.io": {
		"roles": "Role", "clusterroles": "ClusterRole", "rolebindings": "RoleBinding", "clusterrolebindings": "ClusterRoleBinding",
	},
}

func (t *target) door(verb []byte) event.KubeOp {
	if doors[string(t.group)][string(t.resource)] == "" || len(t.subresource) > 0 {
		return ""
	}
	switch string(verb) {
	case "create", "update", "patch", "delete", "deletecollection":
		return event.KubeDoor
	}
	return ""
}

func (t *target) coreOp(verb []byte) event.KubeOp {
	switch string(t.resource) {
	case "pods":
		return t.podOp(verb)
	case "nodes":
		if string(t.subresource) == "proxy" {
			return event.KubeNodeProxy
		}
	case "services":
		if string(t.subresource) == "proxy" {
			return event.KubeServiceProxy
		}
	case "replicationcontrollers":
		return t.change(verb, event.KubeWorkload)
	}
	return ""
}

func (t *target) podOp(verb []byte) event.KubeOp {
	switch string(t.subresource) {
	case "exec":
		return event.KubeExec
	case "attach":
		return event.KubeAttach
	case "portforward":
		return event.KubePortForward
	case "proxy":
		return event.KubePodProxy
	case "ephemeralcontainers":
		if string(verb) != "get" {
			return event.KubeEphemeral
		}
	case "":
		return t.change(verb, event.KubePodChange)
	}
	return ""
}

// change returns op for the verbs that write an object itself.
func (t *target) change(verb []byte, op event.KubeOp) event.KubeOp {
	if len(t.subresource) > 0 {
		return ""
	}
	switch string(verb) {
	case "create", "update", "patch":
		return op
	}
	return ""
}

// username returns the name in a raw user.
func username(raw []byte) []byte {
	for m := membersOf(raw); m.next(); {
		if string(m.key) == "username" {
			return plain(m.value)
		}
	}
	return nil
}

func isNode(user []byte) bool { return bytes.HasPrefix(user, []byte("system:node:")) }

// isKubelet looks at the first part of a user agent only, which is short.
func isKubelet(agent []byte) bool {
	i := bytes.IndexByte(agent, '/')
	return i >= 0 && event.SaysKubelet(string(agent[:i+1]))
}
