package exposure

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// Analysis is the graph of an inventory.
type Analysis struct {
	cluster *inventory.Cluster
	index   *rbac.Index
	*graph
	named        named
	admitting    bool        // one namespace lets pods break out
	keeping      []string    // namespaces whose Pod Security level keeps pods from breaking out
	makers       []maker     // kinds of the cluster that make pods
	starts       rbac.Mask   // questions of which one is enough to start a pod of any form
	refusing     []string    // what may refuse a pod on its way in
	bound        *rbac.Bound // nil until somebody may escalate
	none, member int32       // hops that are no steps: what a set consists of, whom a group has
	closers      []Closer    // settings by which hops are closed
	hosts        []Entry
	gone         []bool           // bindings that are thought away; nil for none
	rights       map[string][]int // what those may whom somebody acts as, by their words
	token        int32            // the hop from a pod to its service account
	podAt        []int32          // by pod, its place
	podAs        []int32          // and that of its service account; -1 without one
}

// New builds the graph of a cluster, with the ways that hosts which are its nodes have of
// their own.
func New(c *inventory.Cluster, hosts ...Entry) *Analysis {
	room := newGraph(2*len(c.Pods)+len(c.ServiceAccounts)+len(c.Bindings)/2, 8*len(c.Pods)+4*len(c.Bindings), len(c.Bindings)/2)
	a := &Analysis{cluster: c, index: rbac.NewIndex(c, table), graph: room, named: byName(c), hosts: hosts, rights: map[string][]int{}}
	a.anonymous()
	a.refusing, a.makers = refusing(c), makersIn(c)
	a.starts = starting(a.makers)
	a.none, a.member = a.hop(Hop{Edge: edgeHolds}), a.hop(Hop{Edge: edgeMember})
	a.sets()
	a.pods()
	a.nodes()
	a.entries(hosts)
	a.at(place{kind: atGroup, name: rbac.Authenticated})
	a.at(place{kind: atGroup, name: rbac.Unauthenticated})
	a.masters()
	a.apiServer()
	a.subjects()
	for user, grants := range sorted(a.index.Users) {
		if _, node := rbac.NodeOf(user); node {
			a.byName(user)
		}
		a.singles(a.user(user), grants)
		a.together(a.user(user), a.index.Of(rbac.IdentityOf(user)))
	}
	for group, grants := range sorted(a.index.Groups) {
		g := a.at(place{kind: atGroup, name: group})
		if group != rbac.Masters {
			a.link(a.at(place{kind: atGroups}), g, a.none)
		}
		a.singles(g, grants)
		a.together(g, grants)
	}
	a.grouped()
	a.seal()
	return a
}

// anonymous makes the user of whoever says no name one with the group that he alone is
// in. What they are given is nobody's where the API server refuses such requests.
func (a *Analysis) anonymous() {
	if a.refusesNameless() {
		delete(a.index.Users, rbac.AnonymousUser)
		delete(a.index.Groups, rbac.Unauthenticated)
		return
	}
	unite(a.index.Users, a.index.Groups)
	if len(a.index.Groups[rbac.Unauthenticated]) > 0 {
		a.link(a.at(place{kind: atUsers}), a.user(rbac.AnonymousUser), a.none)
	}
}

// refusesNameless reports whether the API server surely takes no request without a name,
// or for health checks alone.
func (a *Analysis) refusesNameless() bool {
	s := a.cluster.APIServer
	return s != nil && (s.Anonymous == inventory.No || len(s.AnonymousPaths) > 0)
}

// unite moves what names the anonymous user to the group that he is in.
func unite(users, groups map[string][]int) {
	if its := users[rbac.AnonymousUser]; len(its) > 0 {
		delete(users, rbac.AnonymousUser)
		all := append(slices.Clone(groups[rbac.Unauthenticated]), its...)
		slices.Sort(all)
		groups[rbac.Unauthenticated] = slices.Compact(all)
	}
}

// grouped links users who have no grants of their own with what those of several of
// their groups give together, or of one with a role that they are bound to.
func (a *Analysis) grouped() {
	for n := range int32(len(a.places)) {
		p := a.places[n]
		if p.kind != atUser || len(a.index.Users[p.name]) > 0 {
			continue
		}
		id, giving := rbac.IdentityOf(p.name), 0
		for _, g := range id.Groups {
			if len(a.index.Groups[g]) > 0 {
				giving++
			}
		}
		if giving == 0 {
			continue
		}
		if grants := a.index.Of(id); giving > 1 || a.escalates(grants) {
			a.together(n, grants)
		}
	}
}

// sets links what is reached together with what it consists of.
func (a *Analysis) sets() {
	all := a.at(place{kind: atAll})
	for _, k := range []placeKind{atPods, atNew, atAccounts, atUsers, atGroups, atKubelets, atNode} {
		a.link(all, a.at(place{kind: k}), a.none)
	}
	for i := range a.cluster.Namespaces {
		a.namespace(a.cluster.Namespaces[i].Name)
	}
	if a.cluster.Partial { // files seldom hold it, and every cluster has it
		a.namespace("kube-system")
	}
	for i := range a.cluster.Bindings { // of a namespace that was not read, its bindings may have been
		if in := a.cluster.Bindings[i].Namespace; in != "" {
			a.namespace(in)
		}
	}
	for _, s := range a.named.every {
		a.namespace(s.namespace)
		a.link(a.at(place{kind: atAccounts, namespace: s.namespace}), a.account(s.namespace, s.name), a.none)
	}
	a.absent()
	a.link(all, a.anyName(""), a.none)
}

// absent makes the places of service accounts that are not there beside those that are.
func (a *Analysis) absent() {
	every := place{kind: atNames}
	for _, s := range a.named.absent {
		in, known := place{kind: atNames, namespace: s.namespace}, false
		if _, known = a.number[in]; !known {
			a.link(a.at(every), a.at(in), a.none)
			a.link(a.at(every), a.at(place{kind: atAccounts}), a.none)
			a.link(a.at(in), a.at(place{kind: atAccounts, namespace: s.namespace}), a.none)
		}
		a.link(a.at(in), a.account(s.namespace, s.name), a.none)
	}
}

// anyName returns the place of any service account of a namespace, whether it is there or
// not: of which all are, that of those.
func (a *Analysis) anyName(namespace string) int32 {
	if n, ok := a.number[place{kind: atNames, namespace: namespace}]; ok {
		return n
	}
	return a.at(place{kind: atAccounts, namespace: namespace})
}

func (a *Analysis) account(namespace, name string) int32 {
	return a.user(rbac.ServiceAccountUser(namespace, name))
}

// namespace makes the places of a namespace, once.
func (a *Analysis) namespace(name string) {
	pods := place{kind: atPods, namespace: name}
	if _, ok := a.number[pods]; ok {
		return
	}
	a.link(a.at(place{kind: atPods}), a.at(pods), a.none)
	fresh, accounts := a.at(place{kind: atNew, namespace: name}), a.at(place{kind: atAccounts, namespace: name})
	a.link(a.at(place{kind: atNew}), fresh, a.none)
	a.link(a.at(place{kind: atAccounts}), accounts, a.none)
	for _, g := range rbac.IdentityOf(rbac.ServiceAccountUser(name, "default")).Groups { // there is one, whether it was read or not
		if len(a.index.Groups[g]) > 0 {
			a.link(accounts, a.at(place{kind: atGroup, name: g}), a.member)
		}
	}
	a.link(fresh, accounts, a.hop(Hop{Edge: edgeToken, Setting: "a new pod may use any service account of namespace " + name, Usual: true}))
	if h, ok := a.admits(name); ok {
		a.admitting = true
		a.link(fresh, a.at(place{kind: atNode}), a.hop(h))
	} else {
		a.past(name)
	}
}

// admits says whether a namespace lets a pod in that breaks out to its node. What
// nobody could tell is a doubt, and no pass.
func (a *Analysis) admits(namespace string) (Hop, bool) {
	level, unless := a.podSecurity(namespace)
	if level == "baseline" || level == "restricted" {
		return Hop{}, false
	}
	h := Hop{Edge: EdgeEscape, Setting: "namespace " + namespace + " admits privileged pods (Pod Security: " + level + ")"}
	if level == "" {
		h.Setting, h.Usual = "namespace "+namespace+" has no Pod Security level", true
	}
	h.Unless = either(append([]string{unless}, a.refusing...)...)
	return h, true
}

// podSecurity says which level counts for new pods of a namespace: "" when it has
// none, and in unless what could not be found out.
func (a *Analysis) podSecurity(namespace string) (level, unless string) {
	s := a.cluster.APIServer
	n, ok := a.named.namespaces[namespace]
	switch {
	case s != nil && slices.Contains(s.AdmissionOff, "PodSecurity"):
		return "turned off", ""
	case !ok:
		return "", "its Pod Security level, which was not read, forbids it"
	case a.cluster.Namespaces[n].Enforce != "":
		return a.cluster.Namespaces[n].Enforce, ""
	case s == nil || s.PodSecurity == "":
		return "", "the API server's default Pod Security level says otherwise"
	case s.PodSecurity == "privileged":
		return "", ""
	}
	return s.PodSecurity, ""
}

// ignore is the failure policy by which a webhook that does not answer is passed over.
const ignore = "Ignore"

// refusing lists the admission webhooks and policies that may refuse a pod.
func refusing(c *inventory.Cluster) (out []string) {
	for i := range c.Webhooks {
		if w := &c.Webhooks[i]; !w.Mutating && slices.ContainsFunc(w.Resources, arePods) {
			why := "the admission webhook " + w.Name + " refuses it"
			if w.Failure == ignore {
				why += ", as long as it answers"
			}
			out = append(out, why)
		}
	}
	for i := range c.Policies {
		if p := &c.Policies[i]; !p.Mutating && slices.ContainsFunc(p.Resources, arePods) && slices.Contains(p.Actions, "Deny") {
			out = append(out, "the admission policy "+p.Name+" refuses it")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// arePods reports whether resources of an admission rule, as "group/resource", have
// pods among them.
func arePods(resources string) bool {
	group, resource, _ := strings.Cut(resources, "/")
	return (group == coreGroup || group == "*") && slices.Contains([]string{"pods", "*", "*/*"}, resource)
}

// pods places every pod in the sets that it belongs to, and links it with what a
// command in it gives: its service account's token, and its node.
func (a *Analysis) pods() {
	a.token = a.hop(Hop{Edge: edgeToken, Setting: "the token of the pod's service account is in the pod"})
	a.podAt, a.podAs = make([]int32, len(a.cluster.Pods)), make([]int32, len(a.cluster.Pods))
	for i := range a.cluster.Pods {
		p := &a.cluster.Pods[i]
		a.namespace(p.Namespace)
		n := a.at(place{kind: atPod, namespace: p.Namespace, name: p.Name})
		a.podAt[i], a.podAs[i] = n, -1
		if p.ServiceAccount != "" {
			a.podAs[i] = a.account(p.Namespace, p.ServiceAccount)
		}
		a.link(a.at(place{kind: atPods, namespace: p.Namespace}), n, a.none)
		if kind, _, ok := strings.Cut(p.Workload, "/"); ok {
			w := a.at(place{kind: atWorkload, namespace: p.Namespace, name: p.Workload})
			in := a.at(place{kind: atKind, namespace: p.Namespace, name: kind})
			a.link(a.at(place{kind: atKind, name: kind}), in, a.none)
			a.link(in, w, a.none)
			a.link(w, n, a.none)
		}
		a.link(a.at(place{kind: atNodePods, name: p.Node}), n, a.none)
		a.gives(n, i, p.Containers)
		if isAPIServer(p) {
			a.link(a.at(place{kind: atNode, name: p.Node}), a.at(place{kind: atAll}), a.hop(Hop{Edge: EdgeNode, Setting: "the API server's keys are on node " + p.Node}))
		}
	}
}

// gives links where a command runs in some containers of a pod with the token there and,
// where something breaks out, with root on its node or, where its key is read, with the node.
func (a *Analysis) gives(n int32, pod int, in []inventory.Container) {
	p := &a.cluster.Pods[pod]
	if p.Token != inventory.No && a.podAs[pod] >= 0 {
		a.link(n, a.podAs[pod], a.token)
	}
	to, h := a.at(place{kind: atNode, name: p.Node}), Hop{Edge: EdgeEscape}
	if h.Setting, h.Unless = escape(&p.Template, in); h.Setting == "" {
		if h.Setting, h.Unless = readsKey(&p.Template, in); h.Setting == "" {
			return
		}
		if h.Edge, to = edgeToken, a.at(place{kind: atKubelets}); p.Node != "" {
			to = a.user(rbac.NodeUser(p.Node))
		}
	}
	if p.Node == "" {
		h.Unless = either(h.Unless, "what follows is on another node: that of the pod is not known")
	}
	a.link(n, to, a.hop(h))
}

// either joins what may stand in the way; "" is nothing.
func either(doubts ...string) string {
	return strings.Join(slices.DeleteFunc(doubts, func(s string) bool { return s == "" }), ", or ")
}

// isAPIServer reports whether p is the API server itself, as its node's file has it.
func isAPIServer(p *inventory.Pod) bool {
	return p.Namespace == "kube-system" && p.Node != "" && p.Name == "kube-apiserver-"+p.Node
}

// nodes links root on a node with what it gives, and the kubelet's port with who
// may use it without being asked.
func (a *Analysis) nodes() {
	names := map[string]*inventory.Kubelet{}
	for i := range a.cluster.Pods {
		if n := a.cluster.Pods[i].Node; n != "" {
			names[n] = nil
		}
	}
	for i := range a.cluster.Nodes {
		names[a.cluster.Nodes[i].Name] = a.cluster.Nodes[i].Kubelet
	}
	onNode := a.hop(Hop{Edge: EdgeNode, Setting: "root on a node has its runtime's socket and the kubelet's key", Usual: true})
	accounts := a.accountsByNode()
	tokens := a.hop(Hop{Edge: EdgeBeyond, Setting: nodesTokens})
	somewhere, unplaced := a.number[place{kind: atNodePods}]
	if unplaced {
		a.link(a.at(place{kind: atNode}), somewhere, onNode)
	}
	elsewhere := a.hop(Hop{Edge: EdgeNode, Setting: "root on a node has its runtime's socket", Usual: true, Unless: "they are on another node: theirs is not known"})
	for _, n := range accounts[""] { // of pods whose node is not known
		a.link(a.at(place{kind: atKubelets}), n, tokens)
	}
	for name, kubelet := range sorted(names) {
		node, pods, self := a.at(place{kind: atNode, name: name}), a.at(place{kind: atNodePods, name: name}), a.user(rbac.NodeUser(name))
		a.link(a.at(place{kind: atNode}), node, a.none)
		a.link(node, pods, onNode)
		if unplaced {
			a.link(node, somewhere, elsewhere)
		}
		a.link(node, self, onNode)
		a.kubelet(kubelet, pods)
		for _, n := range accounts[name] {
			a.link(self, n, tokens)
		}
	}
}

const nodesTokens = "a node may ask for the tokens of its pods' service accounts"

// accountsByNode lists the service accounts of each node's pods.
func (a *Analysis) accountsByNode() map[string][]int32 {
	out := map[string][]int32{}
	for i := range a.cluster.Pods {
		if p := &a.cluster.Pods[i]; a.podAs[i] >= 0 {
			out[p.Node] = append(out[p.Node], a.podAs[i])
		}
	}
	for node, list := range out {
		slices.Sort(list)
		out[node] = slices.Compact(list)
	}
	return out
}

// kubelet links who may run commands at a kubelet's port without being asked.
func (a *Analysis) kubelet(k *inventory.Kubelet, pods int32) {
	if k == nil || k.Debugging == inventory.No || k.Authorization != allowsAll {
		return
	}
	h := a.hop(Hop{Edge: EdgeKubelet, Setting: "the kubelet of node " + k.Node + " allows everything (authorization: AlwaysAllow)", closers: []int{a.closedBy(Closer{
		Setting: "kubelet of node " + k.Node, Patch: "authorization.mode: Webhook # in the configuration of the kubelet of " + k.Node + ", then restart it", Origin: k.Origin,
	})}})
	a.link(a.at(place{kind: atGroup, name: rbac.Authenticated}), pods, h)
	a.nameless(k.Anonymous, pods, a.hops[h])
}

// nameless links who says no name with where everybody gets, unless such requests are
// refused.
func (a *Analysis) nameless(taken inventory.Answer, to int32, h Hop) {
	switch taken {
	case inventory.No:
		return
	case inventory.Unknown:
		h.Unless = "requests without a name are refused, which could not be found out"
	case inventory.Yes:
	}
	a.link(a.at(place{kind: atGroup, name: rbac.Unauthenticated}), to, a.hop(h))
}

// apiServer links everybody with everything where the API server allows that.
func (a *Analysis) apiServer() {
	s := a.cluster.APIServer
	if s == nil || !slices.Contains(s.Authorization, allowsAll) {
		return
	}
	all, h := a.at(place{kind: atAll}), Hop{Edge: EdgeBeyond, Setting: "the API server allows everything (authorization: AlwaysAllow)"}
	a.link(a.at(place{kind: atGroup, name: rbac.Authenticated}), all, a.hop(h))
	if len(s.AnonymousPaths) == 0 { // else they are for health checks alone
		a.nameless(s.Anonymous, all, h)
	}
}

// allowsAll is the mode of API servers and kubelets that refuse nobody.
const allowsAll = "AlwaysAllow"

// user returns the place of a user, who is in the groups in which he surely is.
func (a *Analysis) user(name string) int32 {
	if name == rbac.AnonymousUser {
		return a.at(place{kind: atGroup, name: rbac.Unauthenticated})
	}
	p := place{kind: atUser, name: name}
	if n, ok := a.number[p]; ok {
		return n
	}
	n := a.at(p)
	switch {
	case ordinary(name):
		a.link(a.at(place{kind: atUsers}), n, a.none)
	case isUser(name):
		a.link(a.at(place{kind: atKubelets}), n, a.none)
	}
	for _, g := range rbac.IdentityOf(name).Groups {
		a.link(n, a.at(place{kind: atGroup, name: g}), a.member)
	}
	return n
}

func (a *Analysis) masters() {
	a.link(a.at(place{kind: atGroup, name: rbac.Masters}), a.at(place{kind: atAll}),
		a.hop(Hop{Edge: EdgeBeyond, Setting: "members of system:masters may do everything; no role says so and none can forbid it"}))
}

// subjects makes a place for everybody whom a binding names, also when it gives him
// nothing that matters here.
func (a *Analysis) subjects() {
	for i := range a.cluster.Bindings {
		for _, s := range a.cluster.Bindings[i].Subjects {
			switch s.Kind {
			case inventory.User:
				a.user(s.Name)
			case inventory.Group:
				a.at(place{kind: atGroup, name: s.Name})
			case inventory.ServiceAccountSubject: // those that exist are in the inventory
			}
		}
	}
}
