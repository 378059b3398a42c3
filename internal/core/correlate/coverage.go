package correlate

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// coverage remembers what the witnesses could see when. Absence of a fact is
// evidence only where its witness was whole.
type coverage struct {
	*clock
	states map[event.Witness][]event.WitnessState // by time
	losses []event.Loss                           // by time
	// through is up to when the kernel sensor has told everything; zero of one
	// that does not say. wanted is the latest moment beyond that of which anybody
	// asked since the last observation; whoever was derived meanwhile awaits it
	// (agenda.await).
	through, wanted time.Time
	// kubelets are the processes that the kernel sensor knows as such, the latest
	// of them; none while it knows none.
	kubelets []uint32
	// guards are the guards' processes, the latest of them.
	guards []event.ProcessID
}

// statesMax and lossesMax bound what is remembered of a flapping witness.
const (
	statesMax = 1024
	lossesMax = 1024

	kubeletsMax = 16 // that were one after the other, or live side by side
	guardsMax   = 64
)

func newCoverage(now *clock) coverage {
	return coverage{clock: now, states: map[event.Witness][]event.WitnessState{}}
}

func (c *coverage) learn(s event.WitnessState) {
	c.states[s.Witness] = insert(c.states[s.Witness], s, statesMax)
	c.kubelets = latest(c.kubelets, s.Kubelets, kubeletsMax)
	c.guards = latest(c.guards, s.Guards, guardsMax)
}

func (c *coverage) lose(l event.Loss) { c.losses = insert(c.losses, l, lossesMax) }

// told notes how far the kernel sensor has told everything. The latest word
// counts: the clock may be set back.
func (c *coverage) told(through time.Time) { c.through = through }

// changed has nobody wait for more than is asked of from now on.
func (c *coverage) changed() { c.wanted = time.Time{} }

// latest adds to list what is new of more, and keeps the last of it.
func latest[T comparable](list, more []T, most int) []T {
	for _, v := range more {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list[max(0, len(list)-most):]
}

// insert keeps list ordered by time and at most limit long, dropping the oldest.
func insert[O event.Observation](list []O, o O, limit int) []O {
	i, _ := slices.BinarySearchFunc(list, o.Head().Time, func(o O, t time.Time) int { return o.Head().Time.Compare(t) })
	list = slices.Insert(list, i, o)
	if len(list) > limit {
		list = slices.Delete(list, 0, 1)
	}
	return list
}

// at returns the last state of w at t, or nil.
func (c *coverage) at(w event.Witness, t time.Time) *event.WitnessState {
	list := c.states[w]
	for i := len(list) - 1; i >= 0; i-- {
		if s := &list[i]; !s.Time.After(t) || (s.Up && !s.From.IsZero() && !s.From.After(t)) {
			return s
		}
	}
	return nil
}

// before reports whether t lies before any witness watched.
func (c *coverage) before(t time.Time) bool {
	for w := range c.states {
		if c.at(w, t) != nil {
			return false
		}
	}
	return true
}

// partial reports whether w was a selection at t.
func (c *coverage) partial(w event.Witness, t time.Time) bool {
	s := c.at(w, t)
	return s != nil && s.Partial
}

// any reports whether w was ever heard of.
func (c *coverage) any(w event.Witness) bool { return len(c.states[w]) > 0 }

// whole reports whether w was up, without loss of the stream what, all the way
// from a to b. An empty what asks for any stream.
func (c *coverage) whole(w event.Witness, what string, a, b time.Time) bool {
	s := c.at(w, a)
	if s == nil || !s.Up || s.Partial {
		return false
	}
	for _, s := range c.states[w] {
		if s.Time.After(a) && !s.Time.After(b) && s.Partial {
			return false
		}
		if s.Time.After(a) && !s.Time.After(b) && !s.Up {
			// Down inside the span, unless a later state says that nothing was
			// missed (From reaches back).
			if !c.healed(w, s.Time) {
				return false
			}
		}
	}
	return c.lost(w, what, a, b) == 0 && (w != event.WitnessKernel || c.read(b))
}

// wouldTell reports whether w, had anything been for it to see at t, would have
// told of it by now.
func (c *coverage) wouldTell(w event.Witness, what string, t time.Time) bool {
	return c.settled(t) && c.whole(w, what, t, t.Add(c.opt.Window))
}

// read reports whether the kernel sensor has told everything up to t. On a busy
// host its records wait to be read for longer than others take to tell of what
// came of them: until then nothing is absent.
func (c *coverage) read(t time.Time) bool {
	if c.through.IsZero() || !c.through.Before(t) {
		return true
	}
	if t.After(c.wanted) {
		c.wanted = t
	}
	return false
}

// healed reports whether w, down at t, came back having missed nothing.
func (c *coverage) healed(w event.Witness, t time.Time) bool {
	for _, s := range c.states[w] {
		if s.Time.After(t) && s.Up {
			return !s.From.IsZero() && !s.From.After(t)
		}
	}
	return false
}

// lost counts the records of w's stream lost between a and b; a loss of unknown
// size counts as one.
func (c *coverage) lost(w event.Witness, what string, a, b time.Time) uint64 {
	var n uint64
	for _, l := range c.losses {
		if l.Witness == w && (what == "" || l.What == what) && !l.From.After(b) && !l.Time.Before(a) {
			n += max(1, l.Count)
		}
	}
	return n
}

// blind reports whether w, known at all, was down for a part of a to b.
func (c *coverage) blind(w event.Witness, a, b time.Time) bool {
	if len(c.states[w]) == 0 {
		return false
	}
	s := c.at(w, a)
	if s == nil || !s.Up {
		return !c.healed(w, a)
	}
	for _, s := range c.states[w] {
		if s.Time.After(a) && !s.Time.After(b) && !s.Up && !c.healed(w, s.Time) {
			return true
		}
	}
	return false
}

// stamp notes what could not be seen while the session ran.
func (c *coverage) stamp(s *session.Session) {
	until := c.now
	if s.Ended != nil {
		until = *s.Ended
	}
	s.LostRecords = c.lost(event.WitnessKernel, "", s.Started, until)
	for _, w := range []event.Witness{event.WitnessKernel, event.WitnessDocker, event.WitnessContainerd} {
		if c.blind(w, s.Started, until) {
			s.Gaps = append(s.Gaps, "the "+string(w)+" witness was not watching all the time")
		}
	}
	slices.Sort(s.Gaps)
}
