package door

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
)

// Bounds of a JSON body.
const (
	bodyMax  = 4 << 20 // bytes, as the daemon's own plugins get it
	depthMax = 64
)

// schema says how a kind of body is read.
type schema struct {
	// new returns a pointer to the daemon's own type.
	new func() any
	// words are the paths of lists that older daemons take as one text, too.
	words []string
	// harmless are the paths of keys that new does not have, and that have to do with
	// no command: those of older daemons, and of Podman.
	harmless []string
}

// normalize decodes a body and returns it in the form that is forwarded: the same
// values, with every key as the daemon's types spell it, and once. Two readers of
// that cannot differ. It fails where they could about body: a key that stands
// twice, whatever its case, a key that the types do not have and that has a
// value, a text that is not one JSON value.
func (s *schema) normalize(body []byte) (any, []byte, error) {
	if !json.Valid(body) {
		var v any
		err := json.Unmarshal(body, &v)
		return nil, nil, fmt.Errorf("the body is not one JSON value: %w", err)
	}
	w := writer{schema: s, dec: json.NewDecoder(bytes.NewReader(body))}
	w.dec.UseNumber()
	into := s.new()
	if err := w.value(reflect.TypeOf(into), "", 0); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(w.out.Bytes(), into); err != nil {
		return nil, nil, fmt.Errorf("the body does not fit: %w", err)
	}
	return into, w.out.Bytes(), nil
}

// sameTokens says where a body, as it came, is another than the form that it is
// judged in. White space and escapes make no other.
func sameTokens(came, judged []byte) error {
	a, b := json.NewDecoder(bytes.NewReader(came)), json.NewDecoder(bytes.NewReader(judged))
	a.UseNumber()
	b.UseNumber()
	for {
		one, err := a.Token()
		other, end := b.Token()
		if err == io.EOF && end == io.EOF {
			return nil
		}
		if err != nil || end != nil || one != other {
			return fmt.Errorf("the body has %#v at byte %d, which daemons may read in several ways", one, a.InputOffset())
		}
	}
}

// writer copies one JSON value, as a Go type reads it.
type writer struct {
	*schema
	dec *json.Decoder
	out bytes.Buffer
}

// value copies the next value. A nil type is any.
func (w *writer) value(t reflect.Type, path string, depth int) error {
	if depth > depthMax {
		return fmt.Errorf("the body is more than %d levels deep", depthMax)
	}
	t = plain(t)
	token, err := w.dec.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		return w.object(t, path, depth)
	case json.Delim('['):
		return w.list(t, path, depth)
	}
	text, err := json.Marshal(token)
	if err != nil {
		return err
	}
	if _, ok := token.(string); ok && contains(w.words, path) {
		text = append(append([]byte{'['}, text...), ']')
	}
	w.out.Write(text)
	return nil
}

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// plain follows pointers; nil for what reads its own JSON, or can be anything.
func plain(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(unmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler) {
		return nil
	}
	return t
}

func (w *writer) list(t reflect.Type, path string, depth int) error {
	var elem reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		elem = t.Elem()
	}
	w.out.WriteByte('[')
	for first := true; w.dec.More(); first = false {
		if !first {
			w.out.WriteByte(',')
		}
		if err := w.value(elem, path+"[]", depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte(']')
	_, err := w.dec.Token()
	return err
}

func (w *writer) object(t reflect.Type, path string, depth int) error {
	seen := map[string]string{}
	first := true
	w.out.WriteByte('{')
	for w.dec.More() {
		token, err := w.dec.Token()
		if err != nil {
			return err
		}
		written, _ := token.(string)
		key, of, known := w.member(t, written)
		at, one := join(path, key), key
		if t == nil {
			one = strings.ToLower(strings.ToUpper(key)) // as far as letters fold: ſ is an s
		}
		if before, twice := seen[one]; twice {
			return fmt.Errorf("%q is there twice, as %q and as %q", at, before, written)
		}
		seen[one] = written
		if !known && !contains(w.harmless, at) {
			if err := w.skip(at); err != nil {
				return err
			}
			continue
		}
		if !first {
			w.out.WriteByte(',')
		}
		first = false
		name, err := json.Marshal(key)
		if err != nil {
			return err
		}
		w.out.Write(append(name, ':'))
		if err := w.value(of, at, depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	_, err := w.dec.Token()
	return err
}

// member returns which member of t a key is, by the one name that it is forwarded
// with, and its type.
func (w *writer) member(t reflect.Type, written string) (key string, of reflect.Type, known bool) {
	switch {
	case t == nil: // it reads its own JSON, in whatever case
		return written, nil, true
	case t.Kind() == reflect.Map:
		return written, t.Elem(), true
	case t.Kind() != reflect.Struct:
		return written, nil, true // the decoder will refuse it
	}
	s := shapeOf(t)
	if of, ok := s[written]; ok {
		return written, of, true
	}
	for name, of := range s {
		if strings.EqualFold(name, written) {
			return name, of, true
		}
	}
	for _, path := range w.harmless {
		if name := path[strings.LastIndexByte(path, '.')+1:]; strings.EqualFold(name, written) {
			return name, nil, false
		}
	}
	return written, nil, false
}

// skip leaves out what no type has, when it says nothing.
func (w *writer) skip(path string) error {
	var v any
	if err := w.dec.Decode(&v); err != nil {
		return err
	}
	if !empty(v) {
		return &UnknownKeyError{Path: path}
	}
	return nil
}

// UnknownKeyError says that a body has a key with a value that the daemon's
// types, as this version knows them, do not have: what it would do is not known.
type UnknownKeyError struct{ Path string }

// Error implements error.
func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("the body has %q, which this version of sallyport does not know", e.Path)
}

// empty reports whether a value is what a member has that is left out.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		f, err := v.Float64()
		return err == nil && f == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, m := range v {
			if !empty(m) {
				return false
			}
		}
		return true
	}
	return false
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// shape has the members of a struct type, by the names that they have in JSON.
type shape map[string]reflect.Type

var shapes sync.Map // of reflect.Type

func shapeOf(t reflect.Type) shape {
	if s, ok := shapes.Load(t); ok {
		return s.(shape)
	}
	s, err := newShape(t)
	if err != nil {
		panic(err) // TestShapes: no type of the daemon's is like that
	}
	shapes.Store(t, s)
	return s
}

var errTwice = errors.New("two members of one name")

// newShape follows encoding/json: members of embedded structs belong to the
// outer one, and the least deep of a name is it.
func newShape(t reflect.Type) (shape, error) {
	s := shape{}
	level := []reflect.Type{t}
	for len(level) > 0 {
		var next []reflect.Type
		here := map[string]bool{}
		for _, t := range level {
			for i := range t.NumField() {
				f := t.Field(i)
				tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if inner := embedded(f); inner != nil && tag == "" {
					next = append(next, inner)
					continue
				}
				if !f.IsExported() || tag == "-" {
					continue
				}
				name := f.Name
				if tag != "" {
					name = tag
				}
				if here[name] {
					return nil, fmt.Errorf("%s.%s: %w", t, name, errTwice)
				}
				here[name] = true
				if s[name] == nil {
					s[name] = f.Type
				}
			}
		}
		level = next
	}
	return s, nil
}

// embedded returns the struct that a field embeds; nil when it is none.
func embedded(f reflect.StructField) reflect.Type {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !f.Anonymous || t.Kind() != reflect.Struct {
		return nil
	}
	return t
}
