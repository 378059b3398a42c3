package policy

import (
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// tunables is what users set without touching rules: named lists of texts and
// named values, the variables "lists" and "values" of conditions.
type tunables struct {
	lists  map[string][]string
	values map[string]any // int64, string, bool or time.Duration
}

// The values of those variables, whose fields have the values of their own.
var (
	listsVal  = &object{listsType, nil}
	valuesVal = &object{valuesType, nil}
)

// tunable returns the value of a variable of tunables.
func tunable(name string) (any, bool) {
	switch name {
	case "lists":
		return listsVal, true
	case "values":
		return valuesVal, true
	}
	return nil, false
}

func (t *tunables) listFields() []field {
	var out []field
	for name, all := range t.lists {
		v := types.NewStringList(types.DefaultTypeAdapter, all)
		out = append(out, field{name: name, typ: textList, get: func(any) ref.Val { return v }})
	}
	return out
}

func (t *tunables) valueFields() []field {
	var out []field
	for name, v := range t.values {
		f := field{name: name}
		var val ref.Val
		switch v := v.(type) {
		case int64:
			f.typ, val = cel.IntType, types.Int(v)
		case bool:
			f.typ, val = cel.BoolType, types.Bool(v)
		case time.Duration:
			f.typ, val = cel.DurationType, types.Duration{Duration: v}
		case string:
			f.typ, val = cel.StringType, types.String(v)
		}
		f.get = func(any) ref.Val { return val }
		out = append(out, f)
	}
	return out
}
