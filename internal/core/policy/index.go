package policy

import (
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
)

// index says which rules can hold for a channel, a kind and a namespace, so that
// the others are never asked. It is made by asking each condition what it says
// when that one field is known and no other: where it says no, no session can
// make it hold. A rule is left out only on such a no, so the index changes no
// decision.
type index struct {
	all        bitset
	channels   map[event.Channel]bitset
	kinds      map[session.Kind]bitset
	namespaces map[string]bitset // those that conditions name
	other      bitset            // for any other namespace
	none       bitset            // for what has no namespace
}

// bitset is a set of rules, by their place among all.
type bitset []uint64

func (s bitset) add(i int) { s[i/64] |= 1 << (i % 64) }

func (s bitset) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

const namespacePath = "target.namespace"

// namespacesMax bounds the namespaces that have a set of their own.
const namespacesMax = 1 << 12

func newIndex(s *Set) *index {
	x := &index{
		channels: map[event.Channel]bitset{}, kinds: map[session.Kind]bitset{}, namespaces: map[string]bitset{},
	}
	x.all = s.pick(func(r *rule) bool { return s.possible(r, nil) })
	for _, c := range s.channels {
		x.channels[c] = s.where(field.OnChannel(c))
	}
	for _, k := range field.Kinds() {
		x.kinds[k] = s.where(map[string]ref.Val{"kind": types.String(k)})
	}
	for _, n := range s.namespaces() {
		x.namespaces[n] = s.where(map[string]ref.Val{namespacePath: types.String(n)})
	}
	x.none = s.where(map[string]ref.Val{namespacePath: value.Absent})
	x.other = s.pick(func(r *rule) bool {
		if !r.onlyCompares(namespacePath) {
			return true
		}
		// No condition names it, so it stands for every namespace that none names.
		return s.possible(r, map[string]ref.Val{namespacePath: types.String("\x00")})
	})
	return x
}

// where returns the rules that can hold when some fields are known.
func (s *Set) where(known map[string]ref.Val) bitset {
	return s.pick(func(r *rule) bool {
		asks := slices.ContainsFunc(r.uses, func(u condition.Use) bool { return known[u.Path] != nil })
		return !asks || s.possible(r, known)
	})
}

func (s *Set) pick(ok func(*rule) bool) bitset {
	out := make(bitset, (len(s.rules)+63)/64)
	for i, r := range s.rules {
		if ok(r) {
			out.add(i)
		}
	}
	return out
}

// possible reports whether a rule can hold for a session of which some fields
// are known. Of a sequence it is enough that one step can.
func (s *Set) possible(r *rule, known map[string]ref.Val) bool {
	return slices.ContainsFunc(r.conditions(), func(c *condition.Condition) bool { return c.Possible(known) })
}

// onlyCompares is condition.OnlyCompares of all that the rule asks.
func (r *rule) onlyCompares(path string) bool {
	return !slices.ContainsFunc(r.conditions(), func(c *condition.Condition) bool { return !c.OnlyCompares(path) })
}

func (r *rule) reads(path string) bool {
	return slices.ContainsFunc(r.uses, func(u condition.Use) bool { return u.Path == path })
}

// namespaces returns every text that a condition could compare a namespace with.
func (s *Set) namespaces() []string {
	var out []string
	add := func(text string) {
		if len(out) < namespacesMax {
			out = append(out, text)
		}
	}
	for _, r := range s.rules {
		if !r.reads(namespacePath) {
			continue
		}
		for _, c := range r.conditions() {
			for _, text := range c.Texts() {
				add(text)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// candidates is the rules that can hold for one session: those in all four sets.
type candidates [4]bitset

func (c *candidates) word(i int) uint64 { return c[0][i] & c[1][i] & c[2][i] & c[3][i] }

func (x *index) candidates(s *session.Session) candidates {
	c := candidates{x.all, x.all, x.all, x.byNamespace(s)}
	if b, ok := x.channels[s.Channel]; ok {
		c[1] = b
	}
	if b, ok := x.kinds[s.Kind]; ok {
		c[2] = b
	}
	return c
}

func (x *index) byNamespace(s *session.Session) bitset {
	if n := s.Target.Namespace; n != "" {
		if b, ok := x.namespaces[n]; ok {
			return b
		}
		return x.other
	}
	if field.HasNoNamespace(s) {
		return x.none
	}
	return x.all
}

// found says which of a session's fields the index looked up: for all rules, and
// for those that only compare namespaces with texts. Of these, the index's set for
// all other namespaces tells, too.
type found struct{ all, comparing condition.Given }

func (f found) of(r *rule) condition.Given {
	if r.compares {
		return f.comparing
	}
	return f.all
}

func (x *index) found(s *session.Session) found {
	var got condition.Given
	if _, ok := x.channels[s.Channel]; ok {
		got |= condition.GivenChannel
	}
	if _, ok := x.kinds[s.Kind]; ok {
		got |= condition.GivenKind
	}
	_, named := x.namespaces[s.Target.Namespace]
	switch {
	case s.Target.Namespace != "" && !named:
		return found{got, got | condition.GivenNamespace}
	case s.Target.Namespace != "", field.HasNoNamespace(s):
		got |= condition.GivenNamespace
	}
	return found{got, got}
}
