// Package value has the values that conditions compute with beside those of the
// CEL library (cel.dev/cel-go): that of a field which is known not to be there,
// and objects, lists and maps which may be known in part. What nobody knows is
// the library's own types.Unknown.
//
// The library asks a value what it can by its interfaces (traits), so each of
// these has no more of them than it can answer truly.
package value

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Nothing is the value of a field that is known not to be there: a Docker
// container has no namespace, a running command no exit code. It equals
// nothing, itself included, and stands in no list; every other question about
// it is false, too, for which package condition sees.
type Nothing struct{}

// Absent is the one value of its type.
var Absent ref.Val = &Nothing{}

var nothingType = types.NewOpaqueType("nothing")

func (*Nothing) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("no value to convert to %v", t)
}

func (*Nothing) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("no value to convert to %s", t.TypeName())
}
func (*Nothing) Equal(ref.Val) ref.Val { return types.False }
func (*Nothing) Type() ref.Type        { return nothingType }
func (n *Nothing) Value() any          { return n }

// Object is a session or a part of it, as conditions see it: its type, and what
// fields are read from.
type Object struct {
	Kind *types.Type
	It   any
}

func (o *Object) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s cannot become %v", o.Kind, t)
}

func (o *Object) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return o.Kind
	}
	return types.NewErr("%s cannot become %s", o.Kind, t.TypeName())
}

func (o *Object) Equal(other ref.Val) ref.Val {
	p, ok := other.(*Object)
	return types.Bool(ok && p.It == o.It)
}
func (o *Object) Type() ref.Type { return o.Kind }
func (o *Object) Value() any     { return o.It }

// List is a list that may go on beyond what is known of it: then it is unknown
// whether something that is not among its values stands in it, and how long it
// is. An index beyond its end gives nothing.
type List struct {
	N    int                 // how many values are known
	At   func(i int) ref.Val // of those
	Rest *types.Unknown      // what follows; nil when nothing does
}

// Nth returns the element at a place.
func (l *List) Nth(i int) ref.Val {
	switch {
	case i >= 0 && i < l.N:
		return l.At(i)
	case i >= l.N && l.Rest != nil:
		return l.Rest
	}
	return Absent
}

// Add implements traits.Adder.
func (l *List) Add(other ref.Val) ref.Val {
	if l.Rest != nil {
		return l.Rest
	}
	return l.flat().(traits.Adder).Add(other)
}

// flat returns the known values as a list of the library's own.
func (l *List) flat() ref.Val {
	all := make([]ref.Val, l.N)
	for i := range all {
		all[i] = l.At(i)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all)
}

// Contains implements traits.Container.
func (l *List) Contains(v ref.Val) ref.Val {
	for i := range l.N {
		if types.Equal(l.At(i), v) == types.True {
			return types.True
		}
	}
	if l.Rest != nil {
		return l.Rest
	}
	return types.False
}

// Get implements traits.Indexer.
func (l *List) Get(index ref.Val) ref.Val {
	i, ok := index.(types.Int)
	if !ok {
		return types.MaybeNoSuchOverloadErr(index)
	}
	return l.Nth(int(i))
}

// GetInt64Index is Get for constant indexes.
func (l *List) GetInt64Index(i int64) (any, bool) { return l.Nth(int(i)), true }

// Iterator implements traits.Iterable.
func (l *List) Iterator() traits.Iterator { return &iterator{List: l} }

// Fold implements traits.Foldable.
func (l *List) Fold(f traits.Folder) {
	for i := range l.N {
		if !f.FoldEntry(types.Int(i), l.At(i)) {
			return
		}
	}
	if l.Rest != nil {
		f.FoldEntry(types.Int(l.N), l.Rest)
	}
}

// Size implements traits.Sizer.
func (l *List) Size() ref.Val {
	if l.Rest != nil {
		return l.Rest
	}
	return types.Int(l.N)
}

// Equal implements ref.Val.
func (l *List) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Lister)
	switch {
	case !ok:
		return types.False
	case l.Rest != nil:
		return l.Rest
	}
	size := o.Size()
	if types.IsUnknown(size) {
		return size
	}
	if size != types.Int(l.N) {
		return types.False
	}
	for i := range l.N {
		if e := types.Equal(l.At(i), o.Get(types.Int(i))); e != types.True {
			return e
		}
	}
	return types.True
}

// ConvertToNative implements ref.Val.
func (l *List) ConvertToNative(t reflect.Type) (any, error) { return l.flat().ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (l *List) ConvertToType(t ref.Type) ref.Val { return l.flat().ConvertToType(t) }

// Type implements ref.Val.
func (l *List) Type() ref.Type { return types.ListType }

// Value implements ref.Val.
func (l *List) Value() any { return l }

type iterator struct {
	*List
	next int
}

// HasNext implements traits.Iterator.
func (it *iterator) HasNext() ref.Val {
	return types.Bool(it.next < it.N || it.next == it.N && it.Rest != nil)
}

// Next implements traits.Iterator.
func (it *iterator) Next() ref.Val {
	it.next++
	return it.Nth(it.next - 1)
}

// NoneOf returns what there is of a value where what has it is not there: only
// a list and a map have what is looked for in them, so those are empty, and a
// flag is not set.
func NoneOf(t *types.Type) ref.Val {
	switch t.Kind() {
	case types.ListKind:
		return &List{}
	case types.MapKind:
		return NewDict(t, types.NewDynamicMap(types.DefaultTypeAdapter, map[string]string{}))
	case types.BoolKind:
		return types.False
	default:
		return Absent
	}
}

// Dict is a map of which a missing key gives what there is of an absent value. It
// is no traits.Mapper: of those the library asks for keys in a way that cannot
// tell a missing key from one whose value is nothing.
type Dict struct {
	m    traits.Mapper
	none ref.Val
}

// NewDict returns m, of type t, as a map that conditions ask.
func NewDict(t *types.Type, m traits.Mapper) *Dict { return &Dict{m, NoneOf(t.Parameters()[1])} }

// Contains implements traits.Container.
func (d *Dict) Contains(key ref.Val) ref.Val { return d.m.Contains(key) }

// Get implements traits.Indexer.
func (d *Dict) Get(key ref.Val) ref.Val {
	v, ok := d.m.Find(key)
	if !ok && !types.IsUnknownOrError(v) {
		return d.none
	}
	return v
}

// IsSet implements traits.FieldTester.
func (d *Dict) IsSet(key ref.Val) ref.Val {
	_, ok := d.m.Find(key)
	return types.Bool(ok)
}

// Iterator implements traits.Iterable.
func (d *Dict) Iterator() traits.Iterator { return d.m.Iterator() }

// Size implements traits.Sizer.
func (d *Dict) Size() ref.Val { return d.m.Size() }

// Equal implements ref.Val.
func (d *Dict) Equal(other ref.Val) ref.Val {
	if o, ok := other.(*Dict); ok {
		other = o.m
	}
	return d.m.Equal(other)
}

// ConvertToNative implements ref.Val.
func (d *Dict) ConvertToNative(t reflect.Type) (any, error) { return d.m.ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (d *Dict) ConvertToType(t ref.Type) ref.Val { return d.m.ConvertToType(t) }

// Type implements ref.Val.
func (d *Dict) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (d *Dict) Value() any { return d }

// Text is a text that is absent when it is empty.
func Text(s string) ref.Val {
	if s == "" {
		return Absent
	}
	return types.String(s)
}

// Texts is a list of texts that is known to its end.
func Texts[S ~string](all []S) ref.Val {
	return &List{N: len(all), At: func(i int) ref.Val { return types.String(all[i]) }}
}
