package exposure

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// The questions, by what a yes is good for.
var (
	mayDebug        = ask(coreGroup, "pods", "ephemeralcontainers", "patch", "update")
	mayCreatePod    = ask(coreGroup, "pods", "", "create")
	mayChangePod    = ask(coreGroup, "pods", "", "patch", "update")
	mayBeUser       = ask(coreGroup, "users", "", "impersonate")
	mayBeGroup      = ask(coreGroup, "groups", "", "impersonate")
	mayBeAccount    = ask(coreGroup, "serviceaccounts", "", "impersonate")
	mayMint         = ask(coreGroup, "serviceaccounts", "token", "create")
	mayMakeAccount  = ask(coreGroup, "serviceaccounts", "", "create")
	mayReadSecret   = ask(coreGroup, "secrets", "", "get", "list", "watch")
	mayMakeSecret   = ask(coreGroup, "secrets", "", "create")
	mayRequest      = ask(certs, "certificatesigningrequests", "", "create")
	mayApprove      = ask(certs, "certificatesigningrequests", "approval", "update", "patch")
	mayBeNode       = ask(certs, "certificatesigningrequests", "nodeclient", "create")
	maySign         = ask(certs, "signers", "", "approve")
	mayMakeHook     = ask(admission, "mutatingwebhookconfigurations", "", "create")
	mayChangeHook   = ask(admission, "mutatingwebhookconfigurations", "", "patch", "update")
	mayPolicy       = ask(admission, "mutatingadmissionpolicies", "", "create", "patch", "update")
	mayChangePolicy = ask(admission, "mutatingadmissionpolicies", "", "patch", "update")
	mayBindPolicy   = ask(admission, "mutatingadmissionpolicybindings", "", "create", "patch", "update")
)

// singles links a subject with what each of its grants gives by itself.
func (a *Analysis) singles(who int32, grants []int) {
	for _, n := range grants {
		g := &a.index.Grants[n]
		for _, s := range a.steps(g.Mask, scope{g.Namespace, g.Namespace == ""}, g.Names) {
			a.link(who, s.to, a.through(s.by, s.edge, n))
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
	by   event.Channel // of a stream
}

// steps lists where the permissions of a rule lead that do so by themselves. Places are
// looked up only for what the rule is about: looking makes them.
func (a *Analysis) steps(m rbac.Mask, in scope, names []string) (out []step) {
	namespace := in.namespace
	add := func(mask rbac.Mask, edge Edge, to ...int32) {
		if m.Any(mask) {
			for _, t := range to {
				out = append(out, step{to: t, edge: edge})
			}
		}
	}
	out = a.streams(m, in, names)
	if m.Any(mayDebug.Or(mayChangePod)) {
		pods := a.thePods(namespace, names)
		add(mayDebug, EdgeEphemeral, pods...)
		add(mayChangePod, EdgeChange, pods...)
	}
	if in.everywhere && m.Any(mayBeUser) {
		add(mayBeUser, EdgeImpersonate, a.theUsers(names)...)
	}
	if in.everywhere && a.rewrites(m, names) {
		add(m, EdgeRewrite, a.at(place{kind: atNew}))
	}
	if m.Any(mayBeAccount) {
		add(mayBeAccount, EdgeImpersonate, a.theNames(namespace, names)...)
	}
	if m.Any(mayMint) {
		add(mayMint, EdgeMint, a.theAccounts(namespace, names)...)
	}
	if m.Any(mayReadSecret) {
		add(mayReadSecret, EdgeSecret, a.tokens(namespace, names)...)
	}
	if a.mapped(m, namespace, names) {
		out = append(out, step{to: a.at(place{kind: atAll}), edge: EdgeControl})
	}
	return append(out, a.making(m, namespace, names)...)
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

// theNames are theAccounts with those that are not there.
func (a *Analysis) theNames(namespace string, names []string) (out []int32) {
	if names == nil {
		return []int32{a.anyName(namespace)}
	}
	out = a.theAccounts(namespace, names)
	for _, s := range a.named.absent {
		if (namespace == "" || namespace == s.namespace) && slices.Contains(names, s.name) {
			out = append(out, a.account(s.namespace, s.name))
		}
	}
	return out
}

// madeAccount links a subject with a service account that is not there, which it makes, and
// then has a token for or a new pod as.
func (a *Analysis) madeAccount(who int32, h *held) {
	if make := h.one(mayMakeAccount, unnamed); make >= 0 {
		for edge, m := range sorted(map[Edge]rbac.Mask{EdgeMint: mayMint, EdgeCreate: a.starts}) {
			if n := h.one(m, unnamed); n >= 0 && h.here([]int{make, n}) {
				a.link(who, a.anyName(h.namespace), a.by(edge, make, n))
			}
		}
	}
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
		a.madeSecret(who, h)
		if len(a.named.absent) > 0 {
			a.madeAccount(who, h)
		}
		if !slices.Contains(owned, namespace) && !slices.Contains(owned, "") { // else there is no more to get
			a.selfGrant(who, h)
		}
	}
	a.certified(who, &has)
	if g, ok := has.all(mayPolicy, mayBindPolicy); ok && a.mutates() {
		a.link(who, a.at(place{kind: atNew}), a.by(EdgeRewrite, g...))
	}
	a.sockets(who, &has)
	a.actAsGroup(who, &has)
	a.constrained(who, &has)
	a.settles(who, &has)
	a.control(who, &has, owned)
}

// madeSecret links a subject with the tokens that it has put into a secret and reads. The
// secret may have any name that it may read by.
func (a *Analysis) madeSecret(who int32, h *held) {
	create, read := h.one(mayMakeSecret, unnamed), h.one(mayReadSecret, unnamed)
	if read < 0 {
		read = h.one(mayReadSecret, anyGrant)
	}
	if g := []int{create, read}; create >= 0 && read >= 0 && h.here(g) {
		a.link(who, a.at(place{kind: atAccounts, namespace: h.namespace}), a.by(EdgeSecret, g...))
	}
}

// mutates reports whether the server knows mutating policies (gate
// MutatingAdmissionPolicy, on since 1.36).
func (a *Analysis) mutates() bool {
	if on, ok := a.cluster.Gates["MutatingAdmissionPolicy"]; ok {
		return on
	}
	return a.cluster.Version.AtLeast(36)
}

// rewrites reports whether a rule lets be changed what rewrites pods on their way in: a
// webhook, or a policy that is in force.
func (a *Analysis) rewrites(m rbac.Mask, names []string) bool {
	if m.Any(mayChangeHook) || m.Any(mayMakeHook) && names == nil {
		return true
	}
	return m.Any(mayChangePolicy) && a.mutates() && slices.ContainsFunc(a.cluster.Policies, func(p inventory.Policy) bool {
		return p.Mutating && p.Bound && (names == nil || slices.Contains(names, p.Name))
	})
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

// but lists the grants that say yes to one of some questions, wherever, and to none of
// others.
func (h *held) but(m, not rbac.Mask) (out []int) {
	for _, n := range h.grants {
		if g := &h.a.index.Grants[n]; g.Mask.Any(m) && !g.Mask.Any(not) {
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
