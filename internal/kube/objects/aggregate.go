package objects

import (
	"slices"

	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// aggregate is a ClusterRole whose rules come from others.
type aggregate struct {
	role      string
	origin    inventory.Origin
	selectors []labels.Selector
	// filled says that a controller has been at it: its rules stand, whether or
	// not the roles that they came from are there.
	filled bool
}

// aggregate notes where the rules of r come from. A selector that the controller
// would not understand selects nothing here, either.
func (l *Loader) aggregate(p place, r *rbac.ClusterRole) {
	a := aggregate{role: r.Name, origin: p.origin(), filled: p.server || r.UID != ""}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		if s, err := metav1.LabelSelectorAsSelector(&r.AggregationRule.ClusterRoleSelectors[i]); err == nil {
			a.selectors = append(a.selectors, s)
		}
	}
	l.aggregates = append(l.aggregates, a)
}

// resolveAggregates writes the rules of aggregated roles, as the controller does:
// those of all that are selected, followed through roles that are aggregated
// themselves. Without manifests the controller's own work stands.
func (l *Loader) resolveAggregates() {
	if !l.files {
		return
	}
	roles := make(map[string]int) // ClusterRoles by name
	for i := range l.cluster.Roles {
		if r := &l.cluster.Roles[i]; r.Namespace == "" {
			roles[r.Name] = i
		}
	}
	from := l.aggregated(roles)
	for name, a := range from {
		r := &l.cluster.Roles[roles[name]]
		rules := []inventory.Rule{}
		if a.filled {
			rules = slices.Clone(r.Rules)
		}
		for _, source := range l.sources(name, from, map[string]bool{name: true}) {
			other := &l.cluster.Roles[roles[source]]
			for _, rule := range other.Rules {
				if !slices.ContainsFunc(rules, func(have inventory.Rule) bool { return same(have, rule) }) {
					rule.From = other.Name
					rules = append(rules, rule)
				}
			}
		}
		a.rules = rules
	}
	for name, a := range from { // only now: sources must be as they were
		l.cluster.Roles[roles[name]].Rules = a.rules
	}
}

// sourced is an aggregated role with the roles that it selects.
type sourced struct {
	filled bool
	from   []string
	rules  []inventory.Rule
}

// aggregated finds for each aggregated role, in the state that counts, which roles
// it selects. Roles that were included have no more than their labels.
func (l *Loader) aggregated(roles map[string]int) map[string]*sourced {
	selectors := make(map[string]aggregate)
	for name, i := range roles {
		if s := l.cluster.Roles[i].Selectors; len(s) > 0 {
			a := aggregate{role: name, filled: true}
			for _, set := range s {
				a.selectors = append(a.selectors, labels.SelectorFromSet(set))
			}
			selectors[name] = a
		}
	}
	for _, a := range l.aggregates { // of those of one name only the last is a role still
		if i, ok := roles[a.role]; ok && l.cluster.Roles[i].Origin == a.origin {
			selectors[a.role] = a
		}
	}
	out := make(map[string]*sourced)
	for name, a := range selectors {
		s := &sourced{filled: a.filled}
		for i := range l.cluster.Roles {
			r := &l.cluster.Roles[i]
			if r.Namespace == "" && r.Name != name && slices.ContainsFunc(a.selectors, func(s labels.Selector) bool { return s.Matches(labels.Set(r.Labels)) }) {
				s.from = append(s.from, r.Name)
			}
		}
		out[name] = s
	}
	return out
}

// sources lists the roles whose own rules end up in a role. Those that aggregate
// each other in a circle are each looked at once.
func (l *Loader) sources(name string, from map[string]*sourced, seen map[string]bool) []string {
	var out []string
	for _, s := range from[name].from {
		if seen[s] {
			continue
		}
		seen[s] = true
		a := from[s]
		if a == nil || a.filled {
			out = append(out, s)
		}
		if a != nil {
			out = append(out, l.sources(s, from, seen)...)
		}
	}
	return out
}

// same reports whether two rules let do the same.
func same(a, b inventory.Rule) bool {
	return slices.Equal(a.Verbs, b.Verbs) && slices.Equal(a.Groups, b.Groups) && slices.Equal(a.Resources, b.Resources) &&
		slices.Equal(a.Names, b.Names) && slices.Equal(a.URLs, b.URLs)
}
