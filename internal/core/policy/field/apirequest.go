package field

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
)

var apiType = cel.ObjectType("APIRequest")

// apiFields are those of the request to the API server that asked for a session,
// in the words of an audit event. Sessions do not carry the resource: what is
// said of it follows from the channel and the object.
func apiFields() []Field {
	get := func(name string, get func(attack.APIRequest) string) Field {
		return before(name, cel.StringType, func(v *View) ref.Val { return v.ofRequest("api."+name, get) })
	}
	return []Field{
		get("group", apiGroup),
		get("resource", apiResource),
		get("subresource", apiSubresource),
		before("name", cel.StringType, (*View).apiName),
		before("user", cel.StringType, func(v *View) ref.Val {
			return v.asker("api.user", func(i session.Identity, _ string) ref.Val { return orUnknown(i.User, "api.user") })
		}),
		before("groups", textList, func(v *View) ref.Val {
			got := v.asker("api.groups", func(i session.Identity, _ string) ref.Val { return value.Texts(i.Groups) })
			if got == value.Absent {
				return value.NoneOf(textList)
			}
			return got
		}),
		before("impersonated", cel.StringType, func(v *View) ref.Val {
			return v.asker("api.impersonated", func(_ session.Identity, as string) ref.Val { return value.Text(as) })
		}),
	}
}

func apiGroup(r attack.APIRequest) string       { return r.Group }
func apiResource(r attack.APIRequest) string    { return r.Resource }
func apiSubresource(r attack.APIRequest) string { return r.Subresource }

// requests returns the requests of which one asked for the session, as far as is
// known; of none, whether there may have been one all the same.
func (v *View) requests() (of []attack.APIRequest, maybe bool) {
	s := v.s
	of = attack.APIRequests(s.Kind, s.Channel)
	switch {
	case len(of) == 0:
		return nil, attack.MayBeAPIRequest(s.Channel)
	case attack.AlwaysAPIRequest(s.Channel):
	case s.Kind != session.KindStart && s.Kind != session.KindDebug, s.Attribution.Level != session.LevelNone:
	case s.Unexplained.Is: // nobody asked the API server for this container
		return nil, false
	default:
		return nil, true // it was made before anybody looked
	}
	kind, _, _ := strings.Cut(s.Target.Workload, "/")
	if i := slices.IndexFunc(of, func(r attack.APIRequest) bool { return r.Object == kind }); i >= 0 && len(of) > 1 {
		of = of[i : i+1]
	}
	return of, false
}

// ofRequest returns what all requests that it may have been have in common.
func (v *View) ofRequest(path string, get func(attack.APIRequest) string) ref.Val {
	of, maybe := v.requests()
	switch {
	case len(of) == 0 && maybe:
		return Unknown(path)
	case len(of) == 0:
		return value.Absent
	}
	return common(path, of, get)
}

func common(path string, of []attack.APIRequest, get func(attack.APIRequest) string) ref.Val {
	for _, r := range of[1:] {
		if get(r) != get(of[0]) {
			return Unknown(path)
		}
	}
	return value.Text(get(of[0]))
}

// verb is the audit log's, or the only one that the channel can have.
func (v *View) verb() ref.Val {
	if v.s.Verb != "" {
		return types.String(v.s.Verb)
	}
	of, maybe := v.requests()
	switch {
	case len(of) == 0 && !maybe:
		return value.Absent
	case len(of) == 0:
		return Unknown("verb")
	}
	return onlyVerb(of)
}

func onlyVerb(of []attack.APIRequest) ref.Val {
	for _, r := range of {
		if len(r.Verbs) != 1 || r.Verbs[0] != of[0].Verbs[0] {
			return Unknown("verb")
		}
	}
	return types.String(of[0].Verbs[0])
}

// apiName is the name of the object.
func (v *View) apiName() ref.Val {
	of, maybe := v.requests()
	if len(of) == 0 && !maybe {
		return value.Absent
	}
	t := &v.s.Target
	name := ""
	switch {
	case len(of) == 0:
	case of[0].Resource == "pods":
		name = t.Pod
	case of[0].Resource == "nodes":
		name = t.Node
	case of[0].Object != "":
		_, name, _ = strings.Cut(t.Workload, "/")
	}
	return orUnknown(name, "api.name")
}

// asker gives get who authenticated, and whom he impersonates.
func (v *View) asker(path string, get func(i session.Identity, as string) ref.Val) ref.Val {
	of, maybe := v.requests()
	a := v.who.a
	switch {
	case len(of) == 0 && !maybe:
		return value.Absent
	case a.Impersonator != nil:
		return get(*a.Impersonator, a.User)
	case a.Kind == session.ActorKubernetes:
		return get(session.Identity{User: a.User, Groups: a.Groups}, "")
	}
	return Unknown(path)
}

// apiOn returns what is known of the request of every session of a channel, as a
// prober takes it.
func apiOn(c event.Channel) map[string]ref.Val {
	out := map[string]ref.Val{}
	put := func(path string, v ref.Val) {
		if !types.IsUnknown(v) {
			out[path] = v
		}
	}
	switch {
	case attack.AlwaysAPIRequest(c):
		of := attack.APIRequests("", c)
		put("api.group", common("api.group", of, apiGroup))
		put("api.resource", common("api.resource", of, apiResource))
		put("api.subresource", common("api.subresource", of, apiSubresource))
		put("verb", onlyVerb(of))
	case !attack.MayBeAPIRequest(c):
		out["verb"] = value.Absent
		for _, f := range apiFields() {
			out["api."+f.Name] = value.Absent
		}
	}
	return out
}
