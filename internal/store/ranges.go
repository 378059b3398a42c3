package store

import (
	"slices"
	"sort"
)

// positions is a list of ledger positions.
type positions []int64

// ranges returns the positions as ascending, disjoint ranges [first, last].
func (p positions) ranges() [][2]int64 {
	slices.Sort(p)
	var out [][2]int64
	for _, n := range p {
		if len(out) > 0 && n <= out[len(out)-1][1]+1 {
			out[len(out)-1][1] = n
			continue
		}
		out = append(out, [2]int64{n, n})
	}
	return out
}

// union returns ranges that cover the same positions, ascending and disjoint.
func union(ranges [][2]int64) [][2]int64 {
	slices.SortFunc(ranges, func(a, b [2]int64) int { return int(min(1, max(-1, a[0]-b[0]))) })
	var out [][2]int64
	for _, r := range ranges {
		if n := len(out); n > 0 && r[0] <= out[n-1][1]+1 {
			out[n-1][1] = max(out[n-1][1], r[1])
			continue
		}
		out = append(out, r)
	}
	return out
}

// covered reports whether ascending, disjoint ranges hold a position.
func covered(ranges [][2]int64, n int64) bool {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i][1] >= n })
	return i < len(ranges) && ranges[i][0] <= n
}
