package exposure

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// sorted yields a map by its keys in order, so that the same inventory always
// gives the same numbers.
func sorted[K cmp.Ordered, V any](m map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
