package policy

import (
	"cmp"
	stdlist "container/list"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/core/session"
)

// count is the part of a rule that holds when enough sessions come together:
// at least so many distinct values within a time, among sessions of one key.
type count struct {
	by       []*condition.Name
	distinct *condition.Name // nil: sessions are counted
	atLeast  int
	within   time.Duration
}

// sequence is the part of a rule that holds when sessions of one key fulfil its
// steps one after the other, within a time.
type sequence struct {
	by     []*condition.Name
	steps  []*condition.Condition
	within time.Duration
}

func (l *loader) count(r *source.Reader, n *yaml.Node) *count {
	keys := r.Mapping(n, "by", "distinct", "at_least", "within")
	c := &count{by: l.keys(r, n, keys["by"]), within: l.within(r, n, keys["within"])}
	if d := keys["distinct"]; d != nil {
		c.distinct = l.value(r, d)
	}
	v := l.constant(r, n, keys["at_least"], "at_least")
	if i, ok := v.(int64); ok && i >= 2 && i <= countMax {
		c.atLeast = int(i)
	} else if v != nil {
		r.Errorf(keys["at_least"], "", "at_least: want a whole number from 2 to %d", countMax)
	}
	return c
}

func (l *loader) sequence(r *source.Reader, n *yaml.Node, x *rule) *sequence {
	keys := r.Mapping(n, "by", "steps", "within")
	s := &sequence{by: l.keys(r, n, keys["by"]), within: l.within(r, n, keys["within"])}
	steps := r.Items(keys["steps"])
	if len(steps) < 2 || len(steps) > stepsMax {
		r.Errorf(n, "", "a sequence has from 2 to %d steps", stepsMax)
	}
	var texts []string
	for _, step := range steps {
		when := r.Mapping(step, "when")["when"]
		if when == nil {
			r.Errorf(step, "", "a step without `when`")
			continue
		}
		texts = append(texts, strings.TrimSpace(when.Value))
		s.steps = append(s.steps, l.condition(r, when, x))
	}
	x.When = strings.Join(texts, "\n")
	return s
}

// keys compiles the expressions that say which sessions belong together.
func (l *loader) keys(r *source.Reader, in, n *yaml.Node) []*condition.Name {
	nodes := []*yaml.Node{n}
	switch {
	case n == nil:
		r.Errorf(in, "for example by: session.actor.identity", "it does not say by what sessions belong together")
		return nil
	case n.Kind == yaml.SequenceNode:
		nodes = n.Content
	}
	var out []*condition.Name
	for _, k := range nodes {
		out = append(out, l.value(r, k))
	}
	return out
}

// value compiles an expression whose value names something.
func (l *loader) value(r *source.Reader, n *yaml.Node) *condition.Name {
	name, wrong := l.lang.Name(r.Text(n))
	mistakes(r, n, wrong)
	return name
}

// constant evaluates an expression of literals and tunables; nil after an error.
func (l *loader) constant(r *source.Reader, in, n *yaml.Node, name string) any {
	if n == nil {
		r.Errorf(in, "", "no %s", name)
		return nil
	}
	if n.ShortTag() == "!!int" {
		if v, ok := r.Scalar(n).(int64); ok {
			return v
		}
	}
	if d, err := time.ParseDuration(n.Value); err == nil {
		return d
	}
	v, wrong := l.lang.Constant(name, r.Text(n))
	mistakes(r, n, wrong)
	return v
}

func (l *loader) within(r *source.Reader, in, n *yaml.Node) time.Duration {
	v := l.constant(r, in, n, "within")
	d, ok := v.(time.Duration)
	if ok && d > 0 && d <= windowMax {
		return d
	}
	if v != nil {
		r.Errorf(n, "for example 5m", "within: want a duration up to %s", windowMax)
	}
	return 0
}

// Bounds of what is remembered for one rule about several sessions.
const (
	keysMax    = 4096 // keys; the one that was used longest ago goes first
	perStepMax = 16   // sessions for each step of a sequence and key
)

// seen is a session that counts.
type seen struct {
	at    time.Time
	id    session.ID
	what  string           // distinct value
	about *finding.Finding // of a last step: what will be said of it
	told  bool
}

// compare orders by time, then id, so that the order of arrival does not matter.
func compare(a, b seen) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id)) }

// track is what is remembered of one key.
type track struct {
	key   string
	steps [][]seen // of a count: one
	until time.Time
	told  bool
}

// memory is what is remembered for one rule.
type memory struct {
	tracks map[string]*stdlist.Element // of *track
	used   *stdlist.List               // the latest first
}

func newMemory() *memory { return &memory{tracks: map[string]*stdlist.Element{}, used: stdlist.New()} }

// track returns what is remembered of a key, and how many keys were forgotten
// for it.
func (m *memory) track(key string, steps int) (*track, uint64) {
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
	t := &track{key: key, steps: make([][]seen, steps)}
	m.tracks[key] = m.used.PushFront(t)
	return t, forgot
}

// add puts a session among those of a step, in order, and keeps the latest most.
// It returns false when it is there already.
func (t *track) add(step int, s seen, most int) bool {
	all := t.steps[step]
	if slices.ContainsFunc(all, func(o seen) bool { return o.id == s.id }) {
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

// reached returns the sessions of a window that holds enough, after s was added:
// once for each run of sessions that follow one another within the time.
func (c *count) reached(t *track, s seen) []session.ID {
	all := t.steps[0]
	running := t.told && !s.at.After(t.until)
	if s.at.Add(c.within).After(t.until) {
		t.until = s.at.Add(c.within)
	}
	if running {
		return nil
	}
	t.told = false
	for lo := range all {
		values := map[string]bool{}
		for hi := lo; hi < len(all) && all[hi].at.Sub(all[lo].at) <= c.within; hi++ {
			values[all[hi].what] = true
			if len(values) >= c.atLeast && !s.at.Before(all[lo].at) && !s.at.After(all[hi].at) {
				t.told = true
				return ids(all[lo : hi+1])
			}
		}
	}
	return nil
}

func ids(all []seen) []session.ID {
	var out []session.ID
	for _, s := range all[max(0, len(all)-finding.MaxRelated):] {
		out = append(out, s.id)
	}
	return out
}

// completed returns what is to be said of each last step that now has all the
// steps before it, and marks it as told.
func (q *sequence) completed(t *track) []finding.Finding {
	var out []finding.Finding
	last := t.steps[len(q.steps)-1]
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
func (q *sequence) chain(t *track, last seen) []session.ID {
	chain, next := []session.ID{last.id}, last
	for step := len(q.steps) - 2; step >= 0; step-- {
		found := false
		for _, s := range slices.Backward(t.steps[step]) {
			if !s.at.After(next.at) && !slices.Contains(chain, s.id) && last.at.Sub(s.at) <= q.within {
				chain, next, found = append(chain, s.id), s, true
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
