package condition

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/policy/field"
)

// provider tells the library the types of the language.
type provider struct {
	types.Provider
	fields map[string][]string
	types  map[string]map[string]*types.FieldType
	byName map[string]map[string]field.Field
}

// newProvider returns the types for given lists and values: those are fields,
// too, so that a name that does not exist is an error at load.
func newProvider(base types.Provider, all map[*cel.Type][]field.Field) *provider {
	p := &provider{
		Provider: base, fields: map[string][]string{}, types: map[string]map[string]*types.FieldType{}, byName: map[string]map[string]field.Field{},
	}
	for t, fields := range all {
		name := t.TypeName()
		p.types[name], p.byName[name] = make(map[string]*types.FieldType, len(fields)), make(map[string]field.Field, len(fields))
		for _, f := range fields {
			p.types[name][f.Name] = f.ForLibrary()
			p.byName[name][f.Name] = f
			p.fields[name] = append(p.fields[name], f.Name)
		}
	}
	return p
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
func (p *provider) FindStructFieldType(name, of string) (*types.FieldType, bool) {
	if t, ok := p.types[name]; ok {
		f, ok := t[of]
		return f, ok
	}
	return p.Provider.FindStructFieldType(name, of)
}

// NewValue implements types.Provider: conditions make no sessions.
func (p *provider) NewValue(name string, _ map[string]ref.Val) ref.Val {
	return types.NewErr("a condition cannot make a %s", name)
}

// fieldNames returns the known fields of a type, in order.
func (p *provider) fieldNames(typ string) []string {
	return slices.Sorted(slices.Values(p.fields[typ]))
}
