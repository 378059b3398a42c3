package field

import (
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/sallyport/sallyport/internal/core/policy/value"
)

// The values of the variables "lists" and "values", whose fields have the values
// of their own.
var (
	listsVal  = &value.Object{Kind: ListsType, It: nil}
	valuesVal = &value.Object{Kind: ValuesType, It: nil}
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

// Lists returns the fields of ListsType for the lists that users set.
func Lists(named map[string][]string) []Field {
	var out []Field
	for name, all := range named {
		v := types.NewStringList(types.DefaultTypeAdapter, all)
		out = append(out, Field{Name: name, Type: textList, get: func(any) ref.Val { return v }})
	}
	return out
}

// Values returns the fields of ValuesType for the values that users set: int64,
// string, bool and time.Duration.
func Values(named map[string]any) []Field {
	var out []Field
	for name, v := range named {
		f := Field{Name: name}
		var val ref.Val
		switch v := v.(type) {
		case int64:
			f.Type, val = cel.IntType, types.Int(v)
		case bool:
			f.Type, val = cel.BoolType, types.Bool(v)
		case time.Duration:
			f.Type, val = cel.DurationType, types.Duration{Duration: v}
		case string:
			f.Type, val = cel.StringType, types.String(v)
		}
		f.get = func(any) ref.Val { return val }
		out = append(out, f)
	}
	return out
}
