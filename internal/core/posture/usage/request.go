package usage

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
	"github.com/sallyport/sallyport/internal/core/session"
)

// right is what a request takes: that one of some questions is answered with yes.
// There are several where it is not known which was asked.
type right struct {
	any []asking
	// maybe says that it is not known whether it was asked for at all.
	maybe bool
}

// asking is a question about an object. A create has no name yet.
type asking struct {
	question        int // in table
	namespace, name string
}

func ask(verb, group, resource, sub, namespace, name string) []asking {
	n, ok := number[rbac.Ask{Verb: verb, Group: group, Resource: resource, Subresource: sub}]
	if !ok {
		return nil
	}
	if inNoNamespace(questions[n].Ask) {
		namespace = ""
	}
	return []asking{{n, namespace, name}}
}

// streams are the subresources of pods of which the API server asks for create when
// they are opened by WebSocket, too: since 1.35, see exposure.WebSocketNeedsCreate.
var streams = []string{"exec", "attach", "portforward"}

// requested lists what the request behind a session took, of who made it. It is empty
// where no request to the API server is behind it, or nobody can say which.
func requested(s *session.Session, strict bool) []right {
	t := &s.Target
	proxy := slices.Concat(ask(verbCreate, "", "nodes", "proxy", "", t.Node), ask(verbGet, "", "nodes", "proxy", "", t.Node))
	switch s.Channel {
	case event.ChannelKubeletRun, event.ChannelKubeletExec, event.ChannelKubeletExecWS, event.ChannelKubeletAttach, event.ChannelKubeletForward:
		return []right{{any: proxy, maybe: true}} // the kubelet remembers a yes, and asks for more than commands
	case event.ChannelUnknown:
		if s.Kind != session.KindExec || t.Namespace == "" {
			return nil
		}
		exec := slices.Concat(ask(verbCreate, "", pods, "exec", t.Namespace, t.Pod), ask(verbGet, "", pods, "exec", t.Namespace, t.Pod))
		return []right{{any: append(exec, proxy...), maybe: true}}
	}
	requests := attack.APIRequests(s.Kind, s.Channel)
	if kind, _, _ := strings.Cut(t.Workload, "/"); len(requests) > 1 {
		if n := slices.IndexFunc(requests, func(r attack.APIRequest) bool { return r.Object == kind }); n >= 0 {
			requests = requests[n : n+1]
		}
	}
	if len(requests) == 1 && requests[0].Resource == pods && slices.Contains(streams, requests[0].Subresource) {
		return stream(s, requests[0].Subresource, strict)
	}
	var r right
	for _, q := range requests {
		for _, verb := range q.Verbs {
			if s.Verb == "" || s.Kind == session.KindStart || s.Verb == verb {
				r.any = append(r.any, ask(verb, q.Group, q.Resource, q.Subresource, t.Namespace, objectOf(s, q, verb))...)
			}
		}
	}
	if len(r.any) == 0 {
		return nil
	}
	return []right{r}
}

// objectOf names what a request was about.
func objectOf(s *session.Session, q attack.APIRequest, verb string) string {
	switch {
	case q.Resource == "nodes":
		return s.Target.Node
	case q.Subresource == "" && verb == verbCreate:
		return ""
	case q.Resource != pods && q.Resource != services:
		if _, name, ok := strings.Cut(s.Target.Workload, "/"); ok {
			return name
		}
	}
	return s.Target.Pod
}

// stream says what it takes to open one. By WebSocket it is a get, by SPDY a create;
// the webhook, unlike the audit log, does not tell which.
func stream(s *session.Session, sub string, strict bool) []right {
	one := func(verb string) []asking { return ask(verb, "", pods, sub, s.Target.Namespace, s.Target.Pod) }
	verb := s.Verb
	if s.Channel == event.ChannelKubeExecWS || s.Channel == event.ChannelKubeAttachWS {
		verb = verbGet
	}
	switch {
	case verb == verbCreate:
		return []right{{any: one(verbCreate)}}
	case verb == verbGet && strict:
		return []right{{any: one(verbGet)}, {any: one(verbCreate)}}
	case verb == verbGet:
		return []right{{any: one(verbGet)}}
	case strict:
		return []right{{any: one(verbCreate)}, {any: one(verbGet), maybe: true}}
	}
	return []right{{any: append(one(verbCreate), one(verbGet)...)}}
}

// impersonated lists what it took to act as somebody. Groups that the API server adds
// by itself are left out: whether they were asked for, too, does not show.
func impersonated(a *session.Actor) (out []right) {
	if namespace, name, ok := rbac.ServiceAccountOf(a.User); ok {
		out = append(out, right{any: ask(verbImpersonate, "", serviceAccounts, "", namespace, name)})
	} else {
		out = append(out, right{any: ask(verbImpersonate, "", users, "", "", a.User)})
	}
	own := rbac.IdentityOf(a.User).Groups
	for _, g := range a.Groups {
		if g != rbac.Authenticated && (!slices.Contains(own, g) || g == rbac.Nodes) {
			out = append(out, right{any: ask(verbImpersonate, "", groups, "", "", g)})
		}
	}
	return out
}
