package objects

import (
	_ "embed"
	"encoding/json"
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Defaults are the roles and bindings that an API server of version Newest makes
// when it starts.
type Defaults struct {
	Roles    []inventory.Role    `json:"roles"`
	Bindings []inventory.Binding `json:"bindings"`
}

// TestDefaults makes the file, with -update, from what the test bed's server made.
//
//go:embed defaults.json
var defaultsFile []byte

func defaults() Defaults {
	var d Defaults
	if err := json.Unmarshal(defaultsFile, &d); err != nil {
		panic("objects: defaults.json: " + err.Error()) // part of the program
	}
	return d
}

// DefaultsSource is the Origin of roles that no input held and every cluster has.
const DefaultsSource = "defaults of Kubernetes"

type roleKey struct{ namespace, name string }

// rolesByName finds roles; of two with one name, the last.
func (l *Loader) rolesByName() map[roleKey]*inventory.Role {
	out := make(map[roleKey]*inventory.Role, len(l.cluster.Roles))
	for i := range l.cluster.Roles {
		r := &l.cluster.Roles[i]
		out[roleKey{r.Namespace, r.Name}] = r
	}
	return out
}

// addDefaults adds the ClusterRoles that every cluster has where the input does
// not: its bindings may refer to them.
func (l *Loader) addDefaults() {
	have := l.rolesByName()
	for _, r := range defaults().Roles {
		if r.Namespace == "" && have[roleKey{"", r.Name}] == nil {
			r.Origin.Source = DefaultsSource
			l.cluster.Roles = append(l.cluster.Roles, r)
		}
	}
}

// markDefaults marks the bindings that are as every new cluster has them. A name
// alone says nothing, anybody can take it: subjects and role must be the same, and
// the role's rules.
func (l *Loader) markDefaults() {
	d := defaults()
	rules := make(map[roleKey][]inventory.Rule, len(d.Roles))
	for _, r := range d.Roles {
		rules[roleKey{r.Namespace, r.Name}] = r.Rules
	}
	bindings := make(map[roleKey]*inventory.Binding, len(d.Bindings))
	for i := range d.Bindings {
		bindings[roleKey{d.Bindings[i].Namespace, d.Bindings[i].Name}] = &d.Bindings[i]
	}
	roles := l.rolesByName()
	for i := range l.cluster.Bindings {
		b := &l.cluster.Bindings[i]
		was := bindings[roleKey{b.Namespace, b.Name}]
		if b.Default = false; was == nil || was.Role != b.Role || was.ToClusterRole != b.ToClusterRole || !slices.EqualFunc(was.Subjects, b.Subjects, sameSubject) {
			continue
		}
		k := roleKey{b.Namespace, b.Role}
		if b.ToClusterRole {
			k.namespace = ""
		}
		if r := roles[k]; r != nil {
			b.Default = slices.EqualFunc(rules[k], r.Rules, same)
		}
	}
}

func sameSubject(a, b inventory.Subject) bool {
	a.Line, b.Line = 0, 0
	return a == b
}
