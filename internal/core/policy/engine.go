package policy

import (
	"cmp"
	"container/heap"
	stdlist "container/list"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/policy/window"
	"github.com/sallyport/sallyport/internal/core/session"
)

// grace is how long the engine waits, by the data's own time, for evidence that
// may still tell what is unknown of a running session. Audit logs come late.
const grace = 30 * time.Second

// Bounds of what the engine remembers. The store drops a finding that it has, so
// forgetting costs work and never a second finding.
const (
	sessionsMax = 1 << 14
	waitingMax  = 1 << 12
)

// Engine makes findings of the revisions of sessions: at most one for each rule
// and session, however often it is revised. It is not safe for concurrent use.
type Engine struct {
	set      *Set
	now      time.Time // latest time in the data
	sessions map[session.ID]*stdlist.Element
	order    *stdlist.List // of *told, the latest last
	waiting  map[session.ID]waiting
	dues     dues // when those may be asked about again; some have gone since
	memories map[string]*window.Memory
	spare    *condition.Scope // of the session before
	stats    Stats

	// What rules about witnesses need: those rules, how each witness sees, the latest
	// time of what was heard, and when one that is down is to be looked at; see Hear.
	blind    []*rule
	sights   map[sighted]*sight
	heard    time.Time
	deadline time.Time
}

// Stats counts what an engine did.
type Stats struct {
	Sessions   uint64            `json:"sessions"` // revisions that were asked about
	Findings   uint64            `json:"findings"`
	Suppressed uint64            `json:"suppressed"`       // would-be findings
	Undecided  uint64            `json:"undecided"`        // conditions that nobody could tell, of rules that let those pass
	Errors     map[string]uint64 `json:"errors,omitempty"` // by rule: conditions that could not be evaluated
	Forgotten  uint64            `json:"forgotten"`        // keys of counts and sequences that went for others
	LastError  string            `json:"last_error,omitempty"`
}

// told is what was already said of a session.
type told struct {
	id    session.ID
	rules []string
}

// NewEngine returns an engine with a set of rules.
func NewEngine(s *Set) *Engine {
	e := &Engine{
		sessions: map[session.ID]*stdlist.Element{}, order: stdlist.New(),
		waiting: map[session.ID]waiting{}, memories: map[string]*window.Memory{}, stats: Stats{Errors: map[string]uint64{}},
		sights: map[sighted]*sight{},
	}
	e.take(s)
	return e
}

// take makes the rules those of the engine.
func (e *Engine) take(s *Set) {
	e.set = s
	e.blind = slices.DeleteFunc(slices.Clone(s.rules), func(r *rule) bool { return r.Blind == nil })
	e.deadline = e.heard // look at once at what is down
}

// Use changes the rules. What is remembered stays for rules about several
// sessions that are written as before.
func (e *Engine) Use(s *Set) {
	old := make(map[string]Rule)
	for _, r := range e.set.rules {
		old[r.ID] = r.Rule
	}
	for id := range e.memories {
		i := slices.IndexFunc(s.rules, func(r *rule) bool { return r.ID == id })
		if i < 0 || s.rules[i].When != old[id].When {
			delete(e.memories, id)
		}
	}
	e.take(s)
}

// Stats returns what the engine did so far.
func (e *Engine) Stats() Stats {
	out := e.stats
	out.Errors = maps.Clone(e.stats.Errors)
	return out
}

// Observe takes a revision of a session and returns what is to be said of it, in
// the order of the rules.
func (e *Engine) Observe(s session.Session) []finding.Finding {
	out := e.Advance(latest(&s))
	if s.SupersededBy != "" {
		delete(e.waiting, s.ID)
		return out
	}
	return append(out, e.review(&s, true)...)
}

// Remember takes a session that was reviewed by an earlier engine: it counts for
// rules about several sessions, and nothing is said of it.
func (e *Engine) Remember(s session.Session) {
	if s.SupersededBy == "" {
		e.review(&s, true)
		e.stats = Stats{Errors: map[string]uint64{}}
	}
}

// Advance lets time pass and returns what is to be said of sessions that waited
// for evidence.
func (e *Engine) Advance(now time.Time) []finding.Finding {
	if now.After(e.now) {
		e.now = now
	}
	return e.settle(false)
}

// Due returns when time alone can next bring something to say, without anything
// new being seen; zero when it cannot.
func (e *Engine) Due() time.Time {
	at := e.deadline
	if len(e.dues) > 0 && (at.IsZero() || e.dues[0].at.Before(at)) {
		at = e.dues[0].at
	}
	return at
}

// Flush returns what is to be said of all sessions that wait, however short a
// time: the input has ended.
func (e *Engine) Flush() []finding.Finding { return e.settle(true) }

// settle asks again about the sessions whose time has come, or about all.
func (e *Engine) settle(all bool) []finding.Finding {
	var out []finding.Finding
	for len(e.dues) > 0 && (all || !e.now.Before(e.dues[0].at)) {
		next := heap.Pop(&e.dues).(due)
		if w, ok := e.waiting[next.id]; ok && w.until.Equal(next.at) {
			out = append(out, e.review(&w.session, !all)...)
		}
	}
	return out
}

// waiting is a session of which a rule cannot tell yet.
type waiting struct {
	session session.Session
	until   time.Time
}

// due says when to ask about a session again.
type due struct {
	at time.Time
	id session.ID
}

// dues is a heap of them, the earliest first.
type dues []due

// Len implements heap.Interface.
func (d dues) Len() int { return len(d) }

// Less implements heap.Interface.
func (d dues) Less(i, j int) bool {
	return cmp.Or(d[i].at.Compare(d[j].at), cmp.Compare(d[i].id, d[j].id)) < 0
}

// Swap implements heap.Interface.
func (d dues) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push implements heap.Interface.
func (d *dues) Push(v any) { *d = append(*d, v.(due)) }

// Pop implements heap.Interface.
func (d *dues) Pop() any {
	old := *d
	v := old[len(old)-1]
	*d = old[:len(old)-1]
	return v
}

// latest returns the latest time that a session tells of.
func latest(s *session.Session) time.Time {
	if s.Ended != nil && s.Ended.After(s.Started) {
		return *s.Ended
	}
	return s.Started
}

// review asks all rules about a session. With patience it lets a session wait
// of which a rule cannot tell yet.
func (e *Engine) review(s *session.Session, patience bool) []finding.Finding {
	e.stats.Sessions++
	patience = patience && s.State.Open() && len(e.dues) < waitingMax
	t := e.told(s.ID)
	before := e.waiting[s.ID].until
	delete(e.waiting, s.ID)
	v := &reviewing{Engine: e, s: s, told: t, patience: patience}
	a := &asking{set: e.set, about: s, spare: e.spare}
	defer a.close()
	a.each(func(r *rule) { v.ask(r, a) })
	e.spare = cmp.Or(a.scope, e.spare)
	if !v.until.IsZero() {
		e.waiting[s.ID] = waiting{*s, v.until}
		if !v.until.Equal(before) {
			heap.Push(&e.dues, due{v.until, s.ID})
		}
	}
	e.stats.Findings += uint64(len(v.out))
	return v.out
}

// told returns what was said of a session.
func (e *Engine) told(id session.ID) *told {
	if el, ok := e.sessions[id]; ok {
		return el.Value.(*told)
	}
	if e.order.Len() >= sessionsMax {
		first := e.order.Front()
		delete(e.sessions, first.Value.(*told).id)
		e.order.Remove(first)
	}
	t := &told{id: id}
	e.sessions[id] = e.order.PushBack(t)
	return t
}

// reviewing is one look at one session.
type reviewing struct {
	*Engine
	s        *session.Session
	told     *told
	patience bool
	until    time.Time // when a rule that waits may be asked again
	decided  bool      // a rule that allows, denies or approves held, or may yet
	out      []finding.Finding
}

func (v *reviewing) ask(r *rule, a *asking) {
	does := r.Decides()
	if does != "" && v.decided && len(r.Effects) == 1 {
		return
	}
	if r.Settle > 0 && v.wait(r.Settle) {
		v.decided = v.decided || does != ""
		return
	}
	if r.sequence != nil {
		v.sequence(r, a)
		return
	}
	got := a.ask(r)
	if got.Unknown() && r.Unknown == UnknownMatch && v.wait(grace) {
		v.decided = v.decided || does != ""
		return
	}
	v.note(r, got)
	if !r.holds(got) {
		return
	}
	if r.suppressed(v.s) {
		v.stats.Suppressed++
		return
	}
	first := does != "" && !v.decided
	v.decided = v.decided || does != ""
	switch {
	case r.count != nil:
		v.count(r, a.scope)
	case r.Has(effect.Alert), first && does != effect.Allow:
		v.say(r, got, nil)
	}
}

// wait reports whether a rule is to wait until the session is older, and sees to
// it that it is asked again.
func (v *reviewing) wait(age time.Duration) bool {
	until := v.s.Started.Add(age)
	if !v.patience || !v.now.Before(until) {
		return false
	}
	if v.until.IsZero() || until.Before(v.until) {
		v.until = until
	}
	return true
}

// note counts what could not be told.
func (v *reviewing) note(r *rule, got condition.Answer) {
	if got.Err() != nil {
		v.stats.Errors[r.ID]++
		v.stats.LastError = "rule " + r.ID + ": " + got.Err().Error()
	}
	if got.Unknown() && r.Unknown == UnknownPass && !v.s.State.Open() {
		v.stats.Undecided++
	}
}

// say makes a finding, unless the rule has one of the session.
func (v *reviewing) say(r *rule, got condition.Answer, related []session.ID) {
	if slices.Contains(v.told.rules, r.ID) {
		return
	}
	v.told.rules = append(v.told.rules, r.ID)
	f := newFinding(r, v.s, match(r, got))
	f.Related = related
	v.out = append(v.out, f)
}

// newFinding says what a rule has to say about a session.
func newFinding(r *rule, s *session.Session, m Match) finding.Finding {
	f := finding.Finding{
		Rule: r.ID, Severity: r.Severity, Title: r.Title, Message: r.say(s), Effect: effect.Alert,
		Unknown: m.Unknown, Attack: r.Attack, CIS: r.CIS, Remedy: r.Remedy,
	}
	if does := r.Decides(); does != "" {
		f.Effect = does
	}
	if m.Error != "" {
		f.Message += " (taken to hold: " + m.Error + ")"
	}
	f.About(s)
	return f
}

func (v *reviewing) memory(r *rule) *window.Memory {
	m := v.memories[r.ID]
	if m == nil {
		m = window.New()
		v.memories[r.ID] = m
	}
	return m
}

func (v *reviewing) count(r *rule, s *condition.Scope) {
	key, ok := condition.Joined(r.count.by, s)
	what := string(v.s.ID)
	if ok && r.count.distinct != nil {
		what, ok = r.count.distinct.Of(s)
	}
	if !ok {
		return
	}
	related, forgot := v.memory(r).Count(r.count.Count, key, window.Seen{At: v.s.Started, ID: v.s.ID, What: what})
	v.stats.Forgotten += forgot
	if related != nil {
		v.say(r, condition.Answer{Yes: true}, related)
	}
}

func (v *reviewing) sequence(r *rule, a *asking) {
	var key string
	steps := make([]int, 0, stepsMax) // that the session fulfils
	for i, step := range r.sequence.steps {
		got := a.judge(step, 0)
		v.note(r, got)
		if !r.holds(got) {
			continue
		}
		if len(steps) == 0 {
			var ok bool
			if key, ok = condition.Joined(r.sequence.by, a.scope); !ok || r.suppressed(v.s) {
				return
			}
		}
		steps = append(steps, i)
	}
	if len(steps) == 0 {
		return
	}
	q := window.Sequence{Steps: len(r.sequence.steps), Within: r.sequence.within}
	var last *finding.Finding
	if steps[len(steps)-1] == q.Steps-1 {
		f := newFinding(r, v.s, Match{})
		last = &f
	}
	out, forgot := v.memory(r).Sequence(q, key, window.Seen{At: v.s.Started, ID: v.s.ID}, steps, last)
	v.stats.Forgotten += forgot
	v.out = append(v.out, out...)
}
