package usage

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// needs is what sessions took of those who relied on more than what every new cluster
// gives.
type needs struct {
	of map[needKey]*need
	// who are the users, as they were seen last.
	who map[string]rbac.Identity
	// full says that there was more than is kept.
	full bool
}

type needKey struct {
	user, namespace string
	question        int
}

// need is what somebody took of one kind in one namespace.
type need struct {
	uses int
	last time.Time
	// names are those of the objects, nil when they are too many or will not be
	// called so next time.
	names map[string]bool
	whole bool
}

// Bounds of needs.
const (
	needsMax = 1 << 15
	namesMax = 32
)

func newNeeds() needs { return needs{of: map[needKey]*need{}, who: map[string]rbac.Identity{}} }

// need notes what a right took, unless what every new cluster has would have sufficed.
func (k *cluster) need(u *use, id rbac.Identity, r right, able []int, asked map[int][]asking) {
	if slices.ContainsFunc(able, func(g int) bool { return k.Bindings[k.index.Grants[g].Binding].Default && len(asked[g]) == len(r.any) }) {
		return
	}
	for _, q := range r.any {
		if !slices.ContainsFunc(able, func(g int) bool { return slices.Contains(asked[g], q) }) {
			continue // he did not hold it: it was another of the right's
		}
		k.needs.note(needKey{id.User, q.namespace, q.question}, id, q.name, k.lasting(u, q), u.at)
	}
}

func (n *needs) note(key needKey, id rbac.Identity, name string, lasting bool, at time.Time) {
	have := n.of[key]
	if have == nil {
		if len(n.of) >= needsMax {
			n.full = true
			return
		}
		have = &need{names: map[string]bool{}}
		n.of[key] = have
	}
	n.who[id.User] = id
	have.uses++
	have.last = later(have.last, at)
	if have.whole {
		return
	}
	have.names[name] = true
	if name == "" || !lasting || len(have.names) > namesMax {
		have.names, have.whole = nil, true
	}
}

// lasting reports whether the object of a question will be called the same next time.
func (k *cluster) lasting(u *use, q asking) bool {
	ask := questions[q.question].Ask
	switch {
	case ask.Subresource == "proxy" && ask.Resource != "nodes":
		return false // the name in the request has the port
	case ask.Resource == pods:
		return k.lastingPod(q.namespace, q.name, u.session.Target.Workload)
	}
	return true
}

// lastingPod reports whether a pod is made again under the same name: bare ones are
// made by somebody, and those of a StatefulSet and of a node's file by their maker.
func (k *cluster) lastingPod(namespace, name, workload string) bool {
	p := k.pods[objectKey{namespace, name}]
	if p == nil {
		return kindOf(workload) == "StatefulSet"
	}
	switch kindOf(p.Workload) {
	case "", "StatefulSet", "Node":
		return !p.Planned
	}
	return false
}

// sorted returns the names.
func (n *need) sorted() []string {
	if n.whole {
		return nil
	}
	out := make([]string, 0, len(n.names))
	for name := range n.names {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
