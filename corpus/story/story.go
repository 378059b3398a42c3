// Package story is what the tests that tell the stories of corpus/ share.
package story

import (
	"fmt"
	"maps"
	"slices"
)

// Diff says where want is not contained in got, "" when it is. Of objects
// only the fields that want has are compared, and null stands for a field that
// is absent; arrays are compared element by element.
func Diff(want, got any, at string) string {
	switch want := want.(type) {
	case map[string]any:
		obj, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s: want an object, got %v", at, got)
		}
		for _, k := range slices.Sorted(maps.Keys(want)) {
			v, has := obj[k]
			if want[k] == nil {
				if has {
					return fmt.Sprintf("%s.%s: want none, got %v", at, k, v)
				}
				continue
			}
			if !has {
				return fmt.Sprintf("%s.%s: want %v, got none", at, k, want[k])
			}
			if diff := Diff(want[k], v, at+"."+k); diff != "" {
				return diff
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s: want %v, got %v", at, want, got)
		}
		for i := range want {
			if diff := Diff(want[i], list[i], fmt.Sprintf("%s[%d]", at, i)); diff != "" {
				return diff
			}
		}
		return ""
	}
	if want != got {
		return fmt.Sprintf("%s: want %v, got %v", at, want, got)
	}
	return ""
}
