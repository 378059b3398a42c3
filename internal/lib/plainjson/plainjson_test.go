package plainjson

import (
	"errors"
	"strings"
	"testing"
)

func TestUnmarshal(t *testing.T) {
	var v struct {
		A int
		B []struct{ C string }
	}
	if err := Unmarshal([]byte(` {"a":1,"b":[{"c":"x"},{"c":"y"}]} `), &v); err != nil || v.A != 1 || len(v.B) != 2 || v.B[1].C != "y" {
		t.Errorf("%+v, %v", v, err)
	}
	for _, twice := range []string{`{"a":1,"a":2}`, `{"a":1,"A":2}`, `[{"b":{"c":1,"c":1}}]`} {
		if err := Unmarshal([]byte(twice), new(any)); !errors.Is(err, ErrTwice) {
			t.Errorf("%s: %v", twice, err)
		}
	}
	for _, bad := range []string{``, `{`, `{"a":1}{}`, `{"a" 1}`, `nope`, `[1,]`, strings.Repeat("[", depthMax+2) + strings.Repeat("]", depthMax+2)} {
		if err := Unmarshal([]byte(bad), new(any)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":1,"a":2}`, `[[]]`, `"\ud800"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if Unmarshal(data, &v) != nil {
			return
		}
		if err := Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
	})
}
