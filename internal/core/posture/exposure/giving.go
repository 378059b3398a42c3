package exposure

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// giving is a way of giving oneself a role.
type giving struct {
	bind       rbac.Mask // passes the check that nobody gives more than he has
	create     rbac.Mask // makes a binding
	change     rbac.Mask // changes one
	cluster    bool      // the role is a ClusterRole
	everywhere bool      // the binding is a ClusterRoleBinding
}

var (
	bindAny, bindRole = ask(rbacGroup, "clusterroles", "", "bind"), ask(rbacGroup, "roles", "", "bind")
	inCluster, inOne  = "clusterrolebindings", "rolebindings"

	givings = []giving{
		{bindAny, ask(rbacGroup, inCluster, "", "create"), ask(rbacGroup, inCluster, "", "patch", "update"), true, true},
		{bindAny, ask(rbacGroup, inOne, "", "create"), ask(rbacGroup, inOne, "", "patch", "update"), true, false},
		{bindRole, ask(rbacGroup, inOne, "", "create"), ask(rbacGroup, inOne, "", "patch", "update"), false, false},
	}
	mayEscalate      = ask(rbacGroup, "roles", "", "escalate")
	mayChangeRole    = ask(rbacGroup, "roles", "", "patch", "update")
	mayEscalateAll   = ask(rbacGroup, "clusterroles", "", "escalate")
	mayMakeCluster   = ask(rbacGroup, "clusterroles", "", "create")
	mayChangeCluster = ask(rbacGroup, "clusterroles", "", "patch", "update")
)

// escalates reports whether one of the grants is for changing a role beyond what one holds.
func (a *Analysis) escalates(grants []int) bool {
	return slices.ContainsFunc(grants, func(n int) bool { return a.index.Grants[n].Mask.Any(mayEscalate.Or(mayEscalateAll)) })
}

// escalate links a subject with what it gets by changing a role that it is bound to
// beyond what it holds, and returns where that is: everything in a namespace, or
// altogether ("").
func (a *Analysis) escalate(who int32, has *held) (owned []string) {
	if !has.may.Any(mayEscalate.Or(mayEscalateAll)) {
		return nil
	}
	for _, i := range a.boundBy(who) {
		if a.gone != nil && a.gone[i] {
			continue
		}
		b := &a.cluster.Bindings[i]
		in, escalate, change := b.Namespace, mayEscalate, mayChangeRole
		if b.ToClusterRole {
			in, escalate, change = "", mayEscalateAll, mayChangeCluster // no RoleBinding gives these
		}
		h := has.in(in)
		first, second := h.one(escalate, about(b.Role)), h.one(change, about(b.Role))
		if (first < 0 || second < 0) && b.ToClusterRole && a.aggregated(b.Role) {
			first, second = a.addsTo(h)
		}
		if first < 0 || second < 0 || slices.Contains(owned, b.Namespace) {
			continue
		}
		owned = append(owned, b.Namespace)
		a.linkOwner(who, scope{b.Namespace, b.Namespace == ""}, a.hop(Hop{Edge: EdgeGrant, Grants: []int{first, second}, bound: []int{i}}))
	}
	return owned
}

// aggregated reports whether a ClusterRole takes over the rules of all with some labels.
func (a *Analysis) aggregated(role string) bool {
	return slices.ContainsFunc(a.named.roles[""], func(i int) bool {
		return a.cluster.Roles[i].Name == role && len(a.cluster.Roles[i].Selectors) > 0
	})
}

// addsTo returns the grants by which any aggregated role gets any rule: a ClusterRole is
// made, or one that is there is changed, and has the labels. They are -1 when there are
// none.
func (a *Analysis) addsTo(h *held) (escalate, change int) {
	if e, c := h.one(mayEscalateAll, unnamed), h.one(mayMakeCluster, unnamed); e >= 0 && c >= 0 {
		return e, c
	}
	for _, i := range a.named.roles[""] {
		this := about(a.cluster.Roles[i].Name)
		if e, c := h.one(mayEscalateAll, this), h.one(mayChangeCluster, this); e >= 0 && c >= 0 {
			return e, c
		}
	}
	return -1, -1
}

// grantsOf lists the grants of an identity and of the groups that it is surely in.
func (a *Analysis) grantsOf(who int32) []int {
	if p := a.places[who]; p.kind == atUser {
		return a.index.Of(rbac.IdentityOf(p.name))
	}
	return slices.Clone(a.index.Groups[a.places[who].name])
}

// boundBy lists the bindings that name an identity or a group that it is surely in.
func (a *Analysis) boundBy(who int32) []int {
	if a.bound == nil {
		a.bound = rbac.NewBound(a.cluster)
		unite(a.bound.Users, a.bound.Groups)
	}
	if p := a.places[who]; p.kind == atUser {
		return a.bound.Of(rbac.IdentityOf(p.name))
	}
	return a.bound.Groups[a.places[who].name]
}

// selfGrant links a subject with what it can give itself by a binding to a role that
// holds more.
func (a *Analysis) selfGrant(who int32, h *held) {
	for i := range givings {
		k := &givings[i]
		if k.everywhere && h.namespace != "" {
			continue
		}
		give := h.one(k.create, unnamed)
		if give < 0 {
			a.joinBindings(who, h, k)
			continue
		}
		in, binds := scope{h.namespace, k.everywhere}, h.every(k.bind)
		if n := slices.IndexFunc(binds, func(n int) bool { return a.index.Grants[n].Names == nil }); n >= 0 {
			binds = binds[n : n+1] // any role, whatever others are named
		}
		for _, bind := range binds {
			g, names := []int{bind, give}, a.index.Grants[bind].Names
			switch {
			case !h.here(g):
			case k.cluster && names == nil:
				a.linkOwner(who, in, a.by(EdgeGrant, g...))
				return // there is no more to get
			default:
				a.linkRoles(who, in, k.cluster, names, a.by(EdgeGrant, g...))
			}
		}
	}
}

// joinBindings links a subject with the roles of the bindings that it may change: whom one
// names can be changed, and to which role it is cannot.
func (a *Analysis) joinBindings(who int32, h *held, k *giving) {
	for _, change := range h.every(k.change) {
		for _, bind := range h.every(k.bind) {
			if !h.here([]int{change, bind}) {
				continue
			}
			for i := range a.cluster.Bindings {
				b := &a.cluster.Bindings[i]
				if b.ToClusterRole != k.cluster || (b.Namespace == "") != k.everywhere || h.namespace != "" && h.namespace != b.Namespace || a.gone != nil && a.gone[i] ||
					!a.index.Grants[change].About(b.Name) || !a.index.Grants[bind].About(b.Role) {
					continue
				}
				hop := a.hop(Hop{Edge: EdgeGrant, Grants: []int{bind, change}, bound: []int{i}})
				a.linkRoles(who, scope{b.Namespace, b.Namespace == ""}, k.cluster, []string{b.Role}, hop)
			}
		}
	}
}

func anyGrant(*rbac.Grant) bool { return true }

// about asks for a grant about objects of that name.
func about(name string) func(*rbac.Grant) bool {
	return func(g *rbac.Grant) bool { return g.About(name) }
}

// unnamed reports whether a grant is not limited to names.
func unnamed(g *rbac.Grant) bool { return g.Names == nil }

// linkOwner links a subject with everything in a namespace, in all of them, or
// altogether.
func (a *Analysis) linkOwner(who int32, in scope, hop int32) {
	if in.everywhere {
		a.link(who, a.at(place{kind: atAll}), hop)
		return
	}
	a.link(who, a.at(place{kind: atPods, namespace: in.namespace}), hop)
	a.link(who, a.at(place{kind: atNew, namespace: in.namespace}), hop)
}

// linkRoles links a subject with what the roles lead to that it can bind.
func (a *Analysis) linkRoles(who int32, in scope, cluster bool, names []string, hop int32) {
	for _, i := range a.rolesIn(in.namespace, cluster) {
		r, there := &a.cluster.Roles[i], in
		if names != nil && !slices.Contains(names, r.Name) {
			continue
		}
		if !cluster {
			there.namespace = r.Namespace
		}
		for _, rule := range r.Rules {
			if whole(rule) {
				a.linkOwner(who, there, hop)
			}
			for _, s := range a.steps(table.Rule(rule), there, limited(rule)) {
				a.link(who, s.to, hop)
			}
		}
	}
}

// rolesIn lists the ClusterRoles, or the Roles of a namespace; of all, when it has no
// name.
func (a *Analysis) rolesIn(namespace string, cluster bool) (out []int) {
	if cluster || namespace != "" {
		if cluster {
			namespace = ""
		}
		return a.named.roles[namespace]
	}
	for in, list := range sorted(a.named.roles) {
		if in != "" {
			out = append(out, list...)
		}
	}
	return out
}

func limited(r inventory.Rule) []string {
	if len(r.Names) == 0 {
		return nil
	}
	return r.Names
}

// whole reports whether a rule allows everything.
func whole(r inventory.Rule) bool {
	return slices.Contains(r.Verbs, "*") && slices.Contains(r.Groups, "*") && slices.Contains(r.Resources, "*") && len(r.Names) == 0
}
