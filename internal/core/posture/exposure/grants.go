package exposure

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// The questions, by what a yes is good for.
var (
	mayExec       = ask(coreGroup, "pods", "exec", "create")
	mayGetExec    = ask(coreGroup, "pods", "exec", "get")
	mayAttach     = ask(coreGroup, "pods", "attach", "create")
	mayGetAttach  = ask(coreGroup, "pods", "attach", "get")
	mayDebug      = ask(coreGroup, "pods", "ephemeralcontainers", "patch", "update")
	mayNodeProxy  = ask(coreGroup, "nodes", "proxy", "create", "get")
	mayCreatePod  = ask(coreGroup, "pods", "", "create")
	mayChangePod  = ask(coreGroup, "pods", "", "patch", "update")
	mayBeUser     = ask(coreGroup, "users", "", "impersonate")
	mayBeGroup    = ask(coreGroup, "groups", "", "impersonate")
	mayBeAccount  = ask(coreGroup, "serviceaccounts", "", "impersonate")
	mayMint       = ask(coreGroup, "serviceaccounts", "token", "create")
	mayReadSecret = ask(coreGroup, "secrets", "", "get", "list", "watch")
	mayMakeSecret = ask(coreGroup, "secrets", "", "create")
	mayRequest    = ask(certs, "certificatesigningrequests", "", "create")
	mayApprove    = ask(certs, "certificatesigningrequests", "approval", "update", "patch")
	maySign       = ask(certs, "signers", "", "approve")
	mayMakeHook   = ask(admission, "mutatingwebhookconfigurations", "", "create")
	mayChangeHook = ask(admission, "mutatingwebhookconfigurations", "", "patch", "update")
	mayPolicy     = ask(admission, "mutatingadmissionpolicies", "", "create", "patch", "update")
	mayBindPolicy = ask(admission, "mutatingadmissionpolicybindings", "", "create", "patch", "update")
)

// singles links a subject with what each of its grants gives by itself.
func (a *Analysis) singles(who int32, grants []int) {
	for _, n := range grants {
		g := &a.index.Grants[n]
		for _, s := range a.steps(g.Mask, scope{g.Namespace, g.Namespace == ""}, g.Names) {
			a.link(who, s.to, a.by(s.edge, n))
		}
	}
}

// scope is where a permission holds: in a namespace or in all of them, and also for
// what belongs to no namespace.
type scope struct {
	namespace  string
	everywhere bool
}

// step is where a permission leads, and by which kind of step.
type step struct {
	to   int32
	edge Edge
}

// steps lists where the permissions of a rule lead that do so by themselves. Places are
// looked up only for what the rule is about: looking makes them.
func (a *Analysis) steps(m rbac.Mask, in scope, names []string) (out []step) {
	namespace := in.namespace
	add := func(mask rbac.Mask, edge Edge, to ...int32) {
		if m.Any(mask) {
			for _, t := range to {
				out = append(out, step{t, edge})
			}
		}
	}
	exec, attach := mayExec, mayAttach
	if !a.WebSocketNeedsCreate() {
		exec, attach = exec.Or(mayGetExec), attach.Or(mayGetAttach)
	}
	if m.Any(exec.Or(attach).Or(mayDebug).Or(mayChangePod)) {
		pods := a.thePods(namespace, names)
		add(exec, EdgeExec, pods...)
		add(attach, EdgeAttach, pods...)
		add(mayDebug, EdgeEphemeral, pods...)
		add(mayChangePod, EdgeChange, pods...)
	}
	if in.everywhere && m.Any(mayNodeProxy) {
		add(mayNodeProxy, EdgeNodeProxy, a.theNodes(names)...)
	}
	if in.everywhere && m.Any(mayBeUser) {
		add(mayBeUser, EdgeImpersonate, a.theUsers(names)...)
	}
	if in.everywhere && (m.Any(mayChangeHook) || m.Any(mayMakeHook) && names == nil) {
		add(m, EdgeRewrite, a.at(place{kind: atNew}))
	}
	if m.Any(mayBeAccount.Or(mayMint)) {
		accounts := a.theAccounts(namespace, names)
		add(mayBeAccount, EdgeImpersonate, accounts...)
		add(mayMint, EdgeMint, accounts...)
	}
	if m.Any(mayReadSecret) {
		add(mayReadSecret, EdgeSecret, a.tokens(namespace, names)...)
	}
	if a.mapped(m, namespace, names) {
		out = append(out, step{a.at(place{kind: atAll}), EdgeControl})
	}
	return append(out, a.making(m, namespace, names)...)
}

// WebSocketNeedsCreate reports whether the server asks for create, not only for
// get, when a stream is opened by WebSocket (gate
// AuthorizePodWebsocketUpgradeCreatePermission, on since 1.35).
func (a *Analysis) WebSocketNeedsCreate() bool {
	if on, ok := a.cluster.Gates["AuthorizePodWebsocketUpgradeCreatePermission"]; ok {
		return on
	}
	return a.cluster.Version.AtLeast(35)
}

func (a *Analysis) thePods(namespace string, names []string) (out []int32) {
	if names == nil {
		return []int32{a.at(place{kind: atPods, namespace: namespace})}
	}
	for _, name := range names {
		for i := range a.named.pods.of(name) {
			if p := &a.cluster.Pods[i]; namespace == "" || namespace == p.Namespace {
				out = append(out, a.podAt[i])
			}
		}
	}
	return out
}

func (a *Analysis) theNodes(names []string) (out []int32) {
	if names == nil {
		return []int32{a.at(place{kind: atPods})}
	}
	for _, n := range names {
		out = append(out, a.at(place{kind: atNodePods, name: n}))
	}
	return out
}

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
		if isUser(n) {
			out = append(out, a.user(n))
		}
	}
	return out
}

func (a *Analysis) theAccounts(namespace string, names []string) (out []int32) {
	if names == nil {
		return []int32{a.at(place{kind: atAccounts, namespace: namespace})}
	}
	for _, name := range names {
		for _, in := range a.named.accounts[name] {
			if namespace == "" || namespace == in {
				out = append(out, a.account(in, name))
			}
		}
	}
	return out
}

// tokens lists the service accounts whose tokens are kept in secrets that may be read.
func (a *Analysis) tokens(namespace string, names []string) (out []int32) {
	for i := range a.cluster.TokenSecrets {
		s := &a.cluster.TokenSecrets[i]
		if (namespace == "" || namespace == s.Namespace) && (names == nil || slices.Contains(names, s.Name)) {
			out = append(out, a.account(s.Namespace, s.ServiceAccount))
		}
	}
	return out
}

// theWorkloads returns where the pods of workloads of a kind are.
func (a *Analysis) theWorkloads(namespace, kind string, names []string) (out []int32) {
	if names == nil {
		return []int32{a.at(place{kind: atKind, namespace: namespace, name: kind})}
	}
	for _, name := range names {
		for i := range a.named.workloads.of(kind + "/" + name) {
			if p := &a.cluster.Pods[i]; namespace == "" || namespace == p.Namespace {
				out = append(out, a.at(place{kind: atWorkload, namespace: p.Namespace, name: p.Workload}))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// together links a subject with what several of its grants give only together.
// The grants of a user are his own and those of his groups.
func (a *Analysis) together(who int32, grants []int) {
	has := a.held(grants)
	owned := a.escalate(who, &has)
	for _, namespace := range a.scopes(grants) {
		h := has.in(namespace)
		if g, ok := h.all(mayMakeSecret, mayReadSecret); ok && h.here(g) {
			a.link(who, a.at(place{kind: atAccounts, namespace: namespace}), a.by(EdgeSecret, g...))
		}
		if !slices.Contains(owned, namespace) && !slices.Contains(owned, "") { // else there is no more to get
			a.selfGrant(who, h)
		}
	}
	if g, ok := has.all(mayRequest); ok {
		approve, sign := has.one(mayApprove, anyGrant), has.one(maySign, func(g *rbac.Grant) bool { return g.Names == nil || slices.ContainsFunc(g.Names, clientSigner) })
		if approve >= 0 && sign >= 0 {
			hop := a.by(EdgeCertificate, append(g, approve, sign)...)
			a.link(who, a.at(place{kind: atUsers}), hop)
			a.link(who, a.at(place{kind: atAccounts}), hop) // a certificate may have any name
		}
	}
	if g, ok := has.all(mayPolicy, mayBindPolicy); ok && a.cluster.Version.AtLeast(36) {
		a.link(who, a.at(place{kind: atNew}), a.by(EdgeRewrite, g...))
	}
	a.actAsGroup(who, &has)
	a.constrained(who, &has)
	a.control(who, &has, owned)
}

// clientSigner reports whether a signer's certificates are taken by the API server.
func clientSigner(name string) bool {
	return name == "kubernetes.io/kube-apiserver-client" || name == "kubernetes.io/*"
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
	}
}

// scopes lists where some of the grants hold, the whole cluster first.
func (a *Analysis) scopes(grants []int) []string {
	out := []string{""}
	for _, n := range grants {
		out = append(out, a.index.Grants[n].Namespace)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// held is what somebody holds in a namespace, or everywhere.
type held struct {
	a         *Analysis
	grants    []int
	may       rbac.Mask // what any of them says yes to, wherever: most say no to most questions
	namespace string
}

// held returns what grants hold everywhere.
func (a *Analysis) held(grants []int) held {
	h := held{a: a, grants: grants}
	for _, n := range grants {
		h.may = h.may.Or(a.index.Grants[n].Mask)
	}
	return h
}

// in returns what is held in a namespace.
func (h held) in(namespace string) *held {
	h.namespace = namespace
	return &h
}

// only returns what is held of the grants that say yes to one of the questions.
func (h held) only(m rbac.Mask) held {
	h.grants = slices.DeleteFunc(slices.Clone(h.grants), func(n int) bool { return !h.a.index.Grants[n].Mask.Any(m) })
	return h
}

// says reports whether a grant says yes to one of the questions here.
func (h *held) says(n int, m rbac.Mask) bool {
	g := &h.a.index.Grants[n]
	return g.Mask.Any(m) && (g.Namespace == "" || g.Namespace == h.namespace)
}

// one returns a grant that says yes to one of the questions here, or -1.
func (h *held) one(m rbac.Mask, ok func(*rbac.Grant) bool) int {
	if !h.may.Any(m) {
		return -1
	}
	for _, n := range h.grants {
		if h.says(n, m) && ok(&h.a.index.Grants[n]) {
			return n
		}
	}
	return -1
}

// every lists the grants that say yes to one of the questions here.
func (h *held) every(m rbac.Mask) (out []int) {
	for _, n := range h.grants {
		if h.says(n, m) {
			out = append(out, n)
		}
	}
	return out
}

// here reports whether grants are not all held everywhere: then what they give
// together is seen there, and not once more in each namespace.
func (h *held) here(grants []int) bool {
	return h.namespace == "" || slices.ContainsFunc(grants, func(n int) bool { return h.a.index.Grants[n].Namespace != "" })
}

// all returns a grant for each of the masks, none of which is limited to names.
func (h *held) all(masks ...rbac.Mask) (grants []int, ok bool) {
	for _, m := range masks {
		n := h.one(m, unnamed)
		if n < 0 {
			return nil, false
		}
		grants = append(grants, n)
	}
	return grants, true
}

// giving is a way of giving oneself a role.
type giving struct {
	bind       rbac.Mask // passes the check that nobody gives more than he has
	create     rbac.Mask // makes a binding
	change     rbac.Mask // changes one
	cluster    bool      // the role is a ClusterRole
	everywhere bool      // the binding is a ClusterRoleBinding
}

// gives reports whether a grant lets a binding be made or changed: one to be made has
// no name yet.
func (k *giving) gives(g *rbac.Grant) bool { return g.Names == nil || g.Mask.Any(k.change) }

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
		named := func(g *rbac.Grant) bool { return g.Names == nil || slices.Contains(g.Names, b.Role) }
		h := has.in(in)
		first, second := h.one(escalate, named), h.one(change, named)
		if first < 0 || second < 0 || slices.Contains(owned, b.Namespace) {
			continue
		}
		owned = append(owned, b.Namespace)
		a.linkOwner(who, scope{b.Namespace, b.Namespace == ""}, a.hop(Hop{Edge: EdgeGrant, Grants: []int{first, second}, bound: []int{i}}))
	}
	return owned
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
		give := h.one(k.create.Or(k.change), k.gives)
		if give < 0 {
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

func anyGrant(*rbac.Grant) bool { return true }

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
