package story

import (
	"encoding/json"
	"testing"
)

func TestDiff(t *testing.T) {
	parse := func(s string) (v any) {
		if err := json.Unmarshal([]byte(s), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tc := range []struct {
		want, got string
		ok        bool
	}{
		{`{"a":1}`, `{"a":1,"b":2}`, true},
		{`{"a":1}`, `{"a":2}`, false},
		{`{"a":1}`, `{}`, false},
		{`{"a":null}`, `{"b":1}`, true},
		{`{"a":null}`, `{"a":0}`, false},
		{`{"a":[{"x":1}]}`, `{"a":[{"x":1,"y":2}]}`, true},
		{`{"a":[{"x":1}]}`, `{"a":[{"x":1},{"x":2}]}`, false},
		{`{"a":[]}`, `{"a":[1]}`, false},
		{`{"a":"1"}`, `{"a":1}`, false},
	} {
		if diff := Diff(parse(tc.want), parse(tc.got), ""); (diff == "") != tc.ok {
			t.Errorf("Diff(%s, %s) = %q", tc.want, tc.got, diff)
		}
	}
}
