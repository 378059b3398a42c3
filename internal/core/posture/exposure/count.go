package exposure

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// counter counts how many pods identities reach while some bindings are thought
// away. It looks once, backwards, for who reaches every pod; what the others reach
// it counts by sets of pods, and follows a set as one: pods are many.
type counter struct {
	*Analysis
	removed []bool // by binding, and then by setting
	// needs are those without each of which a hop is not there, hop after hop; first is where
	// in needs those of a hop begin.
	needs, first []int32
	holders      [][]int32 // by those, from which places there are hops that need it
	*notes
}

// notes are what a counter notes of places: of sets of pods once, all else until it looks again.
type notes struct {
	short  [][]arc   // of each set of pods, where its pods lead
	podsIn [][]int32 // and which they are, by their indexes in the cluster

	everyone int32  // the place of every pod
	onwards  []*arc // by place, how a shortest way to every pod goes on
	reaches  []bool // by place, whether there is one
	doubtful []int32
	seen     []uint32
	walks    uint32
	todo     []int32
	found    []int32 // the sets and pods of the last walk
	counted  []uint32
}

func newCounter(a *Analysis) *counter {
	all := len(a.cluster.Bindings) + len(a.closers)
	c := &counter{
		Analysis: a, removed: make([]bool, all), holders: make([][]int32, all), first: make([]int32, 1, len(a.hops)+1),
		notes: &notes{everyone: a.number[place{kind: atPods}], counted: make([]uint32, len(a.cluster.Pods))},
	}
	c.extend()
	for n := range int32(len(a.places)) {
		for _, r := range a.from(n) {
			c.hold(r)
		}
	}
	pods := make([]int32, len(a.places)) // by place, the number of the pod there from 1
	list := make([]int32, len(a.podAt))
	for i, at := range a.podAt {
		list[i], pods[at] = int32(i), int32(i)+1
	}
	for n := range a.places {
		if i := pods[n] - 1; i >= 0 {
			c.podsIn[n] = list[i : i+1 : i+1]
		} else {
			c.shorten(int32(n), pods)
		}
	}
	return c
}

// extend makes room for places and hops that are new.
func (c *counter) extend() {
	for n := len(c.first) - 1; n < len(c.hops); n++ {
		h := &c.hops[n]
		for _, g := range h.Grants {
			c.needs = append(c.needs, int32(c.index.Grants[g].Binding))
		}
		for _, b := range h.bound {
			c.needs = append(c.needs, int32(b))
		}
		for _, closer := range h.closers {
			c.needs = append(c.needs, int32(c.setting(closer)))
		}
		c.first = append(c.first, int32(len(c.needs)))
	}
	if n := len(c.places) - len(c.seen); n > 0 {
		c.short, c.podsIn = append(c.short, make([][]arc, n)...), append(c.podsIn, make([][]int32, n)...)
		c.onwards, c.reaches, c.seen = append(c.onwards, make([]*arc, n)...), append(c.reaches, make([]bool, n)...), append(c.seen, make([]uint32, n)...)
	}
}

// needed lists the bindings and settings without each of which a hop is not there.
func (c *counter) needed(hop int32) []int32 { return c.needs[c.first[hop]:c.first[hop+1]] }

// hold notes from where there is an arc for those that it needs.
func (c *counter) hold(r arc) {
	for _, b := range c.needed(r.hop) {
		if n := len(c.holders[b]); n == 0 || c.holders[b][n-1] != r.from { // arcs of one place come together
			c.holders[b] = append(c.holders[b], r.from)
		}
	}
}

// setting is the number of a setting that closes hops among bindings and settings.
func (a *Analysis) setting(closer int) int { return len(a.cluster.Bindings) + closer }

// shorten notes of a set of pods which they are and where they lead. pods are by place, from 1.
func (c *counter) shorten(set int32, pods []int32) {
	switch c.places[set].kind {
	case atPods, atWorkload, atNodePods:
	default: // leads to other places, too
		return
	}
	c.walks++
	for _, r := range c.from(set) {
		i := pods[r.to] - 1
		if i < 0 {
			continue
		}
		c.podsIn[set] = append(c.podsIn[set], i)
		for _, next := range c.from(r.to) {
			if c.seen[next.to] != c.walks { // pods have no hops that a binding could take away
				c.seen[next.to] = c.walks
				c.short[set] = append(c.short[set], next)
			}
		}
	}
}

// actors lists the identities whose reach a binding can be to blame for.
func (c *counter) actors() (out []int32) {
	for n, p := range c.places {
		if identity(p) && p != (place{kind: atGroup, name: rbac.Masters}) {
			out = append(out, int32(n))
		}
	}
	return out
}

// open reports whether a hop is still there.
func (c *counter) open(hop int32) bool {
	for _, b := range c.needed(hop) {
		if c.removed[b] {
			return false
		}
	}
	return true
}

// instead returns a counter of what there is without what is removed: with the hops that
// subjects who have lost some have by other grants then. A hop that takes several grants
// names one for each that is needed, and where somebody owns all, what he has besides is left
// out; so they are asked again. Whoever lost none has what he had, as far as it is open. The
// counter shares its notes with c.
func (c *counter) instead(lost []int32) *counter {
	out := &counter{Analysis: c.more(), removed: slices.Clone(c.removed), needs: slices.Clip(c.needs), first: slices.Clip(c.first), holders: slices.Clone(c.holders), notes: c.notes}
	out.gone = out.removed[:len(c.cluster.Bindings)]
	for _, who := range lost {
		out.together(who, slices.DeleteFunc(out.grantsOf(who), func(n int) bool { return out.gone[out.index.Grants[n].Binding] }))
	}
	added := out.grow()
	out.extend()
	for b := range out.holders {
		out.holders[b] = slices.Clip(out.holders[b]) // what is c's stays
	}
	for _, r := range added {
		out.hold(r)
	}
	return out
}

// lost lists those of some places from which a hop of several grants is gone that needed
// one of some bindings.
func (c *counter) lost(places []int32, of func(binding int32) bool) (out []int32) {
	for _, n := range places {
		if identity(c.places[n]) && slices.ContainsFunc(c.from(n), func(r arc) bool { return len(c.hops[r.hop].Grants) > 1 && slices.ContainsFunc(c.needed(r.hop), of) }) {
			out = append(out, n)
		}
	}
	return out
}

// look finds out who reaches every pod. It is to be called whenever removed has changed.
func (c *counter) look() {
	clear(c.onwards)
	clear(c.reaches)
	c.reaches[c.everyone] = true
	c.todo = append(c.todo[:0], c.everyone)
	for i := 0; i < len(c.todo); i++ {
		into := c.into(c.todo[i])
		for k := range into {
			if n := into[k].from; !c.reaches[n] && c.open(into[k].hop) {
				c.reaches[n], c.onwards[n] = true, &into[k]
				c.todo = append(c.todo, n)
			}
		}
	}
}

// lose finds out who reaches every pod no more when one binding is thought away that
// was not when look was called last, and takes them out of reaches. It looks at those
// alone whose way led over the binding: their ways are a tree, and few are on its branch.
func (c *counter) lose(binding int) (lost []int32) {
	c.doubtful = c.doubtful[:0]
	doubt := func(n int32) {
		c.reaches[n] = false
		c.doubtful = append(c.doubtful, n)
	}
	for _, n := range c.holders[binding] {
		if c.reaches[n] && c.onwards[n] != nil && !c.open(c.onwards[n].hop) {
			doubt(n)
		}
	}
	for i := 0; i < len(c.doubtful); i++ {
		into := c.into(c.doubtful[i])
		for k := range into {
			if n := into[k].from; c.reaches[n] && c.onwards[n] == &into[k] {
				doubt(n)
			}
		}
	}
	for _, n := range c.doubtful {
		if !c.reaches[n] && slices.ContainsFunc(c.from(n), func(r arc) bool { return c.reaches[r.to] && c.open(r.hop) }) {
			c.regain(n)
		}
	}
	for _, n := range c.doubtful {
		if !c.reaches[n] {
			lost = append(lost, n)
		}
	}
	return lost
}

// regain notes that a place leads to every pod after all, and with it what leads there.
func (c *counter) regain(place int32) {
	c.reaches[place] = true
	c.todo = append(c.todo[:0], place)
	for len(c.todo) > 0 {
		at := c.todo[len(c.todo)-1]
		c.todo = c.todo[:len(c.todo)-1]
		for _, r := range c.into(at) {
			if !c.reaches[r.from] && c.open(r.hop) {
				c.reaches[r.from] = true
				c.todo = append(c.todo, r.from)
			}
		}
	}
}

// pods returns how many pods an identity reaches.
func (c *counter) pods(start int32) (n int) {
	if c.reaches[start] {
		return len(c.cluster.Pods)
	}
	c.each(start, func(int32) { n++ })
	return n
}

// each calls see once with each pod, by its index in the cluster, that an identity gets
// to which does not reach every pod.
func (c *counter) each(start int32, see func(pod int32)) {
	c.follow(start, func(int32) {})
	for _, set := range c.found {
		for _, i := range c.podsIn[set] {
			if c.counted[i] != c.walks {
				c.counted[i] = c.walks
				see(i)
			}
		}
	}
}

// behind calls note with each binding and setting without which an identity may not reach
// what it reaches, some of them more than once.
func (c *counter) behind(start int32, note func(binding int32)) {
	took := func(hop int32) {
		for _, b := range c.needed(hop) {
			note(b)
		}
	}
	if !c.reaches[start] {
		c.follow(start, took)
		return
	}
	for at := start; c.onwards[at] != nil; at = c.onwards[at].to {
		took(c.onwards[at].hop)
	}
}

// follow goes wherever an identity gets to that does not reach every pod, calls
// took with each hop that is there, and notes the sets of pods.
func (c *counter) follow(start int32, took func(hop int32)) {
	c.walks++
	c.found = c.found[:0]
	c.seen[start] = c.walks
	c.todo = append(c.todo[:0], start)
	for len(c.todo) > 0 {
		at := c.todo[len(c.todo)-1]
		c.todo = c.todo[:len(c.todo)-1]
		arcs := c.from(at)
		if len(c.podsIn[at]) > 0 { // then it holds nothing but pods
			c.found = append(c.found, at)
			if c.places[at].kind != atPod {
				arcs = c.short[at]
			}
		}
		for _, r := range arcs {
			if c.seen[r.to] == c.walks || !c.open(r.hop) {
				continue
			}
			took(r.hop)
			c.seen[r.to] = c.walks
			c.todo = append(c.todo, r.to)
		}
	}
}
