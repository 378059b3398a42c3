package exposure

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Lever is what a binding lets its subjects do by one kind of step.
type Lever struct {
	// Edge is the kind of step; absent for rules that allow everything, which are
	// not told apart.
	Edge    Edge
	Binding *inventory.Binding
	Grants  []Grant // the rules
	Actors  []Actor // who has it
	// To says in words where the step leads, at most namedMax places of Places.
	To     []string
	Places int
	Spread
}

// Spread is what can be reached from somewhere in the end.
type Spread struct {
	Pods       int  // into which a command can be got
	Node       bool // root on a node
	Everything bool // cluster administrator
}

// Levers lists what each binding lets its subjects do that leads to a command, in
// the order of the bindings. Those that rest on nothing but what every new cluster
// has are counted instead.
func (w *Weighing) Levers() (out []Lever, folded int) {
	pulls, folded := w.collect()
	out = make([]Lever, 0, len(pulls))
	for _, l := range pulls {
		out = append(out, w.lever(l))
	}
	return out, folded
}

// pull is a lever that is being put together.
type pull struct {
	leverKey
	who, to, grants []int32
}

type leverKey struct {
	binding int
	edge    Edge
}

// collect finds the levers among the arcs of identities, and counts those that
// default bindings give.
func (a *Analysis) collect() (out []*pull, folded int) {
	pulls, defaults := map[leverKey]*pull{}, map[leverKey]bool{}
	for n := range int32(len(a.places)) {
		if !identity(a.places[n]) {
			continue
		}
		its := a.holdings(n)
		for _, c := range a.from(n) {
			h := &a.hops[c.hop]
			if len(h.Grants) == 0 || its.inherited(h) {
				continue
			}
			k := leverKey{a.keyOf(its.own, h), h.Edge}
			if k.binding < 0 {
				defaults[leverKey{a.index.Grants[h.Grants[0]].Binding, h.Edge}] = true
				continue
			}
			if !slices.ContainsFunc(h.Grants, func(g int) bool { return !a.whole(g) }) {
				k.edge = ""
			}
			if pulls[k] == nil {
				pulls[k] = &pull{leverKey: k}
				out = append(out, pulls[k])
			}
			pulls[k].add(n, c.to, h.Grants)
		}
	}
	for _, l := range out {
		for _, list := range []*[]int32{&l.who, &l.to, &l.grants} {
			slices.Sort(*list)
			*list = slices.Compact(*list)
		}
	}
	slices.SortFunc(out, func(x, y *pull) int {
		if x.binding != y.binding {
			return cmp.Compare(x.binding, y.binding)
		}
		return cmp.Compare(slices.Index(edgeOrder, x.edge), slices.Index(edgeOrder, y.edge))
	})
	return out, len(defaults)
}

func (l *pull) add(who, to int32, grants []int) {
	l.who, l.to = append(l.who, who), append(l.to, to)
	for _, g := range grants {
		l.grants = append(l.grants, int32(g))
	}
}

var edgeOrder = []Edge{
	"", EdgeExec, EdgeAttach, EdgeEphemeral, EdgeNodeProxy, EdgeCreate, EdgeChange, EdgeImpersonate, EdgeMint, EdgeSecret,
	EdgeGrant, EdgeCertificate, EdgeRewrite, EdgeControl,
}

// keyOf returns the binding that a hop is charged to: the first of its grants that
// not every new cluster has, of those that are the actor's own if there are such. It
// is -1 when every one is a default.
func (a *Analysis) keyOf(own []int, h *Hop) int {
	out := -1
	for _, g := range h.Grants {
		b := a.index.Grants[g].Binding
		switch {
		case a.cluster.Bindings[b].Default:
		case slices.Contains(own, g):
			return b
		case out < 0:
			out = b
		}
	}
	return out
}

// holdings are the grants that bindings give to just an identity, and those of each group
// that it is surely in.
type holdings struct {
	own    []int
	groups [][]int
}

func (a *Analysis) holdings(who int32) holdings {
	out := holdings{own: a.own(who)}
	for _, g := range a.groupsOf(who) {
		if grants := a.own(g); len(grants) > 0 {
			out.groups = append(out.groups, grants)
		}
	}
	return out
}

// own lists the grants that bindings give to just this identity.
func (a *Analysis) own(who int32) []int {
	p := a.places[who]
	if p.kind == atGroup {
		return a.index.Groups[p.name]
	}
	return a.index.Users[p.name]
}

// inherited reports whether a group that the identity is in has the hop as well: it
// takes several grants, and all are the group's.
func (its *holdings) inherited(h *Hop) bool {
	if len(h.Grants) < 2 {
		return false
	}
	return slices.ContainsFunc(its.groups, func(held []int) bool {
		return !slices.ContainsFunc(h.Grants, func(n int) bool { return !slices.Contains(held, n) })
	})
}

// whole reports whether the rule of a grant allows everything.
func (a *Analysis) whole(g int) bool {
	grant := &a.index.Grants[g]
	return whole(a.cluster.Roles[grant.Role].Rules[grant.Rule])
}

func (w *Weighing) lever(l *pull) Lever {
	a, to := w.Analysis, w.widest(l.to)
	out := Lever{Edge: l.edge, Binding: &a.cluster.Bindings[l.binding], Places: len(to), Spread: w.of(l.to)}
	for _, n := range l.who {
		out.Actors = append(out.Actors, actorAt(a.places[n]))
	}
	slices.Sort(out.Actors)
	for _, n := range to[:min(len(to), namedMax)] {
		out.To = append(out.To, a.placeName(n))
	}
	for _, g := range l.grants {
		out.Grants = append(out.Grants, a.grant(int(g)))
	}
	return out
}

// widest leaves out pods of a kind of workload where every pod of the namespace is
// among the places.
func (a *Analysis) widest(places []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(places), func(n int32) bool {
		p := a.places[n]
		if p.kind != atKind && p.kind != atWorkload {
			return false
		}
		every, ok := a.number[place{kind: atPods, namespace: p.namespace}]
		return ok && slices.Contains(places, every)
	})
}

// Weighing says what the findings of a report come to: what is reached from places, each
// question once. It is not for use by several goroutines.
type Weighing struct {
	*counter
	nodes, all []bool // by place, whether root on a node or everything is reached
	known      map[string]Spread
	key        []byte
	marks      []uint32 // by pod, the last question that counted it
	question   uint32
}

// Weigh prepares what all findings of a report share.
func (a *Analysis) Weigh() *Weighing {
	w := &Weighing{counter: newCounter(a), known: map[string]Spread{}, marks: make([]uint32, len(a.cluster.Pods))}
	w.look()
	var nodes []int32
	for n := range int32(len(a.places)) {
		if a.places[n].kind == atNode {
			nodes = append(nodes, n)
		}
	}
	w.nodes, w.all = a.leading(nodes...), a.leading(a.number[place{kind: atAll}])
	return w
}

// leading says of each place whether it leads to one of some others.
func (a *Analysis) leading(to ...int32) []bool {
	out := make([]bool, len(a.places))
	for _, n := range to {
		out[n] = true
	}
	for todo := slices.Clone(to); len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, c := range a.into(at) {
			if !out[c.from] {
				out[c.from] = true
				todo = append(todo, c.from)
			}
		}
	}
	return out
}

// of says what is reached from places together.
func (w *Weighing) of(places []int32) (s Spread) {
	w.key = w.key[:0]
	for _, n := range places {
		w.key = binary.NativeEndian.AppendUint32(w.key, uint32(n))
	}
	if s, ok := w.known[string(w.key)]; ok {
		return s
	}
	w.question++
	for _, n := range places {
		s.Node, s.Everything = s.Node || w.nodes[n], s.Everything || w.all[n]
		if w.reaches[n] {
			s.Pods = len(w.cluster.Pods)
		}
	}
	for _, n := range places {
		if s.Pods == len(w.cluster.Pods) {
			break
		}
		w.each(n, func(pod int32) {
			if w.marks[pod] != w.question {
				w.marks[pod] = w.question
				s.Pods++
			}
		})
	}
	w.known[string(w.key)] = s
	return s
}

// Breakout is a pod out of which whoever runs a command gets root on its node; of
// several of one workload, the first.
type Breakout struct {
	Pod *inventory.Pod
	Why string
	Spread
}

// Breakouts lists the pods that break out to their nodes, one for each workload.
func (w *Weighing) Breakouts() (out []Breakout) {
	a, seen := w.Analysis, map[place]bool{}
	for i := range a.cluster.Pods {
		p := &a.cluster.Pods[i]
		why, unless := escape(&p.Template, p.Containers)
		if why == "" {
			continue
		}
		why = Doubted(why, unless)
		k := place{kind: atPod, namespace: p.Namespace, name: p.Name}
		if p.Workload != "" {
			k.kind, k.name = atWorkload, p.Workload
		}
		if seen[k] {
			continue
		}
		seen[k] = true
		b := Breakout{Pod: p, Why: why, Spread: w.of([]int32{a.podAt[i]})}
		b.Node = true // of a manifest, the node is not known yet
		out = append(out, b)
	}
	return out
}

// Carried is a service account whose token is in a pod and leads on, beyond what
// every new cluster has and what its groups have.
type Carried struct {
	Actor Actor
	Pod   *inventory.Pod // one that has its token
	More  int            // others
	Spread
}

// Tokens lists the service accounts whose tokens in pods lead to other pods.
func (w *Weighing) Tokens() (out []Carried) {
	a, lasting := w.Analysis, w.lasting()
	first := map[int32]int{}
	for i := range a.cluster.Pods {
		p := &a.cluster.Pods[i]
		n := a.podAs[i]
		if p.Token == inventory.No || n < 0 {
			continue
		}
		if at, ok := first[n]; ok {
			if at >= 0 {
				out[at].More++
			}
			continue
		}
		s := w.of([]int32{n})
		first[n] = -1
		if s.Pods <= lasting[n] || s.Pods <= w.of(a.groupsOf(n)).Pods {
			continue
		}
		first[n] = len(out)
		out = append(out, Carried{Actor: actorAt(a.places[n]), Pod: p, Spread: s})
	}
	return out
}

// lasting returns how many pods each identity reaches by what every new cluster has.
func (w *Weighing) lasting() map[int32]int {
	for b := range w.cluster.Bindings {
		w.removed[b] = !w.cluster.Bindings[b].Default
	}
	w.look()
	out := map[int32]int{}
	for _, n := range w.actors() {
		out[n] = w.pods(n)
	}
	clear(w.removed)
	w.look()
	return out
}
