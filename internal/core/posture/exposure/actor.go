package exposure

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// Actor is who may do something, as users write it: "user:NAME", "group:NAME",
// "serviceaccount:NAMESPACE/NAME", "node:NAME", "container:NAMESPACE/POD/CONTAINER"
// (whoever runs in it), "unix:NAME" (a user of a host), "anonymous" (nobody has to say who he is) or "anyone" (whoever the
// API server knows).
type Actor string

// The actors without a name.
const (
	Anonymous Actor = "anonymous"
	Anyone    Actor = "anyone"
)

// actorAt names the identity at a place.
func actorAt(p place) Actor {
	if p.kind == atOutside {
		return Actor(p.name)
	}
	if p.kind == atContainer {
		return Actor("container:" + p.namespace + "/" + p.name)
	}
	if p.kind == atGroup {
		switch p.name {
		case rbac.Unauthenticated:
			return Anonymous
		case rbac.Authenticated:
			return Anyone
		}
		return Actor("group:" + p.name)
	}
	if p.name == rbac.AnonymousUser {
		return Anonymous
	}
	if namespace, name, ok := rbac.ServiceAccountOf(p.name); ok {
		return Actor("serviceaccount:" + namespace + "/" + name)
	}
	if node, ok := rbac.NodeOf(p.name); ok {
		return Actor("node:" + node)
	}
	return Actor("user:" + p.name)
}

// ActorOf names a user of the API server, who may be a service account or a node.
func ActorOf(user string) Actor { return actorAt(place{kind: atUser, name: user}) }

// errActor says how actors are written.
var errActor = errors.New("an actor is user:NAME, group:NAME, serviceaccount:NAMESPACE/NAME, node:NAME, container:NAMESPACE/POD/CONTAINER, unix:NAME, anonymous or anyone")

// placeOf finds the identity that somebody wrote.
func placeOf(a Actor) (place, error) {
	switch a {
	case Anonymous:
		return place{kind: atGroup, name: rbac.Unauthenticated}, nil
	case Anyone:
		return place{kind: atGroup, name: rbac.Authenticated}, nil
	}
	if outside(a) {
		return place{kind: atOutside, name: string(a)}, nil
	}
	kind, name, _ := strings.Cut(string(a), ":")
	if name == "" {
		return place{}, fmt.Errorf("%q: %w", string(a), errActor)
	}
	switch kind {
	case "user":
		if name == rbac.AnonymousUser {
			return placeOf(Anonymous)
		}
		return place{kind: atUser, name: name}, nil
	case "group":
		return place{kind: atGroup, name: name}, nil
	case "node":
		return place{kind: atUser, name: rbac.NodeUser(name)}, nil
	case "container":
		namespace, rest, _ := strings.Cut(name, "/")
		if pod, container, ok := strings.Cut(rest, "/"); ok && namespace != "" && pod != "" && container != "" {
			return place{kind: atContainer, namespace: namespace, name: rest}, nil
		}
	case "serviceaccount":
		if namespace, name, ok := strings.Cut(name, "/"); ok && namespace != "" && name != "" {
			return place{kind: atUser, name: rbac.ServiceAccountUser(namespace, name)}, nil
		}
	}
	return place{}, fmt.Errorf("%q: %w", string(a), errActor)
}
