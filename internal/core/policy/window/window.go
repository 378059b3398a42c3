// Package window remembers sessions for rules that are about several: enough of
// them within a time, or some one after the other.
//
// Sessions belong together by a key. What arrives late is put in its place by its
// own time, so the order of arrival does not matter as long as nothing was
// forgotten. What is remembered is bounded, whatever comes: of keys the one used
// longest ago goes first, of sessions the oldest.
package window

import (
	"cmp"
	stdlist "container/list"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Count holds when at least so many distinct values come together within a time.
type Count struct {
	AtLeast int
	Within  time.Duration
}

// Sequence holds when sessions fulfil its steps one after the other, within a time.
type Sequence struct {
	Steps  int
	Within time.Duration
}

// Bounds of what is remembered for one rule.
const (
	keysMax    = 4096 // keys; the one that was used longest ago goes first
	perStepMax = 16   // sessions for each step of a sequence and key
)

// Seen is a session that counts.
type Seen struct {
	At   time.Time
	ID   session.ID
	What string // of a count: its distinct value

	about *finding.Finding // of a last step: what will be said of it
	told  bool
}

// compare orders by time, then id, so that the order of arrival does not matter.
func compare(a, b Seen) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) }

// track is what is remembered of one key.
type track struct {
	key   string
	steps [][]Seen // of a count: one
	until time.Time
	told  bool
}

// Memory is what is remembered for one rule. It is not safe for concurrent use.
type Memory struct {
	tracks map[string]*stdlist.Element // of *track
	used   *stdlist.List               // the latest first
}

// New returns an empty memory.
func New() *Memory { return &Memory{tracks: map[string]*stdlist.Element{}, used: stdlist.New()} }

// track returns what is remembered of a key, and how many keys were forgotten
// for it.
func (m *Memory) track(key string, steps int) (*track, uint64) {
	if e, ok := m.tracks[key]; ok {
		m.used.MoveToFront(e)
		return e.Value.(*track), 0
	}
	forgot := uint64(0)
	if m.used.Len() >= keysMax {
		last := m.used.Back()
		delete(m.tracks, last.Value.(*track).key)
		m.used.Remove(last)
		forgot = 1
	}
	t := &track{key: key, steps: make([][]Seen, steps)}
	m.tracks[key] = m.used.PushFront(t)
	return t, forgot
}

// add puts a session among those of a step, in order, and keeps the latest most.
// It returns false when it is there already.
func (t *track) add(step int, s Seen, most int) bool {
	all := t.steps[step]
	if slices.ContainsFunc(all, func(o Seen) bool { return o.ID == s.ID }) {
		return false
	}
	i, _ := slices.BinarySearchFunc(all, s, compare)
	all = slices.Insert(all, i, s)
	if len(all) > most {
		all = slices.Delete(all, 0, len(all)-most)
	}
	t.steps[step] = all
	return true
}

// Count takes a session of a key. It returns the sessions of a window that now
// holds enough, once for each run of sessions that follow one another within the
// time; and how many keys were forgotten.
func (m *Memory) Count(c Count, key string, s Seen) (related []session.ID, forgot uint64) {
	t, forgot := m.track(key, 1)
	if !t.add(0, s, max(64, 4*c.AtLeast)) {
		return nil, forgot
	}
	return c.reached(t, s), forgot
}

// Sequence takes a session of a key that fulfils some steps, counted from 0; last is
// what to say of it when one is the last step. It returns what is to be said of
// each last step that now has all the steps before it, with the sessions of these;
// and how many keys were forgotten.
func (m *Memory) Sequence(q Sequence, key string, s Seen, steps []int, last *finding.Finding) (out []finding.Finding, forgot uint64) {
	t, forgot := m.track(key, q.Steps)
	fresh := false
	for _, step := range steps {
		one := s
		if step == q.Steps-1 {
			one.about = last
		}
		fresh = t.add(step, one, perStepMax) || fresh
	}
	if !fresh {
		return nil, forgot
	}
	return q.completed(t), forgot
}

// reached returns the sessions of a window that holds enough, after s was added:
// once for each run of sessions that follow one another within the time.
func (c Count) reached(t *track, s Seen) []session.ID {
	all := t.steps[0]
	running := t.told && !s.At.After(t.until)
	if s.At.Add(c.Within).After(t.until) {
		t.until = s.At.Add(c.Within)
	}
	if running {
		return nil
	}
	t.told = false
	for lo := range all {
		values := map[string]bool{}
		for hi := lo; hi < len(all) && all[hi].At.Sub(all[lo].At) <= c.Within; hi++ {
			values[all[hi].What] = true
			if len(values) >= c.AtLeast && !s.At.Before(all[lo].At) && !s.At.After(all[hi].At) {
				t.told = true
				return ids(all[lo : hi+1])
			}
		}
	}
	return nil
}

func ids(all []Seen) []session.ID {
	var out []session.ID
	for _, s := range all[max(0, len(all)-finding.MaxRelated):] {
		out = append(out, s.ID)
	}
	return out
}

// completed returns what is to be said of each last step that now has all the
// steps before it, and marks it as told.
func (q Sequence) completed(t *track) []finding.Finding {
	var out []finding.Finding
	last := t.steps[q.Steps-1]
	for i := range last {
		if last[i].told {
			continue
		}
		if chain := q.chain(t, last[i]); chain != nil {
			last[i].told = true
			f := *last[i].about
			f.Related = chain
			out = append(out, f)
		}
	}
	return out
}

// chain finds the steps before a last one, from the last to the first: taking
// the latest that fits each time leaves the most room for those before it.
func (q Sequence) chain(t *track, last Seen) []session.ID {
	chain, next := []session.ID{last.ID}, last
	for step := q.Steps - 2; step >= 0; step-- {
		found := false
		for _, s := range slices.Backward(t.steps[step]) {
			if !s.At.After(next.At) && !slices.Contains(chain, s.ID) && last.At.Sub(s.At) <= q.Within {
				chain, next, found = append(chain, s.ID), s, true
				break
			}
		}
		if !found {
			return nil
		}
	}
	slices.Reverse(chain)
	return chain[:len(chain)-1]
}
