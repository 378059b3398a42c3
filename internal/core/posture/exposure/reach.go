package exposure

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// Reach is what an actor can get a command into, by any path.
type Reach struct {
	Actor Actor `json:"actor"`
	// Everything says that nobody is asked any more: cluster administrator.
	Everything bool `json:"everything,omitempty"`
	Pods       int  `json:"pods"`
	Of         int  `json:"of"` // pods there are
	// Namespaces lists where those pods are, those with all pods reached and others.
	Namespaces []NamespaceReach `json:"namespaces,omitempty"`
	Nodes      []string         `json:"nodes,omitempty"`      // on which it can be root
	Identities []Actor          `json:"identities,omitempty"` // whom it can act as
	// NewPods lists the namespaces in which it can start pods.
	NewPods []string `json:"new_pods,omitempty"`
}

// NamespaceReach is how much of a namespace is reached.
type NamespaceReach struct {
	Namespace string `json:"namespace"`
	Pods      int    `json:"pods"`
	Of        int    `json:"of"`
}

// ErrNobody is returned for an actor of whom the inventory knows nothing: neither
// a role nor a group gives him anything.
var ErrNobody = fmt.Errorf("nothing in the inventory gives this actor anything")

// Actors lists everybody of whom the inventory tells, in order.
func (a *Analysis) Actors() (out []Actor) {
	for _, p := range a.places {
		if identity(p) {
			out = append(out, actorAt(p))
		}
	}
	slices.Sort(out)
	return out
}

// Reach says what an actor can get a command into.
func (a *Analysis) Reach(actor Actor) (Reach, error) {
	a, start, err := a.find(actor)
	if err != nil {
		return Reach{}, err
	}
	r := Reach{Actor: actor, Of: len(a.cluster.Pods)}
	pods := map[string]int{}
	a.walk(start, false, nil, func(at int32, by *arc) bool {
		switch p := a.places[at]; p.kind {
		case atAll:
			r.Everything = true
		case atPod:
			r.Pods++
			pods[p.namespace]++
		case atNode:
			if p.name != "" {
				r.Nodes = append(r.Nodes, p.name)
			}
		case atNew:
			if p.namespace != "" {
				r.NewPods = append(r.NewPods, p.namespace)
			}
		case atUser, atGroup:
			if by != nil && a.hops[by.hop].Edge != edgeMember {
				r.Identities = append(r.Identities, actorAt(p))
			}
		case atOutside, atContainer, atActing, atPods, atKind, atWorkload, atNodePods, atAccounts, atNames, atUsers, atGroups, atKubelets:
		}
		return true
	})
	of := map[string]int{}
	for i := range a.cluster.Pods {
		of[a.cluster.Pods[i].Namespace]++
	}
	for namespace, n := range sorted(pods) {
		r.Namespaces = append(r.Namespaces, NamespaceReach{namespace, n, of[namespace]})
	}
	for _, list := range [][]string{r.Nodes, r.NewPods} {
		slices.Sort(list)
	}
	r.NewPods = slices.Compact(r.NewPods)
	slices.Sort(r.Identities)
	return r, nil
}

// find returns the place of an actor, and the analysis that it is in. Somebody of whom
// nothing tells is still in the groups of everybody like him: the analysis that is
// returned is then one with him.
func (a *Analysis) find(actor Actor) (*Analysis, int32, error) {
	p, err := placeOf(actor)
	if err != nil {
		return nil, 0, err
	}
	if n, ok := a.number[p]; ok {
		return a, n, nil
	}
	switch p.kind {
	case atUser:
		a, n := a.with(p.name)
		return a, n, nil
	case atContainer:
		if a := a.more(); a.container(p) {
			a.grow()
			return a, a.number[p], nil
		}
	}
	return nil, 0, fmt.Errorf("%s: %w", actor, ErrNobody)
}

// with returns an analysis with one more user.
func (a *Analysis) with(name string) (*Analysis, int32) {
	out := a.more()
	n := out.user(name)
	out.together(n, a.index.Of(rbac.IdentityOf(name)))
	out.grow()
	return out, n
}

// more returns an analysis to which something can be added.
func (a *Analysis) more() *Analysis {
	out := *a
	out.graph, out.rights = a.graph.copy(), maps.Clone(a.rights)
	return &out
}

// Path returns a shortest path from an actor to a pod; false when there is none.
func (a *Analysis) Path(actor Actor, p *inventory.Pod) (Exposure, bool, error) {
	a, start, err := a.find(actor)
	if err != nil {
		return Exposure{}, false, err
	}
	target, ok := a.number[place{kind: atPod, namespace: p.Namespace, name: p.Name}]
	if !ok {
		return Exposure{}, false, nil
	}
	onwards, found := map[int32]*arc{}, false
	a.walk(target, true, nil, func(at int32, by *arc) bool {
		onwards[at] = by
		found = at == start
		return !found
	})
	if !found {
		return Exposure{}, false, nil
	}
	e := a.along(actor, start, onwards, targetOf(p))
	e.Direct = len(e.Via) == 1 && e.Channel != ""
	return e, true, nil
}
