package exposure

import (
	"cmp"
	"iter"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// named finds objects as rules name them. Lists are of indexes in the cluster's.
type named struct {
	pods       listed
	every      []account            // all service accounts
	within     map[string][]account // those of a namespace
	accounts   map[string][]string  // namespaces of service accounts, by name
	absent     []account            // those that bindings name and that are not there
	roles      map[string][]int     // by namespace; ClusterRoles have none
	workloads  listed               // pods by "Kind/name" of what made them
	namespaces map[string]int
}

func byName(c *inventory.Cluster) named {
	n := named{
		pods:      list(len(c.Pods), func(i int) string { return c.Pods[i].Name }),
		workloads: list(len(c.Pods), func(i int) string { return c.Pods[i].Workload }),
		within:    map[string][]account{}, accounts: map[string][]string{}, roles: map[string][]int{}, namespaces: map[string]int{},
	}
	n.every, n.absent = accounts(c)
	for i := range c.Roles {
		n.roles[c.Roles[i].Namespace] = append(n.roles[c.Roles[i].Namespace], i)
	}
	for i := range c.Namespaces {
		n.namespaces[c.Namespaces[i].Name] = i
	}
	for _, a := range n.every {
		n.accounts[a.name] = append(n.accounts[a.name], a.namespace)
		n.within[a.namespace] = append(n.within[a.namespace], a)
	}
	return n
}

// listed finds things by names that several may share: the first with a name, and of each
// the next one, as their numbers from 1. Nearly all names are of one alone.
type listed struct {
	first map[string]int32
	next  []int32
}

func list(n int, name func(i int) string) listed {
	l := listed{map[string]int32{}, make([]int32, n)}
	for i := n - 1; i >= 0; i-- {
		at := name(i)
		l.next[i], l.first[at] = l.first[at], int32(i)+1
	}
	return l
}

// of yields the numbers, from 0 and in order, of those that have a name.
func (l *listed) of(name string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for n := l.first[name]; n > 0 && yield(int(n)-1); n = l.next[n-1] {
		}
	}
}

// account is a service account.
type account struct{ namespace, name string }

// accounts lists the service accounts that there are, also where only what uses them
// was read: those of pods and of token secrets; and those that bindings name. Of the latter
// whatever is not there is absent, where all that are there were read: it can be acted as, and
// nobody has its token before somebody makes it.
func accounts(c *inventory.Cluster) (there, absent []account) {
	seen := map[account]bool{}
	add := func(to *[]account, namespace, name string) {
		if a := (account{namespace, name}); namespace != "" && name != "" && !seen[a] {
			seen[a] = true
			*to = append(*to, a)
		}
	}
	for i := range c.ServiceAccounts {
		add(&there, c.ServiceAccounts[i].Namespace, c.ServiceAccounts[i].Name)
	}
	for i := range c.Pods {
		add(&there, c.Pods[i].Namespace, c.Pods[i].ServiceAccount)
	}
	for i := range c.TokenSecrets {
		add(&there, c.TokenSecrets[i].Namespace, c.TokenSecrets[i].ServiceAccount)
	}
	named := &absent
	if c.Partial || len(c.ServiceAccounts) == 0 {
		named = &there
	}
	for i := range c.Bindings {
		b := &c.Bindings[i]
		for _, s := range b.Subjects {
			switch s.Kind {
			case inventory.ServiceAccountSubject:
				add(named, cmp.Or(s.Namespace, b.Namespace), s.Name)
			case inventory.User: // a service account may be written as the user that it is
				if namespace, name, ok := rbac.ServiceAccountOf(s.Name); ok {
					add(named, namespace, name)
				}
			case inventory.Group:
			}
		}
	}
	return there, absent
}
