// Package jsonform writes JSON as encoding/json does, byte by byte the same, at
// a tenth of its cost: types that are written a thousand times a second name
// their fields themselves. The package is pure.
package jsonform

import (
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Writer appends JSON to B. Fields and elements get their commas by what B ends
// with.
type Writer struct {
	B []byte
	// Err is the first time.Time that RFC 3339 cannot write; B is of no use then.
	Err error
}

// Begin and End write the braces of an object, List and EndList the brackets of a
// list.
func (w *Writer) Begin() { w.B = append(w.B, '{') }

// End: see Begin.
func (w *Writer) End() { w.B = append(w.B, '}') }

// List: see Begin.
func (w *Writer) List() { w.B = append(w.B, '[') }

// EndList: see Begin.
func (w *Writer) EndList() { w.B = append(w.B, ']') }

// Next begins an element of a list.
func (w *Writer) Next() {
	if last := w.B[len(w.B)-1]; last != '{' && last != '[' {
		w.B = append(w.B, ',')
	}
}

// Name begins a field. The name is written as it is.
func (w *Writer) Name(name string) {
	w.Next()
	w.B = append(append(append(w.B, '"'), name...), `":`...)
}

// Uint, Int, Bool, Text, Texts and Time write a field whatever its value is.
func (w *Writer) Uint(name string, n uint64) {
	w.Name(name)
	w.B = strconv.AppendUint(w.B, n, 10)
}

// Int: see Uint.
func (w *Writer) Int(name string, n int64) {
	w.Name(name)
	w.B = strconv.AppendInt(w.B, n, 10)
}

// Bool: see Uint.
func (w *Writer) Bool(name string, v bool) {
	w.Name(name)
	w.B = strconv.AppendBool(w.B, v)
}

// Text: see Uint.
func (w *Writer) Text(name, s string) {
	w.Name(name)
	w.B = AppendString(w.B, s)
}

// Texts: see Uint.
func (w *Writer) Texts(name string, list []string) {
	w.Name(name)
	w.strings(list)
}

// Time: see Uint.
func (w *Writer) Time(name string, t time.Time) {
	w.Name(name)
	w.B = append(w.B, '"')
	b, err := t.AppendText(w.B)
	if err != nil {
		if w.Err == nil {
			w.Err = err
		}
		return
	}
	w.B = append(b, '"')
}

// SomeUint, SomeInt, SomeBool, SomeText, SomeTexts, Map and Lists leave a field out
// that is empty ("omitempty").
func (w *Writer) SomeUint(name string, n uint64) {
	if n != 0 {
		w.Uint(name, n)
	}
}

// SomeInt: see SomeUint.
func (w *Writer) SomeInt(name string, n int64) {
	if n != 0 {
		w.Int(name, n)
	}
}

// SomeBool: see SomeUint.
func (w *Writer) SomeBool(name string, v bool) {
	if v {
		w.Bool(name, v)
	}
}

// SomeText: see SomeUint.
func (w *Writer) SomeText(name, s string) {
	if s != "" {
		w.Text(name, s)
	}
}

// SomeTexts: see SomeUint.
func (w *Writer) SomeTexts(name string, list []string) {
	if len(list) > 0 {
		w.Texts(name, list)
	}
}

// Map writes its keys in order; see SomeUint.
func (w *Writer) Map(name string, m map[string]string) {
	object(w, name, m, func(s string) { w.B = AppendString(w.B, s) })
}

// Lists writes its keys in order; see SomeUint.
func (w *Writer) Lists(name string, m map[string][]string) { object(w, name, m, w.strings) }

// SomeList writes a list of objects, each as write does; see SomeUint.
func SomeList[T any](w *Writer, name string, list []T, write func(*T)) {
	if len(list) == 0 {
		return
	}
	w.Name(name)
	w.List()
	for i := range list {
		w.Next()
		write(&list[i])
	}
	w.EndList()
}

func (w *Writer) strings(list []string) {
	if list == nil {
		w.B = append(w.B, "null"...)
		return
	}
	w.List()
	for _, s := range list {
		w.Next()
		w.B = AppendString(w.B, s)
	}
	w.EndList()
}

func object[V any](w *Writer, name string, m map[string]V, value func(V)) {
	if len(m) == 0 {
		return
	}
	w.Name(name)
	w.Begin()
	var few [8]string
	for _, key := range sorted(few[:0], m) {
		w.Next()
		w.B = append(AppendString(w.B, key), ':')
		value(m[key])
	}
	w.End()
}

func sorted[V any](keys []string, m map[string]V) []string {
	keys = slices.AppendSeq(keys, maps.Keys(m))
	slices.Sort(keys)
	return keys
}

// plain says which bytes stand for themselves in a string: ASCII, except what
// JSON escapes and what HTML would read.
var plain = func() (ok [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		ok[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return ok
}()

// AppendString appends s in quotes. What is not UTF-8 becomes U+FFFD.
func AppendString[S ~string](b []byte, s S) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(string(s[i:]))
			if r != '\u2028' && r != '\u2029' && (r != utf8.RuneError || size > 1) {
				i += size
				continue
			}
		}
		b = appendEscaped(append(b, s[from:i]...), r)
		i += size
		from = i
	}
	return append(append(b, s[from:]...), '"')
}

func appendEscaped(b []byte, r rune) []byte {
	const short = "\"\"\\\\\bb\ff\nn\rr\tt" // each with the letter of its escape
	for i := 0; i < len(short); i += 2 {
		if rune(short[i]) == r {
			return append(b, '\\', short[i+1])
		}
	}
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
