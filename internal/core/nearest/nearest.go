// Package nearest finds what somebody who wrote a name that does not exist may
// have meant. The package is pure.
package nearest

import (
	"fmt"
	"slices"
	"strings"
)

// Name returns the one of the known names that is nearest to one that is not
// known, by edit distance; "" when none is near.
func Name(name string, known []string) string {
	best, least := "", 1+max(1, len(name)/3)
	for _, k := range slices.Sorted(slices.Values(known)) {
		if strings.EqualFold(k, name) {
			return k
		}
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, remove, replace or swap with the
// next one (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := last[j]
			if a[i] != b[j] {
				cost++
			}
			row[j+1] = min(cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// Suggestion asks whether the nearest name was meant, or lists what is known when
// none is near and that is short; "" when there is nothing to say.
func Suggestion(name string, known []string) string {
	if c := Name(name, known); c != "" {
		return fmt.Sprintf("did you mean %q?", c)
	}
	if len(known) > 0 && len(known) <= 20 {
		return "known: " + strings.Join(known, ", ")
	}
	return ""
}
