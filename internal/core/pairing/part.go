package pairing

import (
	"iter"
	"slices"
)

// Graph is who fits whom in two groups, found out as it is asked for.
type Graph struct {
	// Left and Right are the sizes of the groups.
	Left, Right int
	// RightOf lists for one of the left the indexes of the right that fit it;
	// LeftOf is the other way round.
	RightOf, LeftOf func(int) iter.Seq[int]
}

// Part is members of two groups that fit nobody else.
type Part struct {
	// Left and Right are the members, by their indexes in the whole groups.
	Left, Right []int
	// Fits is as in Problem, by places in Left and Right.
	Fits [][]int
}

// Around returns the part to which one of the left belongs: those of the right
// that fit it, those of the left that fit these, and so on. It comes first in Left;
// Right ascends. Once there are more than most of the left, no more is collected.
func (g Graph) Around(one, most int) Part {
	p := Part{}
	taken, in := make([]bool, g.Left), make([]bool, g.Right)
	taken[one] = true
	for todo := []int{one}; len(todo) > 0 && len(p.Left) <= most; todo = todo[1:] {
		fits := []int{}
		for j := range g.RightOf(todo[0]) {
			fits = append(fits, j)
			if in[j] {
				continue
			}
			in[j] = true
			for i := range g.LeftOf(j) {
				if !taken[i] {
					taken[i] = true
					todo = append(todo, i)
				}
			}
		}
		p.Left, p.Fits = append(p.Left, todo[0]), append(p.Fits, fits)
	}
	p.number(in)
	return p
}

// number makes places in Right of the indexes in Fits.
func (p *Part) number(in []bool) {
	place := make([]int, len(in))
	for j := range in {
		if in[j] {
			place[j] = len(p.Right)
			p.Right = append(p.Right, j)
		}
	}
	for _, fits := range p.Fits {
		for i, j := range fits {
			fits[i] = place[j]
		}
		slices.Sort(fits)
	}
}
