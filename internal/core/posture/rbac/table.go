// Package rbac says what roles and bindings let somebody do, as the API server's
// RBAC authorizer does (k8s pkg/apis/rbac/v1/evaluation_helpers.go and
// plugin/pkg/auth/authorizer/rbac).
//
// The analysis of a cluster asks the same few questions about thousands of roles.
// A Table numbers them, so that a role is one pass over its rules and the answer
// of a binding is a few words of bits. The package is pure.
package rbac

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Ask is a question: may somebody do this? Subresource is absent for the
// resource itself.
type Ask struct {
	Verb, Group, Resource, Subresource string
}

// combined is the resource as rules write it.
func (a Ask) combined() string {
	if a.Subresource == "" {
		return a.Resource
	}
	return a.Resource + "/" + a.Subresource
}

// Mask is a set of questions of a Table, by their numbers.
type Mask [maskWords]uint64

const (
	maskWords = 4
	// AsksMax is how many questions a Table can have.
	AsksMax = 64 * maskWords
)

// Has reports whether question i is in the set.
func (m Mask) Has(i int) bool { return m[i/64]&(1<<(i%64)) != 0 }

// Any reports whether the sets have a question in common.
func (m Mask) Any(o Mask) bool {
	for i := range m {
		if m[i]&o[i] != 0 {
			return true
		}
	}
	return false
}

// And returns what is in both sets.
func (m Mask) And(o Mask) Mask {
	for i := range m {
		m[i] &= o[i]
	}
	return m
}

// Or returns what is in either set.
func (m Mask) Or(o Mask) Mask {
	for i := range m {
		m[i] |= o[i]
	}
	return m
}

// Set returns m with question i.
func (m Mask) Set(i int) Mask {
	m[i/64] |= 1 << (i % 64)
	return m
}

// ActOn begins the verbs by which a rule says what may be done as somebody else
// ("impersonate-on:MODE:VERB"). An Ask of this verb is said yes to by every rule with one
// of them, whatever it is about.
const ActOn = "impersonate-on:"

// Table numbers questions.
type Table struct {
	Asks        []Ask
	all         Mask
	verb, group map[string]Mask
	resource    map[string]Mask // by how a rule may write it
}

// NewTable numbers the questions by their place. It panics with more than AsksMax:
// they are part of the program.
func NewTable(asks []Ask) *Table {
	if len(asks) > AsksMax {
		panic("rbac: more questions than a mask has bits")
	}
	t := &Table{Asks: slices.Clone(asks), verb: map[string]Mask{}, group: map[string]Mask{}, resource: map[string]Mask{}}
	for i, a := range asks {
		t.all = t.all.Set(i)
		t.verb[a.Verb] = t.verb[a.Verb].Set(i)
		t.group[a.Group] = t.group[a.Group].Set(i)
		t.resource[a.combined()] = t.resource[a.combined()].Set(i)
		if a.Subresource != "" {
			t.resource["*/"+a.Subresource] = t.resource["*/"+a.Subresource].Set(i)
		}
	}
	for _, m := range []map[string]Mask{t.verb, t.group, t.resource} {
		m["*"] = t.all
	}
	return t
}

// Rule returns the questions to which a rule says yes; where it has Names, only
// for objects so called. "pods/*" says yes to nothing, as upstream.
func (t *Table) Rule(r inventory.Rule) Mask {
	any := func(list []string, of map[string]Mask) (m Mask) {
		for _, s := range list {
			m = m.Or(of[s])
		}
		return m
	}
	m := any(r.Verbs, t.verb).And(any(r.Groups, t.group)).And(any(r.Resources, t.resource))
	if slices.ContainsFunc(r.Verbs, func(v string) bool { return strings.HasPrefix(v, ActOn) }) {
		m = m.Or(t.verb[ActOn])
	}
	return m
}
