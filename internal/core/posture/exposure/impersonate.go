package exposure

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// isUser reports whether the API server asks for a user when somebody wants to act as
// that name. It asks for a service account where it is one's.
func isUser(name string) bool {
	_, _, ok := rbac.ServiceAccountOf(name)
	return !ok
}

func (a *Analysis) theUsers(names []string) (out []int32) {
	if names == nil {
		return []int32{a.at(place{kind: atUsers})}
	}
	for _, n := range names {
		if ordinary(n) {
			out = append(out, a.user(n))
		} else if isUser(n) && len(a.index.Users[n]) > 0 {
			out = append(out, a.byName(n))
		}
	}
	return out
}

// byName returns the place of who has the user name of a node and not its groups: to the
// API server he is none, and may what names that user.
func (a *Analysis) byName(node string) int32 {
	at := place{kind: atActing, name: "user:" + node + ", who is no node without the group " + rbac.Nodes}
	if n, ok := a.number[at]; ok {
		return n
	}
	n := a.at(at)
	a.singles(n, a.index.Users[node])
	a.link(a.at(place{kind: atUsers}), n, a.none)
	a.link(n, a.at(place{kind: atGroup, name: rbac.Authenticated}), a.member)
	return n
}

// actAsGroup: who may act as some user, or as a service account of any namespace, may
// say which groups that is in.
func (a *Analysis) actAsGroup(who int32, has *held) {
	if !has.may.Any(mayBeGroup) {
		return
	}
	i := slices.IndexFunc(has.grants, func(n int) bool {
		g := &a.index.Grants[n]
		return g.Mask.Any(mayBeUser) && g.Namespace == "" && (g.Names == nil || slices.ContainsFunc(g.Names, isUser)) || g.Mask.Any(mayBeAccount)
	})
	if i < 0 {
		return
	}
	for _, n := range has.grants {
		g := &a.index.Grants[n]
		if !g.Mask.Any(mayBeGroup) || g.Namespace != "" {
			continue
		}
		hop := a.by(EdgeImpersonate, n, has.grants[i])
		if g.Names == nil {
			a.link(who, a.at(place{kind: atGroup, name: rbac.Masters}), hop)
		}
		for _, name := range g.Names {
			a.link(who, a.at(place{kind: atGroup, name: name}), hop)
		}
		if slices.Contains(g.Names, rbac.Nodes) {
			a.actAsNode(who, n, has)
		}
	}
}

// actAsNode: who may act as in the group of nodes, by a grant, is any node whose name he
// may have.
func (a *Analysis) actAsNode(who int32, group int, has *held) {
	for _, n := range has.every(mayBeUser) {
		hop := a.by(EdgeImpersonate, group, n)
		if a.index.Grants[n].Names == nil {
			a.link(who, a.at(place{kind: atKubelets}), hop)
		}
		for _, name := range a.index.Grants[n].Names {
			if _, node := rbac.NodeOf(name); node {
				a.link(who, a.user(name), hop)
			}
		}
	}
}
