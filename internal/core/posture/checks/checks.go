package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/containerrules"
	"github.com/sallyport/sallyport/internal/core/posture/controlplane"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/hostrules"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Found is a finding, how it was weighed, and where what it is about stands.
type Found struct {
	finding.Finding
	Score Score
	At    inventory.Origin
}

// Report is what the checks found.
type Report struct {
	Found []Found // the worst first
	// Folded counts what would have been found, but rests on nothing but what every
	// new cluster has.
	Folded int
	Gaps   []Gap
	// Open are checks of settings that nobody could tell: neither found nor passed.
	Open []posture.Open
}

// Gap is something that was not looked at, and what is unknown for it.
type Gap struct {
	inventory.Unread
	Means string `json:"means,omitempty"`
}

// run is a report in the making.
type run struct {
	inventory  *inventory.Inventory
	cluster    *inventory.Cluster
	namespaces map[string]bool // that were read
	exposed    Factor
	found      []*Found // findings are large: while they gather and are sorted, they stay where they are
	out        Report
}

// Run looks at an inventory. a is the analysis of its cluster; nil when there is none.
func Run(i *inventory.Inventory, a *exposure.Analysis) Report {
	r := run{inventory: i, cluster: i.Cluster}
	if a != nil {
		r.exposed, r.namespaces = exposed(i.Cluster), map[string]bool{}
		for n := range i.Cluster.Namespaces {
			r.namespaces[i.Cluster.Namespaces[n].Name] = true
		}
		w := a.Weigh()
		r.levers(w)
		r.masters()
		r.holds(ruleByID(ruleBlinding), a.Blinding())
		r.holds(ruleByID(ruleServing), a.Serving())
		r.breakouts(w)
		r.shared(a)
		r.tokens(w)
	}
	r.settings()
	r.containers()
	for _, u := range i.Unread {
		r.out.Gaps = append(r.out.Gaps, Gap{u, means[u.What]})
	}
	r.out.Found = ordered(r.found)
	return r.out
}

// ordered returns findings, the worst first.
func ordered(found []*Found) []Found {
	slices.SortStableFunc(found, func(x, y *Found) int {
		return cmp.Or(cmp.Compare(y.Score.Value, x.Score.Value), cmp.Compare(x.Rule, y.Rule), cmp.Compare(x.Subject, y.Subject))
	})
	out := make([]Found, len(found))
	for n, f := range found {
		out[n] = *f
	}
	return out
}

// settings adds what is wrong with the settings of hosts, kubelets and API servers,
// whatever analysis there is.
func (r *run) settings() {
	found, open := controlplane.Check(r.inventory)
	r.out.Open = open
	for n := range r.inventory.Hosts {
		more, unsure := hostrules.Check(&r.inventory.Hosts[n], r.inventory.Time)
		found, r.out.Open = append(found, more...), append(r.out.Open, unsure...)
	}
	for _, f := range found {
		settled := Settled(f)
		r.found = append(r.found, &settled)
	}
}

// containers adds what is wrong with containers, whatever leads to them.
func (r *run) containers() {
	for _, f := range containerrules.Check(r.inventory) {
		r.found = append(r.found, &Found{Finding: f.Finding, Score: ofSetting(f.Severity), At: f.At})
	}
}

// means says what is unknown when a part was not read.
var means = map[inventory.Part]string{
	inventory.PartNamespaces:      "Pod Security levels: whether a new pod can break out",
	inventory.PartServiceAccounts: "whose tokens could be made",
	inventory.PartRoles:           "what bindings to roles of namespaces give",
	inventory.PartClusterRoles:    "what most bindings give",
	inventory.PartRoleBindings:    "who may do what in single namespaces",
	inventory.PartClusterBindings: "who may do what in every namespace",
	inventory.PartPods:            "what there is to get into, and what it leads to",
	inventory.PartWorkloads:       "what makes pods",
	inventory.PartNodes:           "nodes without pods",
	inventory.PartTokenSecrets:    "whether reading secrets gives a token",
	inventory.PartWebhooks:        "whether a webhook refuses pods",
	inventory.PartPolicies:        "whether a policy refuses pods",
	inventory.PartPodMakers:       "who may run pods by way of workflows, pipelines and the like",
	inventory.PartAWSAuth:         "on EKS: who may make himself an administrator by it",
	inventory.PartVersion:         "which verbs are enough for exec and attach",
	inventory.PartGates:           "which verbs are enough for exec and attach, where a gate was set",
	inventory.PartAPIServer:       "anonymous requests, other authorizers than RBAC, default Pod Security level, from where it can be reached",
	inventory.PartKubelet:         "who may use kubelets without being asked",
	inventory.PartImages:          "what a command finds in containers, and as whom it runs",
}

// add completes a finding and takes it in.
func (r *run) add(rule *rule, f Found) {
	f.Time, f.Severity = r.inventory.Time, f.Score.Severity()
	rule.Complete(&f.Finding)
	f.Evidence = append(f.Evidence, finding.Evidence{Source: "severity", What: f.Score.String()})
	if r.cluster.APIServer == nil || r.cluster.APIServer.Public == inventory.Unknown {
		f.Unknown = append(f.Unknown, "api_server.public")
	}
	r.found = append(r.found, &f)
}

// everybody is what bindings give to those who are not known.
type everybody struct {
	binding *inventory.Binding
	does    []string
	actors  []exposure.Actor
	grants  []exposure.Grant
	spread  exposure.Spread
}

// remedy is a command, and in a comment what else would do.
func remedy(rule *rule, command string) string { return command + "  # " + rule.Remedy }

// levers adds what bindings allow.
func (r *run) levers(w *exposure.Weighing) {
	levers, folded := w.Levers()
	r.out.Folded = folded
	open := map[string]map[*inventory.Binding]*everybody{ruleAnonymous: {}, ruleAnyone: {}}
	var order []*inventory.Binding // as the levers have them: those of one stand together
	for n := range levers {
		l := &levers[n]
		rule := ruleOf(l.Edge)
		if rule == nil {
			continue
		}
		does := r.does(rule, l)
		f := r.about(l.Binding, l.Actors, does, l.Grants, l.Spread)
		f.Score = newScore(reach(l.Pods, len(r.cluster.Pods)), privilege(l.Spread, l.Edge), who(l.Actors), r.exposed)
		f.Remedy = remedy(rule, exposure.Unbind(l.Binding))
		f.Unknown = r.unknown(l)
		r.add(rule, f)
		if len(order) == 0 || order[len(order)-1] != l.Binding {
			order = append(order, l.Binding)
		}
		note(open[ruleAnonymous], l, does, anonymous)
		note(open[ruleAnyone], l, does, anyone)
	}
	for _, id := range []string{ruleAnonymous, ruleAnyone} {
		for _, b := range order {
			if e := open[id][b]; e != nil {
				r.everybody(ruleByID(id), e)
			}
		}
	}
}

// does says what a lever lets somebody do.
func (r *run) does(rule *rule, l *exposure.Lever) string {
	switch {
	case l.Edge != "":
		return rule.does + " " + several(l.To, l.Places)
	case l.Binding.Namespace == "":
		return rule.does
	}
	return rule.does + " in namespace " + l.Binding.Namespace
}

// unknown lists what would have to be known to say what a lever comes to.
func (r *run) unknown(l *exposure.Lever) (out []string) {
	if l.Edge != exposure.EdgeCreate && l.Edge != exposure.EdgeChange {
		return nil
	}
	if in := l.Binding.Namespace; in != "" && !r.namespaces[in] {
		out = append(out, "namespace.pod_security")
	}
	if l.Node && r.cluster.APIServer == nil {
		out = append(out, "api_server.default_pod_security")
	}
	return out
}

// note takes down what a lever gives to those of its actors who are not known.
func note(open map[*inventory.Binding]*everybody, l *exposure.Lever, does string, unknown func(exposure.Actor) bool) {
	if !slices.ContainsFunc(l.Actors, unknown) {
		return
	}
	e := open[l.Binding]
	if e == nil {
		e = &everybody{binding: l.Binding}
		open[l.Binding] = e
	}
	e.does = append(e.does, does)
	for _, a := range l.Actors {
		if unknown(a) {
			e.actors = append(e.actors, a)
		}
	}
	e.grants = append(e.grants, l.Grants...)
	e.spread.Pods = max(e.spread.Pods, l.Pods)
	e.spread.Node, e.spread.Everything = e.spread.Node || l.Node, e.spread.Everything || l.Everything
}

func (r *run) everybody(rule *rule, e *everybody) {
	slices.Sort(e.actors)
	e.actors = slices.Compact(e.actors)
	f := r.about(e.binding, e.actors, several(e.does, len(e.does)), e.grants, e.spread)
	f.Score = newScore(reach(e.spread.Pods, len(r.cluster.Pods)), privilege(e.spread, ""), who(e.actors), r.exposed)
	f.Remedy = remedy(rule, exposure.Unbind(e.binding))
	r.add(rule, f)
}

// about begins a finding about a binding.
func (r *run) about(b *inventory.Binding, actors []exposure.Actor, does string, grants []exposure.Grant, s exposure.Spread) Found {
	f := Found{At: b.Origin}
	f.Subject = b.String()
	f.Target = &finding.Target{Namespace: b.Namespace, Object: f.Subject}
	names := make([]string, len(actors))
	for n, a := range actors {
		names[n] = string(a)
	}
	if len(actors) == 1 {
		f.Actor = &finding.Actor{Kind: session.ActorKubernetes, Name: names[0]}
	}
	f.Message = fmt.Sprintf("%s %s. %s", several(names, len(names)), does, r.end(s))
	for n, g := range grants {
		if n == evidenceMax {
			break
		}
		if e := evidence(g); !slices.Contains(f.Evidence, e) {
			f.Evidence = append(f.Evidence, e)
		}
	}
	return f
}

// evidenceMax bounds the rules that a finding repeats.
const evidenceMax = 8

func evidence(g exposure.Grant) finding.Evidence {
	detail := fmt.Sprintf("rule %d: %s %s", g.Rule, strings.Join(g.Verbs, ","), strings.Join(g.Resources, ","))
	if len(g.Names) > 0 {
		detail += " named " + strings.Join(g.Names, ",")
	}
	if at := g.RuleAt.String(); at != "" {
		detail += " (" + at + ")"
	}
	return finding.Evidence{Source: g.Origin.String(), What: g.Binding + " gives " + g.Role, Detail: detail}
}

// end says what something comes to in the end.
func (r *run) end(s exposure.Spread) string {
	out := fmt.Sprintf("In the end: %d of %d pods", s.Pods, len(r.cluster.Pods))
	switch {
	case s.Everything:
		out += ", as cluster administrator"
	case s.Node:
		out += ", and root on a node"
	}
	return out
}

// several lists at most three of what there is.
func several(list []string, all int) string {
	const most = 3
	out := strings.Join(list[:min(len(list), most)], ", ")
	if all > most {
		out += fmt.Sprintf(" and %d more", all-most)
	}
	return out
}

// masters adds bindings that name the group of those whom nobody asks.
func (r *run) masters() {
	rule := ruleByID(ruleMasters)
	for n := range r.cluster.Bindings {
		b := &r.cluster.Bindings[n]
		if b.Default || !slices.ContainsFunc(b.Subjects, func(s inventory.Subject) bool {
			return s.Kind == inventory.Group && s.Name == rbac.Masters
		}) {
			continue
		}
		spread := exposure.Spread{Pods: len(r.cluster.Pods), Node: true, Everything: true}
		actors := []exposure.Actor{exposure.Actor("group:" + rbac.Masters)}
		f := r.about(b, actors, "are named: whoever gets a certificate with that group may do everything, whatever roles say", nil, spread)
		f.Score = newScore(reach(spread.Pods, spread.Pods), privilege(spread, ""), Factor{"who", 0.7, "whoever is in the group has it without the binding"}, r.exposed)
		f.Evidence = []finding.Evidence{{Source: b.Origin.String(), What: f.Subject + " names Group " + rbac.Masters}}
		f.Remedy = remedy(rule, exposure.Unbind(b))
		r.add(rule, f)
	}
}

// holds adds bindings whose subjects may change what others rely on.
func (r *run) holds(rule *rule, list []exposure.Hold) {
	for n := range list {
		h := &list[n]
		f := r.about(h.Binding, h.Actors, rule.does, h.Grants, exposure.Spread{})
		f.Message = strings.TrimSuffix(f.Message, " "+r.end(exposure.Spread{}))
		f.Score = newScore(Factor{"reach", 0.5, "no pod by itself"}, Factor{"privilege", 0.8, "by means of its own"}, who(h.Actors), r.exposed)
		f.Remedy = remedy(rule, exposure.Unbind(h.Binding))
		r.add(rule, f)
	}
}

// breakouts adds pods that are root on their nodes.
func (r *run) breakouts(w *exposure.Weighing) {
	rule := ruleByID(ruleBreakout)
	for _, b := range w.Breakouts() {
		f := Found{At: b.Pod.Origin}
		f.Subject = "pod " + b.Pod.Namespace + "/" + cmp.Or(b.Pod.Workload, b.Pod.Name)
		f.Target = &finding.Target{Namespace: b.Pod.Namespace, Pod: b.Pod.Name, Workload: b.Pod.Workload, Node: b.Pod.Node}
		f.Message = fmt.Sprintf("Whoever gets a command into %s is root on its node: %s. %s", f.Subject, b.Why, r.end(b.Spread))
		f.Evidence = []finding.Evidence{{Source: b.Pod.Origin.String(), What: b.Why}}
		f.Score = newScore(reach(b.Pods, len(r.cluster.Pods)), privilege(b.Spread, ""), entrant, r.exposed)
		f.Remedy = remedy(rule, "kubectl label namespace "+exposure.Word(b.Pod.Namespace)+" pod-security.kubernetes.io/enforce=baseline")
		r.add(rule, f)
	}
}

// shared adds pods whose containers are not kept apart.
func (r *run) shared(a *exposure.Analysis) {
	rule := ruleByID(ruleShared)
	for _, b := range a.Shared() {
		f := Found{At: b.Pod.Origin}
		f.Subject = "pod " + b.Pod.Namespace + "/" + cmp.Or(b.Pod.Workload, b.Pod.Name)
		f.Target = &finding.Target{Namespace: b.Pod.Namespace, Pod: b.Pod.Name, Workload: b.Pod.Workload, Node: b.Pod.Node}
		f.Message = fmt.Sprintf("Whoever gets a command into one container of %s may get into the others: %s.", f.Subject, b.Why)
		f.Evidence = []finding.Evidence{{Source: b.Pod.Origin.String(), What: "shareProcessNamespace: " + b.Why}}
		f.Score = newScore(reach(1, len(r.cluster.Pods)), Factor{"privilege", 0.7, "as the container is"}, entrant, r.exposed)
		f.Remedy = remedy(rule, "sallyport scan reach "+exposure.Word("container:"+b.Pod.Namespace+"/"+b.Pod.Name+"/"+b.Pod.Containers[0].Name))
		r.add(rule, f)
	}
}

// tokens adds service accounts whose tokens lead from one pod to others.
func (r *run) tokens(w *exposure.Weighing) {
	rule := ruleByID(ruleToken)
	tokens := w.Tokens()
	for _, t := range tokens {
		f := Found{At: t.Pod.Origin}
		f.Subject = string(t.Actor)
		f.Actor = &finding.Actor{Kind: session.ActorKubernetes, Name: string(t.Actor)}
		f.Target = &finding.Target{Namespace: t.Pod.Namespace, Pod: t.Pod.Name, Workload: t.Pod.Workload}
		pod := "pod " + t.Pod.Namespace + "/" + t.Pod.Name
		if t.More > 0 {
			pod += fmt.Sprintf(" or one of %d more", t.More)
		}
		f.Message = fmt.Sprintf("Whoever gets a command into %s has the token of %s. %s", pod, t.Actor, r.end(t.Spread))
		f.Evidence = []finding.Evidence{{Source: t.Pod.Origin.String(), What: "the token of " + string(t.Actor) + " is in pod " + t.Pod.Namespace + "/" + t.Pod.Name}}
		f.Score = newScore(reach(t.Pods, len(r.cluster.Pods)), privilege(t.Spread, exposure.EdgeExec), entrant, r.exposed)
		f.Remedy = remedy(rule, "sallyport scan reach "+exposure.Word(string(t.Actor)))
		r.add(rule, f)
	}
}
