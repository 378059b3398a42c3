package exposure

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Entry is a way by which somebody on a host that is a node becomes root on it.
type Entry struct {
	Node  string
	Actor Actor // "unix:NAME", "container:NAME" of an engine, "host:HOST/anyone" or "host:HOST/anonymous"
	Via   []Step
	// Closers are the settings of which each closes it; none when nobody knows.
	Closers []Closer
}

// Closer is a setting whose change closes a way, with the command that changes it.
type Closer struct {
	Setting, Patch string
	Host           string // where the command is to be run; "" is wherever kubectl is
	Origin         inventory.Origin
}

// entries links those who are somebody on a host with root on the node that it is.
func (a *Analysis) entries(list []Entry) {
	for _, e := range list {
		h := Hop{Edge: EdgeSocket}
		var settings []string
		for _, s := range e.Via {
			h.Edge = s.Edge
			settings = append(settings, s.Setting)
			h.Unless = cmp.Or(h.Unless, s.Unless)
		}
		if len(e.Via) > 0 {
			h.Edge = e.Via[0].Edge
		}
		h.Setting = strings.Join(settings, ", then ")
		for _, c := range e.Closers {
			h.closers = append(h.closers, a.closedBy(c))
		}
		a.link(a.at(place{kind: atOutside, name: string(e.Actor)}), a.at(place{kind: atNode, name: e.Node}), a.hop(h))
	}
}

// closedBy returns the number of a setting that closes hops.
func (a *Analysis) closedBy(c Closer) int {
	if i := slices.Index(a.closers, c); i >= 0 {
		return i
	}
	a.closers = append(a.closers, c)
	return len(a.closers) - 1
}

// outside reports whether an actor is somebody on a host, and no part of the cluster.
func outside(a Actor) bool {
	kind, name, _ := strings.Cut(string(a), ":")
	switch kind {
	case "unix":
		return name != ""
	case "host":
		return strings.Contains(name, "/")
	}
	return kind == "container" && name != "" && !strings.Contains(name, "/")
}
