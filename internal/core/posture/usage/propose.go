package usage

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// Plan is the least that would have sufficed, and what it makes superfluous.
type Plan struct {
	Proposals []Proposal
	Removals  []Removal
	Kept      []Kept
	// Full says that more was used than is kept of it: nothing is proposed then.
	Full bool
}

// Proposal is the least role that would have sufficed for what somebody did in a
// namespace, or everywhere.
type Proposal struct {
	Actor   exposure.Actor    `json:"actor"`
	Role    inventory.Role    `json:"role"`
	Binding inventory.Binding `json:"binding"`
	Uses    int               `json:"uses"` // of what it allows, each counted
	Last    time.Time         `json:"last"`
}

// Removal is a binding that can go, once the proposals are there.
type Removal struct {
	Binding  string           `json:"object"`
	Origin   inventory.Origin `json:"origin,omitzero"`
	Replaced bool             `json:"replaced"` // it was used, and what it was used for is given otherwise
	// Loses is what else its role allows, at most losesMax rules: nobody watches it.
	Loses     []string `json:"loses,omitempty"`
	LosesMore int      `json:"loses_more,omitempty"`
	Patch     string   `json:"patch"`
}

// Kept is a binding that leads to a command and has to stay.
type Kept struct {
	Binding string `json:"object"`
	Why     string `json:"why"`
}

// Plan works out proposals of a report, which is this tally's. What every new cluster
// has is left alone.
func (t *Tally) Plan(r *Report) Plan {
	if t.cluster == nil {
		return Plan{}
	}
	k := t.cluster
	p := Plan{Full: k.needs.full}
	if p.Full {
		return p
	}
	took := map[string]map[string]takings{}
	for user, id := range k.needs.who {
		took[user] = k.took(user)
		k.widen(id, took[user])
	}
	tight := k.tight(took)
	stay := map[int]bool{} // bindings that give no more than was used
	for _, user := range slices.Sorted(maps.Keys(took)) {
		p.Proposals = append(p.Proposals, k.propose(user, took[user], tight, stay)...)
	}
	k.remove(&p, r, stay)
	return p
}

// takings are what somebody took in one place, by question.
type takings map[int]*need

// took returns what a user took, by namespace.
func (k *cluster) took(user string) map[string]takings {
	by := map[string]takings{}
	for key, n := range k.needs.of {
		if key.user == user {
			if by[key.namespace] == nil {
				by[key.namespace] = takings{}
			}
			by[key.namespace][key.question] = n
		}
	}
	return by
}

// propose returns the roles that one user needs, one for each namespace.
func (k *cluster) propose(user string, by map[string]takings, tight, stay map[int]bool) (out []Proposal) {
	id := k.needs.who[user]
	for _, namespace := range slices.Sorted(maps.Keys(by)) {
		took := by[namespace]
		if len(took) == 0 || k.fits(id, namespace, took, tight, stay) {
			continue
		}
		p := Proposal{Actor: exposure.ActorOf(user), Role: inventory.Role{Rules: k.rules(id, namespace, took)}}
		for _, n := range took {
			p.Uses, p.Last = p.Uses+n.uses, later(p.Last, n.last)
		}
		p.Role.Namespace, p.Role.Name = namespace, roleName(p.Actor)
		p.Binding = inventory.Binding{Object: p.Role.Object, ToClusterRole: namespace == "", Role: p.Role.Name, Subjects: []inventory.Subject{subject(user)}}
		out = append(out, p)
	}
	return out
}

// widen makes one of needs that are the same in all namespaces, if there are several
// and the user may do it everywhere anyhow.
func (k *cluster) widen(id rbac.Identity, by map[string]takings) {
	all := k.namespaces()
	if len(all) < 2 {
		return
	}
	for q := range questions {
		sum := &need{whole: true}
		for _, namespace := range all {
			n := by[namespace][q]
			if n == nil || !n.whole || inNoNamespace(questions[q].Ask) {
				sum = nil
				break
			}
			sum.uses, sum.last = sum.uses+n.uses, later(sum.last, n.last)
		}
		if sum == nil || !k.index.Can(id, q, "", "") { // in no namespace: in every one
			continue
		}
		for _, namespace := range all {
			delete(by[namespace], q)
		}
		if by[""] == nil {
			by[""] = takings{}
		}
		by[""][q] = sum
	}
}

// namespaces lists all that are known.
func (k *cluster) namespaces() []string {
	set := map[string]bool{}
	for n := range k.Namespaces {
		set[k.Namespaces[n].Name] = true
	}
	for n := range k.Pods {
		set[k.Pods[n].Namespace] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// tight tells the bindings that give none of those who took something, and hold them,
// anything else that leads to a command. What every new cluster has is not among them.
func (k *cluster) tight(took map[string]map[string]takings) map[int]bool {
	out := map[int]bool{}
	for user, by := range took {
		for _, n := range k.index.Of(k.needs.who[user]) {
			g := &k.index.Grants[n]
			b := &k.Bindings[g.Binding]
			if was, ok := out[g.Binding]; b.Default || ok && !was {
				continue
			}
			out[g.Binding] = k.within(g, by[b.Namespace])
		}
	}
	return out
}

// within reports whether a grant gives nothing that leads to a command beyond what was
// taken.
func (k *cluster) within(g *rbac.Grant, took takings) bool {
	for q := range questions {
		if !k.leads(q) || !g.Mask.Has(q) {
			continue
		}
		n := took[q]
		if n == nil || !n.whole && (g.Names == nil || slices.ContainsFunc(g.Names, func(s string) bool { return !n.names[s] })) {
			return false
		}
	}
	return true
}

// fits reports whether tight bindings give somebody all that he took in a place, and
// what kubectl asks for besides if he has that. They stay then.
func (k *cluster) fits(id rbac.Identity, namespace string, took takings, tight, stay map[int]bool) bool {
	by := map[int]bool{}
	given := func(q int, n *need, from func(binding int) bool) bool {
		return slices.ContainsFunc(k.index.Of(id), func(i int) bool {
			g := &k.index.Grants[i]
			ok := from(g.Binding) && g.Mask.Has(q) && covers(g.Names, n)
			by[g.Binding] = by[g.Binding] || ok
			return ok
		})
	}
	here := func(b int) bool { return tight[b] && k.Bindings[b].Namespace == namespace }
	for q, n := range took {
		if !given(q, n, here) {
			return false
		}
	}
	lasts := func(b int) bool {
		in := k.Bindings[b].Namespace
		return (in == "" || in == namespace) && (k.Bindings[b].Default || !k.leading[b] || here(b))
	}
	for q, n := range took {
		for _, c := range companions(questions[q].Ask) {
			if list, ok := k.held(id, c, namespace, n); ok && !given(c, namesOf(list), lasts) {
				return false
			}
		}
	}
	for b := range by {
		stay[b] = stay[b] || by[b]
	}
	return true
}

// namesOf is a need of some names, nil for all.
func namesOf(list []string) *need {
	n := &need{whole: list == nil, names: map[string]bool{}}
	for _, name := range list {
		n.names[name] = true
	}
	return n
}

// covers reports whether a grant's names are all that a need has.
func covers(names []string, n *need) bool {
	if names == nil || n.whole {
		return names == nil
	}
	return !slices.ContainsFunc(n.sorted(), func(s string) bool { return !slices.Contains(names, s) })
}

// ruleKey is a resource with the objects that a rule is limited to.
type ruleKey struct{ group, resource, names string }

// rules writes needs as rules of a role, with what kubectl itself asks for on the way
// where the user holds that: it gives nobody more than he has.
func (k *cluster) rules(id rbac.Identity, namespace string, took takings) []inventory.Rule {
	verbs, names := map[ruleKey][]string{}, map[ruleKey][]string{}
	add := func(a rbac.Ask, list []string) {
		resource := a.Resource
		if a.Subresource != "" {
			resource += "/" + a.Subresource
		}
		key := ruleKey{a.Group, resource, strings.Join(list, "\x00")}
		if !slices.Contains(verbs[key], a.Verb) {
			verbs[key], names[key] = append(verbs[key], a.Verb), list
		}
	}
	for _, q := range slices.Sorted(maps.Keys(took)) {
		add(questions[q].Ask, took[q].sorted())
	}
	for _, q := range slices.Sorted(maps.Keys(took)) {
		for _, c := range companions(questions[q].Ask) {
			if list, ok := k.held(id, c, namespace, took[q]); ok {
				add(questions[c].Ask, list)
			}
		}
	}
	var out []inventory.Rule
	for _, key := range slices.SortedFunc(maps.Keys(verbs), func(a, b ruleKey) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.resource, b.resource), cmp.Compare(a.names, b.names))
	}) {
		slices.Sort(verbs[key])
		out = append(out, inventory.Rule{Verbs: verbs[key], Groups: []string{key.group}, Resources: []string{key.resource}, Names: names[key]})
	}
	return out
}

// companions lists what kubectl asks for besides: the object before it does something
// to it, and how a pod comes up that it has made.
func companions(a rbac.Ask) (out []int) {
	add := func(group, resource string, verbs ...string) {
		for _, v := range verbs {
			if n, ok := number[rbac.Ask{Verb: v, Group: group, Resource: resource}]; ok {
				out = append(out, n)
			}
		}
	}
	switch {
	case a.Resource == pods && slices.Contains(streams, a.Subresource):
		add("", pods, verbGet)
	case a.Resource == pods && (a.Subresource == "ephemeralcontainers" || a.Subresource == "" && a.Verb == verbCreate):
		add("", pods, verbGet, "list", "watch")
	case a.Subresource == "" && a.Verb != verbImpersonate:
		add(a.Group, a.Resource, verbGet)
	}
	return out
}

// held returns of which of a need's objects a question is answered with yes, nil for
// all; false for none.
func (k *cluster) held(id rbac.Identity, q int, namespace string, n *need) ([]string, bool) {
	if n.whole {
		return nil, k.index.Can(id, q, namespace, "")
	}
	out := slices.DeleteFunc(n.sorted(), func(name string) bool { return !k.index.Can(id, q, namespace, name) })
	return out, len(out) > 0
}

// subject is a user as bindings name him.
func subject(user string) inventory.Subject {
	if namespace, name, ok := rbac.ServiceAccountOf(user); ok {
		return inventory.Subject{Kind: inventory.ServiceAccountSubject, Namespace: namespace, Name: name}
	}
	return inventory.Subject{Kind: inventory.User, Name: user}
}

// rolePrefix begins the names of proposed roles.
const rolePrefix = "sallyport-"

// nameMax bounds what of an actor's name is in that of his role.
const nameMax = 40

// roleName names the role of an actor: the same for the same, and no two alike.
func roleName(a exposure.Actor) string {
	kind, name, _ := strings.Cut(string(a), ":")
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
	out := rolePrefix + kind + "-" + strings.Trim(plain[:min(len(plain), nameMax)], "-")
	if plain != name || len(plain) > nameMax {
		h := fnv.New32a()
		_, _ = h.Write([]byte(a))
		out = fmt.Sprintf("%s-%08x", strings.TrimRight(out, "-"), h.Sum32())
	}
	return out
}

// losesMax bounds Removal.Loses.
const losesMax = 3

// remove says of every binding that leads to a command whether it can go.
func (k *cluster) remove(p *Plan, r *Report, stay map[int]bool) {
	type sum struct {
		uses, perhaps int
		unknown       bool
	}
	of := map[int]*sum{}
	for n := range r.Rows {
		row := &r.Rows[n]
		if row.binding < 0 || row.Default() {
			continue
		}
		if of[row.binding] == nil {
			of[row.binding] = &sum{}
		}
		s := of[row.binding]
		s.uses, s.perhaps, s.unknown = s.uses+row.Uses, s.perhaps+row.Perhaps, s.unknown || row.State == Unknown
	}
	for _, b := range slices.Sorted(maps.Keys(of)) {
		binding := &k.Bindings[b]
		if slices.ContainsFunc(p.Proposals, func(x Proposal) bool { return sameName(&x.Binding, binding) }) {
			continue // an earlier proposal, which this one is instead of
		}
		name := bindingName(binding)
		switch s := of[b]; {
		case stay[b]:
			p.Kept = append(p.Kept, Kept{name, "it gives no more than was used"})
		case s.perhaps > 0:
			p.Kept = append(p.Kept, Kept{name, "it was perhaps used: who asked is not known for sure"})
		case s.unknown:
			p.Kept = append(p.Kept, Kept{name, "nobody watched who would have seen all of its use"})
		default:
			gone := Removal{Binding: name, Origin: binding.Origin, Replaced: s.uses > 0, Patch: exposure.Unbind(binding)}
			gone.Loses, gone.LosesMore = k.loses(b)
			p.Removals = append(p.Removals, gone)
		}
	}
}

func sameName(a, b *inventory.Binding) bool { return a.Namespace == b.Namespace && a.Name == b.Name }

// bindingName names a binding as exposure.Grant does.
func bindingName(b *inventory.Binding) string {
	if b.Namespace == "" {
		return "ClusterRoleBinding " + b.Name
	}
	return "RoleBinding " + b.Namespace + "/" + b.Name
}

// loses lists the rules of a binding's role that allow something of which no session
// tells.
func (k *cluster) loses(binding int) (out []string, more int) {
	b := &k.Bindings[binding]
	for n := range k.Roles {
		r := &k.Roles[n]
		if r.Name != b.Role || (r.Namespace == "") != b.ToClusterRole || !b.ToClusterRole && r.Namespace != b.Namespace {
			continue
		}
		out, more = nil, 0 // of two with one name the last counts
		for _, rule := range r.Rules {
			if watchedWhole(rule) {
				continue
			}
			if len(out) == losesMax {
				more++
				continue
			}
			out = append(out, words(rule))
		}
	}
	return out, more
}

// watchedWhole reports whether sessions tell of all that a rule allows.
func watchedWhole(r inventory.Rule) bool {
	for _, group := range r.Groups {
		for _, resource := range r.Resources {
			for _, verb := range r.Verbs {
				name, sub, _ := strings.Cut(resource, "/")
				q, ok := number[rbac.Ask{Verb: verb, Group: group, Resource: name, Subresource: sub}]
				if !ok || questions[q].edge == "" && sub == "" {
					return false
				}
			}
		}
	}
	return len(r.URLs) == 0
}

// words says a rule in few words.
func words(r inventory.Rule) string {
	what := r.Resources
	if len(what) == 0 {
		what = r.URLs
	}
	const most = 4
	short := func(list []string) string {
		if len(list) > most {
			return strings.Join(list[:most], ", ") + ", ..."
		}
		return strings.Join(list, ", ")
	}
	out := short(r.Verbs) + " " + short(what)
	if len(r.Names) > 0 {
		out += " (" + short(r.Names) + ")"
	}
	return out
}
