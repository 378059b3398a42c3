package hostaccess

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Cut returns the settings of hosts, one after the other, whose change closes most pairs of
// an actor and a container that are left, at most so many. It counts the containers that are
// wanted; nil wants all and, of a host where none runs, its engine. It is greedy: each change
// is the best next to those before it, and it closes what nobody has who is asked of the host
// after it, neither by another setting nor as one of everybody. Root is left out: no setting
// makes him what he is.
func Cut(hosts []*inventory.Host, wanted func(*inventory.Host, *inventory.DockerOrCRI) bool, most int) (out exposure.Cutting) {
	var all []*cutter
	for _, h := range hosts {
		if c := newCutter(h, wanted); c.targets > 0 {
			all = append(all, c)
			out.Pairs += c.targets * len(c.open)
			out.Lasting += c.targets * len(c.lasting)
		}
	}
	for left := out.Pairs; len(out.Removals) < most && left > out.Lasting; {
		var best *cutter
		for _, c := range all {
			if c.best != nil && (best == nil || c.closes() > best.closes()) {
				best = c
			}
		}
		if best == nil {
			break
		}
		left -= best.closes()
		out.Removals = append(out.Removals, exposure.NewRemoval(&best.best.change.Closer, best.closes(), left, best.best.lost))
		best.take()
	}
	out.Trim()
	return out
}

// cutter changes one setting of a host after the other.
type cutter struct {
	host    *inventory.Host
	targets int
	open    []exposure.Actor // of those who got in at first, who still gets in, in order
	lasting []exposure.Actor // who gets in after all changes, too
	best    *trial           // nil when no change helps
}

// trial is a change, and who gets in no more after it.
type trial struct {
	change change
	lost   []exposure.Actor
}

func newCutter(h *inventory.Host, wanted func(*inventory.Host, *inventory.DockerOrCRI) bool) *cutter {
	c := &cutter{host: h}
	for i := range h.Running {
		if wanted == nil || wanted(h, &h.Running[i]) {
			c.targets++
		}
	}
	if wanted == nil && len(h.Running) == 0 {
		c.targets = 1
	}
	a := New(h)
	for _, e := range a.Ways() {
		if !a.isRoot(e.Actor) && !slices.Contains(c.open, e.Actor) {
			c.open = append(c.open, e.Actor)
		}
	}
	slices.Sort(c.open)
	c.lasting = among(c.open, changed(h, a.changes()...))
	c.try()
	return c
}

// among returns those of people who get in on a host, by ways of their own or of everybody's.
func among(people []exposure.Actor, h *inventory.Host) (out []exposure.Actor) {
	own := map[exposure.Actor]bool{}
	for _, e := range New(h).Ways() {
		own[e.Actor] = true
	}
	for _, p := range people {
		if own[p] || own[exposure.Anyone] && has(p, exposure.Anyone) || own[exposure.Anonymous] && has(p, exposure.Anonymous) {
			out = append(out, p)
		}
	}
	return out
}

// closes is how many pairs the best change closes.
func (c *cutter) closes() int { return c.targets * len(c.best.lost) }

// try makes each change that there is, and keeps the one by which most get in no more or,
// where there is none, one that somebody's exclusion takes.
func (c *cutter) try() {
	c.best = nil
	all := New(c.host).changes()
	for _, one := range all {
		still := among(c.open, changed(c.host, one))
		if n := len(c.open) - len(still); n > 0 && (c.best == nil || n > len(c.best.lost)) {
			lost := slices.DeleteFunc(slices.Clone(c.open), func(p exposure.Actor) bool { return slices.Contains(still, p) })
			c.best = &trial{one, lost}
		}
	}
	if c.best != nil {
		return
	}
	fewest := len(all) + 1
	for n, p := range c.closable() {
		if n == triedMax {
			break
		}
		if list := c.takes(p, all); len(list) < fewest {
			fewest, c.best = len(list), &trial{change: list[0]}
		}
	}
}

// triedMax bounds of how many it is worked out what their exclusion takes.
const triedMax = 8

// closable are those who could be kept out.
func (c *cutter) closable() []exposure.Actor {
	return slices.DeleteFunc(slices.Clone(c.open), func(p exposure.Actor) bool { return slices.Contains(c.lasting, p) })
}

// takes returns changes that together keep somebody out, and none of which can be spared.
func (c *cutter) takes(who exposure.Actor, all []change) []change {
	list := slices.Clone(all)
	for n := len(list) - 1; n >= 0; n-- {
		without := slices.Delete(slices.Clone(list), n, n+1)
		if len(among([]exposure.Actor{who}, changed(c.host, without...))) == 0 {
			list = without
		}
	}
	return list
}

// take makes the best change.
func (c *cutter) take() {
	c.host = changed(c.host, c.best.change)
	c.open = among(c.open, c.host)
	c.try()
}
