package rbac

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Grant is what one rule lets those do whom one binding names.
type Grant struct {
	Binding int // in the cluster's Bindings
	Role    int // in its Roles
	Rule    int // in the role's Rules
	// Namespace is where it holds; absent for everywhere.
	Namespace string
	Mask      Mask
	// Names are the objects that it is limited to; nil for all.
	Names []string
}

// Allows reports whether the grant says yes to question i about an object. name
// may be empty: a create has none yet, and a list has no single one.
func (g *Grant) Allows(i int, namespace, name string) bool {
	return g.Mask.Has(i) && (g.Namespace == "" || g.Namespace == namespace) && g.About(name)
}

// About reports whether the grant is about objects of that name, among others or all.
func (g *Grant) About(name string) bool {
	return g.Names == nil || slices.Contains(g.Names, name)
}

// Index is who holds which grants.
type Index struct {
	Grants []Grant
	Users  map[string][]int // by user name, service accounts among them; numbers of grants
	Groups map[string][]int
}

// NewIndex looks at all bindings of a cluster once. Rules that say yes to no
// question of t are left out.
func NewIndex(c *inventory.Cluster, t *Table) *Index {
	x := &Index{Grants: make([]Grant, 0, len(c.Bindings)/3), Users: map[string][]int{}, Groups: map[string][]int{}} // most bindings give nothing here
	roles := rolesByName(c)
	masks := make([][]Mask, len(c.Roles)) // by role and rule, of those that a binding names
	for b := range c.Bindings {
		binding := &c.Bindings[b]
		r, ok := roles[roleKey(binding)]
		if !ok || binding.Namespace == "" && !binding.ToClusterRole {
			continue // a binding whose role is not there grants nothing; one of the cluster has no Role to refer to
		}
		if masks[r] == nil {
			masks[r] = make([]Mask, len(c.Roles[r].Rules), len(c.Roles[r].Rules)+1) // never nil
			for i, rule := range c.Roles[r].Rules {
				masks[r][i] = t.Rule(rule)
			}
		}
		for i, m := range masks[r] {
			if m != (Mask{}) {
				x.add(Grant{Binding: b, Role: r, Rule: i, Namespace: binding.Namespace, Mask: m, Names: names(c.Roles[r].Rules[i])}, binding)
			}
		}
	}
	return x
}

func names(r inventory.Rule) []string {
	if len(r.Names) == 0 {
		return nil
	}
	return r.Names
}

type nameKey struct{ namespace, name string }

// rolesByName finds roles as bindings refer to them; of two with one name, as
// manifests may have, the last.
func rolesByName(c *inventory.Cluster) map[nameKey]int {
	out := make(map[nameKey]int, len(c.Roles))
	for i := range c.Roles {
		out[nameKey{c.Roles[i].Namespace, c.Roles[i].Name}] = i
	}
	return out
}

func roleKey(b *inventory.Binding) nameKey {
	if b.ToClusterRole {
		return nameKey{"", b.Role}
	}
	return nameKey{b.Namespace, b.Role}
}

func (x *Index) add(g Grant, b *inventory.Binding) {
	n := len(x.Grants)
	x.Grants = append(x.Grants, g)
	for _, s := range b.Subjects {
		if user, ok := userOf(s, b); ok {
			x.Users[user] = append(x.Users[user], n)
		} else if s.Kind == inventory.Group {
			x.Groups[s.Name] = append(x.Groups[s.Name], n)
		}
	}
}

// userOf returns the user name of a binding's subject that is a user or a service
// account.
func userOf(s inventory.Subject, b *inventory.Binding) (string, bool) {
	switch s.Kind {
	case inventory.User:
		return s.Name, true
	case inventory.ServiceAccountSubject:
		namespace := cmp.Or(s.Namespace, b.Namespace)
		return ServiceAccountUser(namespace, s.Name), namespace != ""
	case inventory.Group:
	}
	return "", false
}

// Bound is by which bindings users, service accounts among them, and groups are named:
// numbers in the cluster's Bindings.
type Bound struct{ Users, Groups map[string][]int }

// NewBound looks at all bindings of a cluster, those that give nothing among them.
func NewBound(c *inventory.Cluster) *Bound {
	out := &Bound{map[string][]int{}, map[string][]int{}}
	for i := range c.Bindings {
		b := &c.Bindings[i]
		for _, s := range b.Subjects {
			if user, ok := userOf(s, b); ok {
				out.Users[user] = append(out.Users[user], i)
			} else if s.Kind == inventory.Group {
				out.Groups[s.Name] = append(out.Groups[s.Name], i)
			}
		}
	}
	return out
}

// Of lists the bindings that name an identity or one of its groups, in ascending order.
func (b *Bound) Of(id Identity) []int {
	out := slices.Clone(b.Users[id.User])
	for _, g := range id.Groups {
		out = append(out, b.Groups[g]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// serviceAccounts begins the user names of service accounts, and the name of their
// groups.
const serviceAccounts = "system:serviceaccount"

// ServiceAccountUser is the user name of a service account.
func ServiceAccountUser(namespace, name string) string {
	return serviceAccounts + ":" + namespace + ":" + name
}

// ServiceAccountOf is the other way round; false for the name of another user.
func ServiceAccountOf(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, serviceAccounts+":")
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	if !ok || namespace == "" || name == "" || strings.Contains(name, ":") {
		return "", "", false
	}
	return namespace, name, true
}

// NodeUser is the user name of a node's kubelet.
func NodeUser(node string) string { return nodes + node }

// NodeOf is the other way round; false for the name of another user.
func NodeOf(user string) (node string, ok bool) { return strings.CutPrefix(user, nodes) }

// nodes begins the user names of nodes.
const nodes = "system:node:"

// Identity is who asks: a user with groups.
type Identity struct {
	User   string
	Groups []string
}

// The groups that the API server itself puts somebody into.
const (
	Authenticated   = "system:authenticated"
	Unauthenticated = "system:unauthenticated"
	AnonymousUser   = "system:anonymous"
	Masters         = "system:masters" // whom no authorizer is asked about
	Nodes           = "system:nodes"
)

// IdentityOf returns a user with the groups that he surely has: those of a
// service account, of a node, of the anonymous, and system:authenticated.
func IdentityOf(user string) Identity {
	if user == AnonymousUser {
		return Identity{user, []string{Unauthenticated}}
	}
	if namespace, _, ok := ServiceAccountOf(user); ok {
		return Identity{user, []string{Authenticated, serviceAccounts + "s", serviceAccounts + "s:" + namespace}}
	}
	if _, ok := NodeOf(user); ok {
		return Identity{user, []string{Authenticated, Nodes}}
	}
	return Identity{user, []string{Authenticated}}
}

// Of lists the grants that an identity holds, in ascending order.
func (x *Index) Of(id Identity) []int {
	out := slices.Clone(x.Users[id.User])
	for _, g := range id.Groups {
		out = append(out, x.Groups[g]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Can reports whether an identity may do what question i asks, to an object of a
// namespace; namespace and name may be empty. Members of system:masters may do
// everything. It is what an index is held to Kubernetes' own authorizer by.
func (x *Index) Can(id Identity, i int, namespace, name string) bool {
	if slices.Contains(id.Groups, Masters) {
		return true
	}
	may := func(grants []int) bool {
		return slices.ContainsFunc(grants, func(n int) bool { return x.Grants[n].Allows(i, namespace, name) })
	}
	return may(x.Users[id.User]) || slices.ContainsFunc(id.Groups, func(g string) bool { return may(x.Groups[g]) })
}
