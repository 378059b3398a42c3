// Package field has what conditions can ask about: the fields of a session, and of
// a request before it runs, by the names of docs/reference/session.schema.json,
// and the lists and values that users set.
//
// A View gives each field of one session its value, or says that it is absent or
// unknown; a Probe does for all sessions of which some fields are known. What
// sessions of a channel can have at all, Supplies and OnChannel say.
//
// A View keeps what was read of it: it is for one goroutine, and for as long as
// its session does not change.
package field

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/policy/value"
)

// The types of the language, named as a person names them in an error.
var (
	SessionType     = cel.ObjectType("Session")
	RequestType     = cel.ObjectType("Request")
	attributionType = cel.ObjectType("Attribution")
	actorType       = cel.ObjectType("Actor")
	identityType    = cel.ObjectType("Identity")
	targetType      = cel.ObjectType("Target")
	hostAccessType  = cel.ObjectType("HostAccess")
	settingsType    = cel.ObjectType("Settings")
	processType     = cel.ObjectType("Process")
	ProgramType     = cel.ObjectType("Program")
	unexplainedType = cel.ObjectType("Unexplained")
	decisionType    = cel.ObjectType("Decision")
	carriedType     = cel.ObjectType("Carried")
	evidenceType    = cel.ObjectType("Evidence")
	ListsType       = cel.ObjectType("Lists")
	ValuesType      = cel.ObjectType("Values")

	textList = cel.ListType(cel.StringType)
	textMap  = cel.MapType(cel.StringType, cel.StringType)
	extraMap = cel.MapType(cel.StringType, textList)
)

// Field is one field of a type. Its name is that of the JSON form of sessions.
type Field struct {
	Name string
	Type *cel.Type
	get  func(it any) ref.Val
	// slot is where a view keeps the value, the same for session and request.
	slot int
}

// All returns the fields of each type but ListsType and ValuesType. It is a
// function so that the getters may use what is made from it.
func All() map[*cel.Type][]Field {
	all := map[*cel.Type][]Field{
		SessionType: sessionFields(), attributionType: attributionFields(), actorType: actorFields(),
		identityType: identityFields(), targetType: targetFields(), hostAccessType: hostAccessFields(), processType: processFields(),
		ProgramType: programFields(), unexplainedType: unexplainedFields(), decisionType: decisionFields(), evidenceType: evidenceFields(),
		apiType:     apiFields(),
		carriedType: carriedFields(), settingsType: settingsFields(),
	}
	slot := 0
	for _, t := range []*cel.Type{SessionType, attributionType, actorType, targetType, unexplainedType, decisionType, apiType} {
		for i := range all[t] {
			all[t][i].slot = slot
			slot++
		}
	}
	for i := range all[ProgramType] {
		all[ProgramType][i].slot = i
	}
	all[RequestType] = all[SessionType][:len(askedFields())]
	return all
}

// of makes a getter for fields of a Go type.
func of[T any](get func(T) ref.Val) func(any) ref.Val {
	return func(it any) ref.Val { return get(it.(T)) }
}

func before(name string, typ *cel.Type, get func(*View) ref.Val) Field {
	return Field{Name: name, Type: typ, get: of(get)}
}

func after(name string, typ *cel.Type, get func(*View) ref.Val) Field {
	return Field{Name: name, Type: typ, get: of(func(v *View) ref.Val {
		if v.before {
			return Unknown(name)
		}
		return get(v)
	})}
}

// Read reads the field of what conditions have as it; of nothing there is none, of
// the unknown all is unknown.
func (f Field) Read(it any) ref.Val {
	switch it := it.(type) {
	case *value.Nothing:
		return value.NoneOf(f.Type)
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

// HasValue is what has() asks: whether the field has a value that is known.
func (f Field) HasValue(it any) bool {
	if it == any(value.Absent) {
		return false
	}
	switch v := f.Read(it).(type) {
	case *value.Nothing, *types.Unknown:
		return false
	case *value.List:
		return v.N > 0
	case *value.Dict:
		return v.Size() != types.IntZero
	default:
		return true
	}
}

// ForLibrary returns the field as the CEL library reads it.
func (f Field) ForLibrary() *types.FieldType {
	return &types.FieldType{Type: f.Type, IsSet: f.HasValue, GetFrom: func(it any) (any, error) {
		if p, ok := it.(*Probe); ok {
			return p.field(f), nil
		}
		return f.Read(it), nil
	}}
}

// objects returns a list of objects, each made once.
func objects(typ *cel.Type, n int, it func(i int) any, rest *types.Unknown) ref.Val {
	all := make([]value.Object, n)
	for i := range all {
		all[i] = value.Object{Kind: typ, It: it(i)}
	}
	return &value.List{N: n, At: func(i int) ref.Val { return &all[i] }, Rest: rest}
}

// boxed returns the elements of a list, each made a value once.
func boxed(all []string) func(int) ref.Val {
	values := make([]ref.Val, len(all))
	return func(i int) ref.Val {
		if values[i] == nil {
			values[i] = types.String(all[i])
		}
		return values[i]
	}
}

// orNoNumber is a number, or unknown where a log does not have it.
func orNoNumber(n uint32, known bool, path string) ref.Val {
	if !known {
		return Unknown(path)
	}
	return types.Int(n)
}

func orUnknown(s, path string) ref.Val {
	if s == "" {
		return Unknown(path)
	}
	return types.String(s)
}
