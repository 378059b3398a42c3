package pairing_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/pairing"
)

func TestSolve(t *testing.T) {
	must, may := []bool{false, false}, []bool{true, true}
	for _, tc := range []struct {
		name string
		p    pairing.Problem
		want []pairing.Choice // nil: contradiction
	}{
		{
			"one fits one",
			pairing.Problem{Fits: [][]int{{0}}, Right: 1, LeftAlone: must[:1], RightAlone: must[:1]},
			[]pairing.Choice{{Partners: []int{0}}},
		},
		{
			"twins",
			pairing.Problem{Fits: [][]int{{0, 1}, {0, 1}}, Right: 2, LeftAlone: must, RightAlone: must},
			[]pairing.Choice{{Partners: []int{0, 1}}, {Partners: []int{0, 1}}},
		},
		{
			"the first can only be the first's, so the second is the second's",
			pairing.Problem{Fits: [][]int{{0}, {0, 1}}, Right: 2, LeftAlone: must, RightAlone: must},
			[]pairing.Choice{{Partners: []int{0}}, {Partners: []int{1}}},
		},
		{
			"two processes and one request: either may be without",
			pairing.Problem{Fits: [][]int{{0}, {0}}, Right: 1, LeftAlone: may, RightAlone: must[:1]},
			[]pairing.Choice{{Partners: []int{0}, Alone: true}, {Partners: []int{0}, Alone: true}},
		},
		{
			"two processes that must be asked for, and one request",
			pairing.Problem{Fits: [][]int{{0}, {0}}, Right: 1, LeftAlone: must, RightAlone: must[:1]}, nil,
		},
		{
			"a request that must have a process takes the only one",
			pairing.Problem{Fits: [][]int{{0}}, Right: 1, LeftAlone: may[:1], RightAlone: must[:1]},
			[]pairing.Choice{{Partners: []int{0}}},
		},
		{
			"a request that need not have one does not",
			pairing.Problem{Fits: [][]int{{0}}, Right: 1, LeftAlone: may[:1], RightAlone: may[:1]},
			[]pairing.Choice{{Partners: []int{0}, Alone: true}},
		},
		{"nobody", pairing.Problem{}, []pairing.Choice{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := tc.p.Solve()
			if ok != (tc.want != nil) {
				t.Fatalf("ok = %v", ok)
			}
			if d := cmp.Diff(tc.want, got); ok && d != "" {
				t.Error(d)
			}
		})
	}
}

// TestSolveFindsEveryWay compares with trying all ways of pairing.
func TestSolveFindsEveryWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		left, right := rapid.IntRange(0, 5).Draw(t, "left"), rapid.IntRange(0, 5).Draw(t, "right")
		flags := func(n int, name string) []bool { return rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, name) }
		p := pairing.Problem{Fits: make([][]int, left), Right: right, LeftAlone: flags(left, "leftAlone"), RightAlone: flags(right, "rightAlone")}
		for x := range left {
			for y := range right {
				if rapid.Bool().Draw(t, "fits") {
					p.Fits[x] = append(p.Fits[x], y)
				}
			}
		}
		want, possible := tryAll(p)
		got, ok := p.Solve()
		if ok != possible {
			t.Fatalf("ok = %v, want %v", ok, possible)
		}
		if d := cmp.Diff(want, got); ok && d != "" {
			t.Fatal(d)
		}
	})
}

func tryAll(p pairing.Problem) ([]pairing.Choice, bool) {
	found := false
	partner := make([]int, len(p.Fits))
	taken := make([]bool, p.Right)
	occurs := make([][]bool, len(p.Fits))
	alone := make([]bool, len(p.Fits))
	for x := range occurs {
		occurs[x] = make([]bool, p.Right)
	}
	var try func(x int)
	try = func(x int) {
		if x == len(p.Fits) {
			for y := range taken {
				if !taken[y] && !p.RightAlone[y] {
					return
				}
			}
			found = true
			for x, y := range partner {
				if y < 0 {
					alone[x] = true
				} else {
					occurs[x][y] = true
				}
			}
			return
		}
		if p.LeftAlone[x] {
			partner[x] = -1
			try(x + 1)
		}
		for _, y := range p.Fits[x] {
			if !taken[y] {
				partner[x], taken[y] = y, true
				try(x + 1)
				taken[y] = false
			}
		}
	}
	try(0)
	out := make([]pairing.Choice, len(p.Fits))
	for x := range out {
		out[x].Alone = alone[x]
		for y, yes := range occurs[x] {
			if yes {
				out[x].Partners = append(out[x].Partners, y)
			}
		}
	}
	return out, found
}

func BenchmarkSolve(b *testing.B) {
	const n = 64 // identical commands, all at once
	p := pairing.Problem{Fits: make([][]int, n), Right: n, LeftAlone: make([]bool, n), RightAlone: make([]bool, n)}
	for x := range n {
		for y := range n {
			p.Fits[x] = append(p.Fits[x], y)
		}
	}
	for b.Loop() {
		if _, ok := p.Solve(); !ok {
			b.Fatal("contradiction")
		}
	}
}
