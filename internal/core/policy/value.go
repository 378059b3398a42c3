package policy

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// nothing is the value of a field that is known not to be there: a Docker
// container has no namespace, a running command no exit code. It equals
// nothing, itself included, and stands in no list; lenient makes every other
// question about it false, too.
type nothing struct{}

var absent ref.Val = &nothing{}

var nothingType = types.NewOpaqueType("nothing")

func (*nothing) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("no value to convert to %v", t)
}

func (*nothing) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("no value to convert to %s", t.TypeName())
}
func (*nothing) Equal(ref.Val) ref.Val { return types.False }
func (*nothing) Type() ref.Type        { return nothingType }
func (n *nothing) Value() any          { return n }

// object is a session or a part of it, as conditions see it.
type object struct {
	typ *types.Type
	it  any
}

func (o *object) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s cannot become %v", o.typ, t)
}

func (o *object) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return o.typ
	}
	return types.NewErr("%s cannot become %s", o.typ, t.TypeName())
}

func (o *object) Equal(other ref.Val) ref.Val {
	p, ok := other.(*object)
	return types.Bool(ok && p.it == o.it)
}
func (o *object) Type() ref.Type { return o.typ }
func (o *object) Value() any     { return o.it }

// list is a list that may go on beyond what is known of it: then it is unknown
// whether something that is not among its values stands in it, and how long it
// is. An index beyond its end gives nothing.
type list struct {
	n    int
	at   func(i int) ref.Val
	rest *types.Unknown // what follows; nil when nothing does
}

func (l *list) get(i int) ref.Val {
	switch {
	case i >= 0 && i < l.n:
		return l.at(i)
	case i >= l.n && l.rest != nil:
		return l.rest
	}
	return absent
}

// Add implements traits.Adder.
func (l *list) Add(other ref.Val) ref.Val {
	if l.rest != nil {
		return l.rest
	}
	return l.flat().(traits.Adder).Add(other)
}

// flat returns the known values as a list of the library's own.
func (l *list) flat() ref.Val {
	all := make([]ref.Val, l.n)
	for i := range all {
		all[i] = l.at(i)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all)
}

// Contains implements traits.Container.
func (l *list) Contains(v ref.Val) ref.Val {
	for i := range l.n {
		if types.Equal(l.at(i), v) == types.True {
			return types.True
		}
	}
	if l.rest != nil {
		return l.rest
	}
	return types.False
}

// Get implements traits.Indexer.
func (l *list) Get(index ref.Val) ref.Val {
	i, ok := index.(types.Int)
	if !ok {
		return types.MaybeNoSuchOverloadErr(index)
	}
	return l.get(int(i))
}

// GetInt64Index is Get for constant indexes.
func (l *list) GetInt64Index(i int64) (any, bool) { return l.get(int(i)), true }

// Iterator implements traits.Iterable.
func (l *list) Iterator() traits.Iterator { return &iterator{list: l} }

// Fold implements traits.Foldable.
func (l *list) Fold(f traits.Folder) {
	for i := range l.n {
		if !f.FoldEntry(types.Int(i), l.at(i)) {
			return
		}
	}
	if l.rest != nil {
		f.FoldEntry(types.Int(l.n), l.rest)
	}
}

// Size implements traits.Sizer.
func (l *list) Size() ref.Val {
	if l.rest != nil {
		return l.rest
	}
	return types.Int(l.n)
}

// Equal implements ref.Val.
func (l *list) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Lister)
	switch {
	case !ok:
		return types.False
	case l.rest != nil:
		return l.rest
	}
	size := o.Size()
	if types.IsUnknown(size) {
		return size
	}
	if size != types.Int(l.n) {
		return types.False
	}
	for i := range l.n {
		if e := types.Equal(l.at(i), o.Get(types.Int(i))); e != types.True {
			return e
		}
	}
	return types.True
}

// ConvertToNative implements ref.Val.
func (l *list) ConvertToNative(t reflect.Type) (any, error) { return l.flat().ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (l *list) ConvertToType(t ref.Type) ref.Val { return l.flat().ConvertToType(t) }

// Type implements ref.Val.
func (l *list) Type() ref.Type { return types.ListType }

// Value implements ref.Val.
func (l *list) Value() any { return l }

type iterator struct {
	*list
	next int
}

// HasNext implements traits.Iterator.
func (it *iterator) HasNext() ref.Val {
	return types.Bool(it.next < it.n || it.next == it.n && it.rest != nil)
}

// Next implements traits.Iterator.
func (it *iterator) Next() ref.Val {
	it.next++
	return it.get(it.next - 1)
}

// noneOf returns what there is of a value where what has it is not there: only
// a list and a map have what is looked for in them, so those are empty, and a
// flag is not set.
func noneOf(t *types.Type) ref.Val {
	switch t.Kind() {
	case types.ListKind:
		return &list{}
	case types.MapKind:
		return newDict(t, types.NewDynamicMap(types.DefaultTypeAdapter, map[string]string{}))
	case types.BoolKind:
		return types.False
	default:
		return absent
	}
}

// dict is a map of which a missing key gives what there is of an absent value. It
// is no traits.Mapper: of those the library asks for keys in a way that cannot
// tell a missing key from one whose value is nothing.
type dict struct {
	m    traits.Mapper
	none ref.Val
}

func newDict(t *types.Type, m traits.Mapper) *dict { return &dict{m, noneOf(t.Parameters()[1])} }

// Contains implements traits.Container.
func (d *dict) Contains(key ref.Val) ref.Val { return d.m.Contains(key) }

// Get implements traits.Indexer.
func (d *dict) Get(key ref.Val) ref.Val {
	v, ok := d.m.Find(key)
	if !ok && !types.IsUnknownOrError(v) {
		return d.none
	}
	return v
}

// IsSet implements traits.FieldTester.
func (d *dict) IsSet(key ref.Val) ref.Val {
	_, ok := d.m.Find(key)
	return types.Bool(ok)
}

// Iterator implements traits.Iterable.
func (d *dict) Iterator() traits.Iterator { return d.m.Iterator() }

// Size implements traits.Sizer.
func (d *dict) Size() ref.Val { return d.m.Size() }

// Equal implements ref.Val.
func (d *dict) Equal(other ref.Val) ref.Val {
	if o, ok := other.(*dict); ok {
		other = o.m
	}
	return d.m.Equal(other)
}

// ConvertToNative implements ref.Val.
func (d *dict) ConvertToNative(t reflect.Type) (any, error) { return d.m.ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (d *dict) ConvertToType(t ref.Type) ref.Val { return d.m.ConvertToType(t) }

// Type implements ref.Val.
func (d *dict) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (d *dict) Value() any { return d }

func text(s string) ref.Val {
	if s == "" {
		return absent
	}
	return types.String(s)
}

func texts[S ~string](all []S) ref.Val {
	return &list{n: len(all), at: func(i int) ref.Val { return types.String(all[i]) }}
}
