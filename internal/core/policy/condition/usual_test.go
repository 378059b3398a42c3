package condition

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// A session of which one text or list is long is not small, whichever that is.
func TestSmall(t *testing.T) {
	for _, s := range []session.Session{
		exec("ann"), exec("", either("ann", "bob"), processes("sh", "ls -l"), docker),
		exec("ann", func(s *session.Session) {
			s.Target.HostAccess, s.Carried = &event.HostAccess{Paths: []string{"/"}}, []session.Carried{{Argv: []string{"sh"}}}
		}),
	} {
		if !small(&s) {
			t.Errorf("not small: %+v", s)
		}
	}
	unread := []string{".SupersededBy", ".Processes[].ArgvHash"} // no condition can
	fields := 0
	eachLong(reflect.TypeFor[session.Session](), "", func(at string, long func(reflect.Value)) {
		s := exec("ann")
		long(reflect.ValueOf(&s).Elem())
		if small(&s) != slices.Contains(unread, at) {
			t.Errorf("long %s: small is %v", at, small(&s))
		}
		fields++
	})
	if fields < 80 {
		t.Errorf("only %d fields can be long", fields)
	}
}

// eachLong calls f with each text and list in a type, and what makes it long in a
// value.
func eachLong(typ reflect.Type, at string, f func(at string, long func(reflect.Value))) {
	switch typ.Kind() {
	case reflect.String:
		n := usualName + 1
		if strings.Contains(at, "Argv[]") || at == ".Path" {
			n = usualCommand + 1
		}
		f(at, func(v reflect.Value) { v.SetString(strings.Repeat("a", n)) })
	case reflect.Pointer:
		eachLong(typ.Elem(), at, func(at string, long func(reflect.Value)) {
			f(at, func(v reflect.Value) {
				v.Set(reflect.New(typ.Elem()))
				long(v.Elem())
			})
		})
	case reflect.Slice:
		f(at, func(v reflect.Value) { v.Set(reflect.MakeSlice(typ, usualList+1, usualList+1)) })
		eachLong(typ.Elem(), at+"[]", func(at string, long func(reflect.Value)) {
			f(at, func(v reflect.Value) {
				v.Set(reflect.MakeSlice(typ, 1, 1))
				long(v.Index(0))
			})
		})
	case reflect.Map:
		eachLongOfMap(typ, at, f)
	case reflect.Struct:
		for i := range typ.NumField() {
			if typ == reflect.TypeFor[time.Time]() {
				break
			}
			eachLong(typ.Field(i).Type, at+"."+typ.Field(i).Name, func(at string, long func(reflect.Value)) {
				f(at, func(v reflect.Value) { long(v.Field(i)) })
			})
		}
	default: // numbers and flags
	}
}

func eachLongOfMap(typ reflect.Type, at string, f func(at string, long func(reflect.Value))) {
	f(at, func(v reflect.Value) {
		v.Set(reflect.MakeMap(typ))
		for i := range usualList + 1 {
			v.SetMapIndex(reflect.ValueOf(fmt.Sprint(i)), reflect.Zero(typ.Elem()))
		}
	})
	one := func(v, key, value reflect.Value) {
		v.Set(reflect.MakeMap(typ))
		v.SetMapIndex(key, value)
	}
	eachLong(typ.Key(), at+"{key}", func(at string, long func(reflect.Value)) {
		f(at, func(v reflect.Value) {
			key := reflect.New(typ.Key()).Elem()
			long(key)
			one(v, key, reflect.Zero(typ.Elem()))
		})
	})
	eachLong(typ.Elem(), at+"{}", func(at string, long func(reflect.Value)) {
		f(at, func(v reflect.Value) {
			value := reflect.New(typ.Elem()).Elem()
			long(value)
			one(v, reflect.ValueOf("a"), value)
		})
	})
}
