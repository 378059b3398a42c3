package exposure

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// Constrained impersonation (KEP 5284; k8s apiserver, endpoints/filters/impersonation):
// somebody acts as another one for single things alone. It takes "impersonate:MODE" on
// whom he acts as, and "impersonate-on:MODE:VERB" on what he does; then the other one is
// asked.
const (
	modeUser       = "user-info"
	modeAccount    = "serviceaccount"
	modeNode       = "arbitrary-node"
	modeOwnNode    = "associated-node" // of the pod that a service account's token is for
	authentication = "authentication.k8s.io"
)

var (
	mayActAsUser    = ask(authentication, "users", "", "impersonate:"+modeUser)
	mayActAsGroup   = ask(authentication, "groups", "", "impersonate:"+modeUser)
	mayActAsAccount = ask(authentication, "serviceaccounts", "", "impersonate:"+modeAccount)
	mayActAsNode    = ask(authentication, "nodes", "", "impersonate:"+modeNode)
	mayActAsOwnNode = ask(authentication, "nodes", "", "impersonate:"+modeOwnNode)
	mayActOn        = ask("", "", "", rbac.ActOn)
)

// constrains reports whether the server knows constrained impersonation (gate
// ConstrainedImpersonation, on since 1.36).
func (a *Analysis) constrains() bool {
	if on, ok := a.cluster.Gates["ConstrainedImpersonation"]; ok {
		return on
	}
	return a.cluster.Version.AtLeast(36)
}

// acted is whom somebody may act as, all by the same rules.
type acted struct {
	mode   string
	words  string
	by     []int // the rules that allow it
	grants []int // what those may who are acted as
	nodes  []string
}

// constrained links a subject with what it can do as somebody else for single things.
func (a *Analysis) constrained(who int32, has *held) {
	if !has.may.Any(mayActOn) || !a.constrains() {
		return
	}
	on := slices.DeleteFunc(slices.Clone(has.grants), func(n int) bool { return !a.index.Grants[n].Mask.Any(mayActOn) })
	for _, as := range a.actsAs(who, has.grants) {
		for _, n := range on {
			if m := a.actsOn(n, as.mode); m != (rbac.Mask{}) {
				a.acting(who, &as, n, m)
			}
		}
	}
}

// actsOn returns the questions about what a rule lets be done as somebody else.
func (a *Analysis) actsOn(grant int, mode string) rbac.Mask {
	g := &a.index.Grants[grant]
	rule := a.cluster.Roles[g.Role].Rules[g.Rule]
	as := inventory.Rule{Groups: rule.Groups, Resources: rule.Resources}
	for _, v := range rule.Verbs {
		if verb, ok := strings.CutPrefix(v, rbac.ActOn+mode+":"); ok && verb != "*" { // "*" is no verb here
			as.Verbs = append(as.Verbs, verb)
		}
	}
	return table.Rule(as)
}

// acting links a subject with what those may whom it acts as, as far as rule on goes.
func (a *Analysis) acting(who int32, as *acted, on int, may rbac.Mask) {
	limit := &a.index.Grants[on]
	at := place{kind: atActing, namespace: limit.Namespace, name: as.words + ", as far as rule " + strconv.Itoa(limit.Rule+1) + " of " + a.cluster.Roles[limit.Role].String() + " goes"}
	_, known := a.number[at]
	n := a.at(at)
	a.link(who, n, a.by(EdgeImpersonate, append(slices.Clone(as.by), on)...))
	if known {
		return
	}
	for _, i := range as.grants {
		g := &a.index.Grants[i]
		if !g.Mask.Any(may) {
			continue
		}
		if in, names, ok := common(limit, g); ok {
			for _, s := range a.steps(g.Mask.And(may), scope{in, in == ""}, names) {
				a.link(n, s.to, a.through(s.by, s.edge, i))
			}
		}
	}
	if may.Any(mayMint) {
		a.nodeTokens(n, as.nodes, limit)
	}
}

// nodeTokens links with the service accounts of nodes' pods: for these a node may ask.
func (a *Analysis) nodeTokens(from int32, nodes []string, limit *rbac.Grant) {
	if len(nodes) == 0 {
		return
	}
	h := a.hop(Hop{Edge: EdgeBeyond, Setting: nodesTokens})
	for i := range a.cluster.Pods {
		p := &a.cluster.Pods[i]
		if p.ServiceAccount != "" && slices.Contains(nodes, p.Node) && (limit.Namespace == "" || limit.Namespace == p.Namespace) &&
			limit.About(p.ServiceAccount) {
			a.link(from, a.podAs[i], h)
		}
	}
}

// common returns where two grants hold both, and for which names.
func common(x, y *rbac.Grant) (namespace string, names []string, ok bool) {
	if namespace = x.Namespace; namespace == "" {
		namespace = y.Namespace
	}
	if y.Namespace != "" && y.Namespace != namespace {
		return "", nil, false
	}
	switch {
	case x.Names == nil:
		return namespace, y.Names, true
	case y.Names == nil:
		return namespace, x.Names, true
	}
	names = slices.DeleteFunc(slices.Clone(x.Names), func(n string) bool { return !slices.Contains(y.Names, n) })
	return namespace, names, len(names) > 0
}

// actsAs lists whom a subject may act as, for single things.
func (a *Analysis) actsAs(who int32, grants []int) (out []acted) {
	user := -1 // a rule by which some user can be acted as: a group only comes with one
	for _, n := range grants {
		g := &a.index.Grants[n]
		if g.Namespace == "" && g.Mask.Any(mayActAsUser) {
			if as := a.asUsers(g.Names); len(as.words) > 0 {
				user, as.by = n, []int{n}
				out = append(out, as)
			}
		}
		if g.Mask.Any(mayActAsAccount) {
			as := a.asAccounts(g)
			as.by = []int{n}
			out = append(out, as)
		}
		if g.Namespace != "" {
			continue // a node is in none
		}
		for _, as := range a.asNodes(who, g) {
			as.by = []int{n}
			out = append(out, as)
		}
	}
	for _, n := range grants {
		if g := &a.index.Grants[n]; user >= 0 && g.Namespace == "" && g.Mask.Any(mayActAsGroup) {
			as := a.asGroups(g.Names)
			as.by = slices.Compact([]int{n, user})
			out = append(out, as)
		}
	}
	return out
}

// ordinary reports whether a name is one of a user who is neither a service account nor a
// node.
func ordinary(name string) bool {
	_, node := rbac.NodeOf(name)
	return isUser(name) && !node
}

func (a *Analysis) asUsers(names []string) acted {
	out := acted{mode: modeUser, words: "any user"}
	if names != nil {
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !ordinary(n) })
		if len(names) == 0 {
			return acted{}
		}
		out.words = "user:" + strings.Join(names, ", user:")
	}
	out.grants = a.rightsOf(out.words, func() (grants []int) {
		if names == nil {
			names = append(slices.Collect(maps.Keys(a.index.Users)), rbac.AnonymousUser, "") // and anybody who is not known
		}
		for _, name := range names {
			if ordinary(name) {
				grants = append(grants, a.index.Of(rbac.IdentityOf(name))...)
			}
		}
		return grants
	})
	return out
}

// asGroups: system:masters is no group that somebody can act as in this way.
func (a *Analysis) asGroups(names []string) acted {
	out := acted{mode: modeUser, words: "any group"}
	if names != nil {
		out.words = "group:" + strings.Join(names, ", group:")
	}
	out.grants = a.rightsOf(out.words, func() (grants []int) {
		for name, held := range a.index.Groups {
			if name != rbac.Masters && (names == nil || slices.Contains(names, name)) {
				grants = append(grants, held...)
			}
		}
		return grants
	})
	return out
}

func (a *Analysis) asAccounts(g *rbac.Grant) acted {
	places := a.theNames(g.Namespace, g.Names)
	out := acted{mode: modeAccount}
	var words []string
	for _, n := range places {
		words = append(words, a.placeName(n))
	}
	out.words = strings.Join(words, ", ")
	out.grants = a.rightsOf(out.words, func() (grants []int) {
		list := a.named.every
		if g.Namespace != "" {
			list = a.named.within[g.Namespace]
		}
		for _, s := range slices.Concat(list, a.named.absent) {
			if g.Namespace != "" && g.Namespace != s.namespace {
				continue
			}
			if g.About(s.name) {
				grants = append(grants, a.index.Of(rbac.IdentityOf(rbac.ServiceAccountUser(s.namespace, s.name)))...)
			}
		}
		return grants
	})
	return out
}

// asNodes: as the node of its own pod a service account can act only where the rule is
// for all of them.
func (a *Analysis) asNodes(who int32, g *rbac.Grant) (out []acted) {
	add := func(mode, words string, nodes []string) {
		out = append(out, acted{mode: mode, words: words, nodes: nodes, grants: a.rightsOf(words, func() (grants []int) {
			for _, n := range nodes {
				grants = append(grants, a.index.Of(rbac.IdentityOf(rbac.NodeUser(n)))...)
			}
			return grants
		})})
	}
	if g.Mask.Any(mayActAsNode) {
		words, nodes := "any node", g.Names
		if nodes == nil {
			nodes = a.nodeNames(func(*inventory.Pod) bool { return true })
		} else {
			words = "node:" + strings.Join(nodes, ", node:")
		}
		add(modeNode, words, nodes)
	}
	if g.Mask.Any(mayActAsOwnNode) && g.About("*") && a.places[who].kind == atUser {
		if namespace, name, ok := rbac.ServiceAccountOf(a.places[who].name); ok {
			add(modeOwnNode, "the nodes of pods of "+string(actorAt(a.places[who])), a.nodeNames(func(p *inventory.Pod) bool {
				return p.Namespace == namespace && p.ServiceAccount == name
			}))
		}
	}
	return out
}

// nodeNames lists the nodes of some pods.
func (a *Analysis) nodeNames(of func(*inventory.Pod) bool) (out []string) {
	for i := range a.cluster.Pods {
		if p := &a.cluster.Pods[i]; p.Node != "" && of(p) {
			out = append(out, p.Node)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// rightsOf lists what those may whom somebody acts as. Many act as the same ones: it is found
// out once for the words that say who they are.
func (a *Analysis) rightsOf(words string, find func() []int) []int {
	grants, ok := a.rights[words]
	if !ok {
		grants = find()
		slices.Sort(grants)
		grants = slices.Compact(grants)
		a.rights[words] = grants
	}
	return grants
}
