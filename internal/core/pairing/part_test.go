package pairing_test

import (
	"iter"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/pairing"
)

// TestAround holds the part around one against the one that is found by joining
// labels until nothing changes.
func TestAround(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		left, right := rapid.IntRange(1, 7).Draw(t, "left"), rapid.IntRange(0, 7).Draw(t, "right")
		fits := make([][]bool, left)
		for i := range fits {
			fits[i] = rapid.SliceOfN(rapid.Bool(), right, right).Draw(t, "fits")
		}
		one := rapid.IntRange(0, left-1).Draw(t, "one")
		got := graph(fits, right).Around(one, left)

		label := make([]int, left+right)
		for i := range label {
			label[i] = i
		}
		for range label {
			for i := range left {
				for j := range right {
					if fits[i][j] {
						low := min(label[i], label[left+j])
						label[i], label[left+j] = low, low
					}
				}
			}
		}
		want := pairing.Part{Left: []int{one}}
		for i := range left {
			if i != one && label[i] == label[one] {
				want.Left = append(want.Left, i)
			}
		}
		for j := range right {
			if label[left+j] == label[one] {
				want.Right = append(want.Right, j)
			}
		}
		if got.Left[0] != one {
			t.Fatalf("first comes %d, not %d", got.Left[0], one)
		}
		for k, i := range got.Left {
			var its []int
			for _, j := range got.Fits[k] {
				its = append(its, got.Right[j])
			}
			for j := range right {
				if slices.Contains(its, j) != fits[i][j] {
					t.Fatalf("%d and %d: fits %v, listed %v", i, j, fits[i][j], its)
				}
			}
		}
		slices.Sort(got.Left[1:])
		got.Fits = nil
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestAroundIsBounded(t *testing.T) {
	fits := make([][]bool, 100)
	for i := range fits {
		fits[i] = []bool{true}
	}
	if got := graph(fits, 1).Around(50, 10); len(got.Left) != 11 || len(got.Fits) != 11 {
		t.Errorf("%d of the left, %d lists", len(got.Left), len(got.Fits))
	}
}

func graph(fits [][]bool, right int) pairing.Graph {
	where := func(n int, ok func(int) bool) iter.Seq[int] {
		return func(yield func(int) bool) {
			for i := range n {
				if ok(i) && !yield(i) {
					return
				}
			}
		}
	}
	return pairing.Graph{
		Left: len(fits), Right: right,
		RightOf: func(i int) iter.Seq[int] { return where(right, func(j int) bool { return fits[i][j] }) },
		LeftOf:  func(j int) iter.Seq[int] { return where(len(fits), func(i int) bool { return fits[i][j] }) },
	}
}
