package policy

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
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

func kinds() []session.Kind {
	return []session.Kind{
		session.KindStart, session.KindExec, session.KindAttach, session.KindHealthcheck, session.KindEnter, session.KindRuntime,
		session.KindCopy, session.KindProbe, session.KindHook, session.KindDebug, session.KindForward, session.KindProxy,
		session.KindChange, session.KindIdentity, session.KindDoor, session.KindRequest,
	}
}

// channels returns the ids of the catalogue and that of no known channel.
func channels() []event.Channel {
	out := []event.Channel{event.ChannelUnknown}
	for _, c := range attack.Channels() {
		out = append(out, c.ID)
	}
	return out
}

func newIndex(s *Set) *index {
	x := &index{
		channels: map[event.Channel]bitset{}, kinds: map[session.Kind]bitset{}, namespaces: map[string]bitset{},
	}
	x.all = s.pick(func(r *rule) bool { return s.possible(r, nil) })
	for _, c := range s.channels {
		known := apiOn(c)
		known["channel"] = types.String(c)
		x.channels[c] = s.where(known)
	}
	for _, k := range kinds() {
		x.kinds[k] = s.where(map[string]ref.Val{"kind": types.String(k)})
	}
	for _, n := range s.namespaces() {
		x.namespaces[n] = s.where(map[string]ref.Val{namespacePath: types.String(n)})
	}
	x.none = s.where(map[string]ref.Val{namespacePath: absent})
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
		asks := slices.ContainsFunc(r.uses, func(u use) bool { return known[u.path] != nil })
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
	return slices.ContainsFunc(r.probers, func(p prober) bool {
		a := p.ask(known)
		return a.yes || a.unknown != nil || a.err != nil
	})
}

func (r *rule) reads(path string) bool {
	return slices.ContainsFunc(r.uses, func(u use) bool { return u.path == path })
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
			for _, text := range constants(c.ast) {
				add(text)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// conditions returns what the rule asks: one condition, or the steps of a
// sequence.
func (r *rule) conditions() []*condition {
	switch {
	case r.sequence != nil:
		return r.sequence.steps
	case r.when == nil: // it asks nothing of sessions
		return nil
	}
	return []*condition{r.when}
}

func constants(a *ast.AST) []string {
	var out []string
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.LiteralKind {
			if s, ok := e.AsLiteral().(types.String); ok {
				out = append(out, string(s))
			}
		}
	}))
	return out
}

// onlyCompares reports whether the rule does nothing with a field but to compare
// it with texts that it names, or asks whether it is there.
func (r *rule) onlyCompares(path string) bool {
	for _, c := range r.conditions() {
		reads, compares := 0, 0
		ast.PreOrderVisit(c.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
			switch e.Kind() {
			case ast.SelectKind:
				if root, p := selectPath(e); p == path && (root == "session" || root == "request") && !e.AsSelect().IsTestOnly() {
					reads++
				}
			case ast.CallKind:
				if comparesWithTexts(e.AsCall(), path) {
					compares++
				}
			default:
			}
		}))
		if reads != compares {
			return false
		}
	}
	return true
}

func comparesWithTexts(c ast.CallExpr, path string) bool {
	args := c.Args()
	if len(args) != 2 {
		return false
	}
	field := func(e ast.Expr) bool { _, p := selectPath(e); return p == path }
	switch c.FunctionName() {
	case operators.Equals, operators.NotEquals:
		return field(args[0]) && args[1].Kind() == ast.LiteralKind || field(args[1]) && args[0].Kind() == ast.LiteralKind
	case operators.In:
		return field(args[0]) && args[1].Kind() == ast.ListKind &&
			!slices.ContainsFunc(args[1].AsList().Elements(), func(e ast.Expr) bool { return e.Kind() != ast.LiteralKind })
	}
	return false
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
	if hasNoNamespace(s) {
		return x.none
	}
	return x.all
}
