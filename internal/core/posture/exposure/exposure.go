package exposure

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// Exposure is a way by which an actor can get a command run in a target. There is
// one for each actor, target and channel, by a shortest path.
type Exposure struct {
	Actor   Actor         `json:"actor"`
	Channel event.Channel `json:"channel,omitempty"` // of the last step; absent where it is no channel of watch
	// Direct says that the actor needs nobody else's identity and no node.
	Direct bool   `json:"direct"`
	Target Target `json:"target"`
	// Scope is how far the last grant reaches: object, namespace, cluster, node or host.
	Scope string `json:"scope"`
	Via   []Step `json:"via"`
}

// Target is a container, or all containers of a pod.
type Target struct {
	Kind      string `json:"kind"` // "pod" or, of an engine, "container"
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
	Workload  string `json:"workload,omitempty"` // "Kind/name"
	Node      string `json:"node,omitempty"`

	// DockerName and ID are those of an engine's container, Host where it runs.
	DockerName string `json:"docker_name,omitempty"`
	ID         string `json:"id,omitempty"`
	Host       string `json:"host,omitempty"`
}

// Step is one step of a path. A step that roles allow has a Grant for each that is
// needed; any other has a Setting.
type Step struct {
	Edge    Edge    `json:"edge"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Grants  []Grant `json:"grants,omitempty"`
	Setting string  `json:"setting,omitempty"`
	// Unless says what may stand in the way and cannot be decided from here.
	Unless string `json:"unless,omitempty"`
	// Usual says that the setting is as every new cluster has it.
	Usual bool `json:"-"`
}

// Grant is a rule that a binding gives somebody.
type Grant struct {
	Binding   string           `json:"object"`         // "ClusterRoleBinding NAME", "RoleBinding NAMESPACE/NAME"
	Role      string           `json:"role"`           // "ClusterRole NAME", "Role NAMESPACE/NAME"
	Rule      int              `json:"rule"`           // number in the role, from 1
	Verbs     []string         `json:"verb,omitempty"` // those of its questions that matter to scan
	Resources []string         `json:"resource,omitempty"`
	Names     []string         `json:"names,omitempty"`
	Origin    inventory.Origin `json:"origin,omitzero"` // of the binding
	Line      int              `json:"line,omitempty"`  // of the rule, in the role's file
	// RuleAt is where the rule stands.
	RuleAt inventory.Origin `json:"rule_at,omitzero"`
	// Default says that every new cluster has it.
	Default bool `json:"default,omitempty"`
}

// Pod finds a pod of the cluster. It returns nil when there is none.
func (a *Analysis) Pod(namespace, name string) *inventory.Pod {
	if i := a.pod(namespace, name); i >= 0 {
		return &a.cluster.Pods[i]
	}
	return nil
}

// pod returns the number of a pod in the cluster, or -1.
func (a *Analysis) pod(namespace, name string) int {
	for i := range a.named.pods.of(name) {
		if a.cluster.Pods[i].Namespace == namespace {
			return i
		}
	}
	return -1
}

// WhoCanExec lists who can get a command run in a pod: directly by each channel, and
// by way of others by a shortest path. Groups are listed, and so are those who are
// surely in them. Direct ones come first, then by actor.
func (a *Analysis) WhoCanExec(p *inventory.Pod) []Exposure {
	target, ok := a.number[place{kind: atPod, namespace: p.Namespace, name: p.Name}]
	if !ok {
		return nil
	}
	to := targetOf(p)
	out, seen := a.direct(target, to), map[Actor]bool{}
	for _, e := range out {
		seen[e.Actor] = true
	}
	onwards := map[int32]*arc{} // by which a shortest path to the target goes on
	a.walk(target, true, nil, func(at int32, by *arc) bool {
		onwards[at] = by
		place := a.places[at]
		if by == nil || !identity(place) {
			return true
		}
		if actor := actorAt(place); !seen[actor] {
			seen[actor] = true
			out = append(out, a.along(actor, at, onwards, to))
		}
		return true
	})
	Sort(out)
	return out
}

// Sort orders who can get into one target: direct ones first, then by actor and channel.
func Sort(list []Exposure) {
	slices.SortStableFunc(list, func(a, b Exposure) int {
		if a.Direct != b.Direct {
			return map[bool]int{true: -1, false: 1}[a.Direct]
		}
		return cmp.Or(cmp.Compare(a.Actor, b.Actor), cmp.Compare(a.Channel, b.Channel))
	})
}

func targetOf(p *inventory.Pod) Target {
	return Target{Kind: "pod", Namespace: p.Namespace, Pod: p.Name, Workload: p.Workload, Node: p.Node}
}

// direct lists who has a grant or a setting that leads to the target at once.
func (a *Analysis) direct(target int32, to Target) (out []Exposure) {
	type key struct {
		actor   Actor
		channel event.Channel
	}
	have := map[key]bool{}
	holds := func(c arc) bool { return a.hops[c.hop].Edge == edgeHolds }
	a.walk(target, true, holds, func(set int32, _ *arc) bool {
		for _, c := range a.into(set) {
			channel := a.hops[c.hop].channel()
			if channel == "" || !identity(a.places[c.from]) {
				continue
			}
			for _, who := range append([]int32{c.from}, a.members(c.from)...) {
				e := Exposure{Actor: actorAt(a.places[who]), Channel: channel, Direct: true, Target: to, Scope: scopeOf(a.places[set]), Via: []Step{a.step(c)}}
				if k := (key{e.Actor, channel}); !have[k] {
					have[k] = true
					out = append(out, e)
				}
			}
		}
		return true
	})
	return out
}

func identity(p place) bool { return p.kind == atUser || p.kind == atGroup || p.kind == atOutside }

// members lists who is surely in a group.
func (a *Analysis) members(group int32) (out []int32) {
	for _, c := range a.into(group) {
		if a.hops[c.hop].Edge == edgeMember && identity(a.places[c.from]) {
			out = append(out, c.from)
		}
	}
	return out
}

// along returns the exposure by the path that goes on from a place.
func (a *Analysis) along(actor Actor, from int32, onwards map[int32]*arc, to Target) Exposure {
	e := Exposure{Actor: actor, Target: to}
	for at := from; onwards[at] != nil; at = onwards[at].to {
		c := *onwards[at]
		switch a.hops[c.hop].Edge {
		case edgeHolds, edgeMember:
			continue
		}
		e.Via = append(e.Via, a.step(c))
		e.Channel, e.Scope = a.hops[c.hop].channel(), scopeOf(a.places[c.to])
	}
	return e
}

func scopeOf(p place) string {
	switch {
	case p.kind == atNodePods || p.kind == atNode && p.name != "":
		return "node"
	case p.kind == atPod || p.kind == atContainer || p.kind == atWorkload:
		return "object"
	case p.namespace != "":
		return "namespace"
	}
	return "cluster"
}

// step describes an arc.
func (a *Analysis) step(c arc) Step {
	h := &a.hops[c.hop]
	s := Step{Edge: h.Edge, From: a.placeName(c.from), To: a.placeName(c.to), Setting: h.Setting, Unless: h.Unless, Usual: h.Usual}
	for i, n := range h.Grants {
		if !slices.Contains(h.Grants[:i], n) { // one may give all that is needed
			s.Grants = append(s.Grants, a.grant(n))
		}
	}
	return s
}

func (a *Analysis) grant(n int) Grant { return a.Describe(&a.index.Grants[n]) }

// Describe says which binding gives which rule, and where both stand. The grant is of
// an index over the analysed cluster, with whatever questions.
func (a *Analysis) Describe(g *rbac.Grant) Grant {
	b, r := &a.cluster.Bindings[g.Binding], &a.cluster.Roles[g.Role]
	rule := &r.Rules[g.Rule]
	return Grant{
		Binding: b.String(), Role: r.String(),
		Rule: g.Rule + 1, Verbs: rule.Verbs, Resources: rule.Resources, Names: g.Names, Origin: b.Origin, Line: rule.Line, RuleAt: a.ruleAt(r, rule), Default: b.Default,
	}
}

// ruleAt says where a rule of a role stands: an aggregated one, in the role that it
// comes from.
func (a *Analysis) ruleAt(r *inventory.Role, rule *inventory.Rule) inventory.Origin {
	at := r.Origin
	if rule.From != "" && rule.From != r.Name {
		at = inventory.Origin{}
		for _, i := range a.named.roles[""] {
			if from := &a.cluster.Roles[i]; from.Name == rule.From {
				at = from.Origin
			}
		}
	}
	if rule.Line > 0 {
		at.Line = rule.Line
	}
	return at
}

// placeName says a place in words.
func (a *Analysis) placeName(n int32) string {
	p := a.places[n]
	in := " in namespace " + p.namespace
	if p.namespace == "" {
		in = " in the cluster"
	}
	switch p.kind {
	case atUser, atGroup, atOutside, atContainer:
		return string(actorAt(p))
	case atPod:
		return "pod " + p.namespace + "/" + p.name
	case atPods:
		return "every pod" + in
	case atKind:
		return "pods of every " + p.name + in
	case atWorkload:
		return "pods of " + p.name + in
	case atNodePods:
		if p.name == "" {
			return "pods whose node is not known"
		}
		return "pods on node " + p.name
	case atNew:
		return strings.TrimSpace("a new pod" + in + " " + p.name)
	case atNames:
		return "any name of a service account" + in
	case atAccounts:
		return "any service account" + in
	case atUsers:
		return "any user"
	case atGroups:
		return "any group"
	case atKubelets:
		return "any node's kubelet"
	case atActing:
		return p.name
	case atNode:
		if p.name == "" {
			return "root on any node"
		}
		return "root on node " + p.name
	case atAll:
		return "everything"
	}
	return ""
}
