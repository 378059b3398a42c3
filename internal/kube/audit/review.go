package audit

import (
	"cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

// review adds what an access review asked. Of a kubelet's reviews those about
// nodes matter; one whose audit level keeps the body from us may be such a one.
// The question is told once, when it has been answered.
func (r *record) review(q *event.KubeRequest) bool {
	if q.Stage == event.KubeReceived {
		return false
	}
	if isNull(r.object) {
		return true
	}
	v := &event.AccessReview{}
	for m := membersOf(r.object); m.next(); {
		switch string(m.key) {
		case "spec":
			question(v, m.value)
		}
	}
	for m := membersOf(r.answer); m.next(); {
		if string(m.key) != "status" {
			continue
		}
		for s := membersOf(m.value); s.next(); {
			if string(s.key) == "allowed" {
				v.Allowed, v.AllowedSaid = truth(s.value), true
			}
		}
	}
	q.Review = v
	return v.Path != "" || v.Resource == "nodes" || len(v.Resource) > 6 && v.Resource[:6] == "nodes/"
}

func question(v *event.AccessReview, raw []byte) {
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "user":
			v.User.Name = text(m.value)
		case "uid":
			v.User.UID = text(m.value)
		case "groups", "group": // v1, v1beta1
			v.User.Groups = texts(m.value)
		case "extra":
			v.User.Extra = extra(m.value)
		case "resourceAttributes":
			resourceQuestion(v, m.value)
		case "nonResourceAttributes":
			for a := membersOf(m.value); a.next(); {
				switch string(a.key) {
				case "path":
					v.Path = text(a.value)
				case "verb":
					v.Verb = text(a.value)
				}
			}
		}
	}
}

func resourceQuestion(v *event.AccessReview, raw []byte) {
	var subresource string
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "verb":
			v.Verb = text(m.value)
		case "resource":
			v.Resource = text(m.value)
		case "subresource":
			subresource = text(m.value)
		case "name":
			v.Name = text(m.value)
		case "namespace":
			v.Namespace = text(m.value)
		}
	}
	if subresource != "" {
		v.Resource = cmp.Or(v.Resource, "*") + "/" + subresource
	}
}
