package policy

import (
	"fmt"
	"net/netip"
	"path"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/sallyport/sallyport/internal/core/pattern"
)

// Bounds of a condition's text, so that a file of rules cannot take the loader
// down with it.
const (
	conditionMax = 16 << 10 // bytes
	nestingMax   = 64
	regexMax     = 4096 // instructions of a compiled regular expression
)

// provider tells the library the types of the language.
type provider struct {
	types.Provider
	fields map[string][]string
	types  map[string]map[string]*types.FieldType
	byName map[string]map[string]field
}

// newProvider returns the types for given lists and values: those are fields,
// too, so that a name that does not exist is an error at load.
func newProvider(base types.Provider, all map[*cel.Type][]field) *provider {
	p := &provider{
		Provider: base, fields: map[string][]string{}, types: map[string]map[string]*types.FieldType{}, byName: map[string]map[string]field{},
	}
	for t, fields := range all {
		name := t.TypeName()
		p.types[name], p.byName[name] = make(map[string]*types.FieldType, len(fields)), make(map[string]field, len(fields))
		for _, f := range fields {
			p.types[name][f.name] = &types.FieldType{Type: f.typ, IsSet: isSet(f), GetFrom: getFrom(f)}
			p.byName[name][f.name] = f
			p.fields[name] = append(p.fields[name], f.name)
		}
	}
	return p
}

// getFrom makes read what the library calls.
func getFrom(f field) ref.FieldGetter {
	return func(it any) (any, error) {
		if p, ok := it.(*probe); ok {
			return p.field(f), nil
		}
		return read(f, it), nil
	}
}

// read reads a field; of nothing there is none, of the unknown all is unknown.
func read(f field, it any) ref.Val {
	switch it := it.(type) {
	case *nothing:
		return noneOf(f.typ)
	case *types.Unknown:
		return it
	}
	kept := cache(it, f.slot)
	if kept == nil {
		return f.get(it)
	}
	if *kept == nil {
		*kept = f.get(it)
	}
	return *kept
}

// isSet makes hasValue what the library calls.
func isSet(f field) ref.FieldTester {
	return func(it any) bool { return hasValue(f, it) }
}

// hasValue is what has() asks: whether a field has a value that is known.
func hasValue(f field, it any) bool {
	if it == any(absent) {
		return false
	}
	switch v := read(f, it).(type) {
	case *nothing, *types.Unknown:
		return false
	case *list:
		return v.n > 0
	case *dict:
		return v.Size() != types.IntZero
	default:
		return true
	}
}

// FindStructType implements types.Provider.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.types[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if names, ok := p.fields[name]; ok {
		return names, true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if t, ok := p.types[name]; ok {
		f, ok := t[field]
		return f, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}

// NewValue implements types.Provider: conditions make no sessions.
func (p *provider) NewValue(name string, _ map[string]ref.Val) ref.Val {
	return types.NewErr("a condition cannot make a %s", name)
}

// environment returns the language with the given tunables.
func environment(t *tunables) (*cel.Env, *provider, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, nil, err
	}
	all := fieldsOf()
	all[listsType], all[valuesType] = t.listFields(), t.valueFields()
	p := newProvider(registry, all)
	env, err := cel.NewCustomEnv(
		cel.StdLib(), cel.CustomTypeAdapter(registry), cel.CustomTypeProvider(p),
		cel.EnableMacroCallTracking(), // so that parts of a condition can be written out again
		cel.ParserExpressionSizeLimit(conditionMax), cel.ParserRecursionLimit(nestingMax), cel.RegexProgramSizeLimit(regexMax),
		cel.Variable("session", sessionType), cel.Variable("request", requestType),
		cel.Variable("lists", listsType), cel.Variable("values", valuesType),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.Function("basename", cel.Overload("basename_string", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.String(path.Base(string(v.(types.String)))) }))),
		cel.Function("like",
			cel.MemberOverload("string_like_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(likeOne)),
			cel.MemberOverload("string_like_list", []*cel.Type{cel.StringType, textList}, cel.BoolType, cel.BinaryBinding(likeAny))),
		cel.Function("ilike",
			cel.MemberOverload("string_ilike_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(patternLike)),
			cel.MemberOverload("string_ilike_list", []*cel.Type{cel.StringType, textList}, cel.BoolType, cel.BinaryBinding(patternLike))),
		cel.Function("commandLike",
			cel.MemberOverload("program_commandlike_string", []*cel.Type{programType, cel.StringType}, cel.BoolType, cel.BinaryBinding(patternLike)),
			cel.MemberOverload("program_commandlike_list", []*cel.Type{programType, textList}, cel.BoolType, cel.BinaryBinding(patternLike))),
		cel.Function("within",
			cel.MemberOverload("string_within_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(withinOne)),
			cel.MemberOverload("string_within_list", []*cel.Type{cel.StringType, textList}, cel.BoolType, cel.BinaryBinding(withinAny))),
	)
	return env, p, err
}

// likeOne reports whether a text fits a pattern in which each * stands for any
// text, also none.
func likeOne(s, p ref.Val) ref.Val {
	return types.Bool(pattern.NewStars(string(p.(types.String))).Match(string(s.(types.String))))
}

func likeAny(s, patterns ref.Val) ref.Val {
	return anyOf(patterns, func(p ref.Val) ref.Val { return likeOne(s, p) })
}

// withinOne reports whether an address, with or without a port, lies in a range
// ("10.0.0.0/8" or one address). Text that is no address lies in none.
func withinOne(address, in ref.Val) ref.Val {
	a, ok := parseAddress(string(address.(types.String)))
	if !ok {
		return types.False
	}
	r, err := parseRange(string(in.(types.String)))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(r.Contains(a))
}

func withinAny(address, ranges ref.Val) ref.Val {
	return anyOf(ranges, func(r ref.Val) ref.Val { return withinOne(address, r) })
}

func parseAddress(s string) (netip.Addr, bool) {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

func parseRange(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a range such as 10.0.0.0/8", s)
	}
	return p.Masked(), nil
}

// anyOf asks a question about each element of a list until one says yes.
func anyOf(of ref.Val, ask func(ref.Val) ref.Val) ref.Val {
	answer := ref.Val(types.False)
	for it := of.(traits.Lister).Iterator(); it.HasNext() == types.True; {
		switch v := it.Next().(type) {
		case *types.Unknown:
			answer = v
		case types.String:
			if got := ask(v); got != types.False {
				return got
			}
		}
	}
	return answer
}

// fieldNames returns the known fields of a type, in order.
func (p *provider) fieldNames(typ string) []string {
	return slices.Sorted(slices.Values(p.fields[typ]))
}
