package correlate

import (
	"cmp"
	"container/heap"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
)

// A subject is something that can turn out to be a session: an exec, a run of
// a container, an entry, a stream.
type subject interface {
	state() *state
	// derive computes the session from the facts. It returns false when the
	// subject is not a session of its own: nothing ran yet, or another
	// subject accounts for it.
	derive(e *Engine) (session.Session, bool)
	// forget takes the subject out of the engine's indexes.
	forget(e *Engine)
}

// state is where a subject stands in being published.
type state struct {
	firstSeen time.Time // engine time of the first fact
	lastSeen  time.Time // engine time of the last fact
	dueAt     time.Time
	index     int       // in the queue; -1 when not in it
	lookAt    time.Time // when what is not known yet will count as absent
	expires   bool      // nothing is left to derive: forget it when due
	crowded   bool      // of its process tree hardly more than the size can change
	published *session.Session
	derivedAt time.Time // engine time of the last look; zero before the first
	cri       criSettled
	gone      bool
}

// coalesce is how long a revision waits for facts that come in its wake.
const coalesce = 50 * time.Millisecond

// crowdedFactor is how many times longer a change waits that is only one more
// process than a session lists: each revision would hold all that it lists.
const crowdedFactor = 10

// podCoalesce is coalesce for sessions in pods that have a name, or several: each
// new request and connection may matter to all of them.
const podCoalesce = time.Second

// wake is when c is looked at again, with the facts that come in the wake of one.
// Commands in pods are weighed against each other: all that are looked at at the
// same moment are weighed once.
func (e *Engine) wake(c subject) time.Time {
	p := c.state().published
	switch {
	case !e.inside.inPod(targetOf(c)):
		return e.now.Add(coalesce)
	case p == nil || p.Attribution.Level == session.LevelNone:
		return e.now.Truncate(coalesce).Add(2 * coalesce)
	default:
		return e.now.Truncate(podCoalesce).Add(podCoalesce + coalesce)
	}
}

// touch notes that something about c changed. Urgent changes are looked at
// once the session has settled; others wait for the debounce.
func (e *Engine) touch(c subject, urgent bool) {
	s := c.state()
	if s.gone {
		return
	}
	if s.firstSeen.IsZero() {
		s.firstSeen, s.index = e.now, -1
	}
	s.lastSeen, s.expires = e.now, false
	due := s.firstSeen.Add(e.opt.Settle)
	switch {
	case s.derivedAt.IsZero() || s.published == nil && urgent:
	case urgent:
		due = e.wake(c)
	case s.crowded:
		due = s.derivedAt.Add(crowdedFactor * e.opt.Debounce)
	default:
		due = s.derivedAt.Add(e.opt.Debounce)
	}
	if due.Before(e.now) {
		due = e.now
	}
	e.schedule(c, due)
}

// NextDue returns the moment at which the passing of time alone may next bring
// revisions; ok is false when nothing waits for it. Whoever plays kept
// observations ticks at exactly these moments.
func (e *Engine) NextDue() (t time.Time, ok bool) {
	if len(e.queue) == 0 {
		return time.Time{}, false
	}
	return e.queue[0].state().dueAt, true
}

// touchIf looks again at the waiting subjects that match.
func (e *Engine) touchIf(match func(subject) bool) {
	var found []subject // touching reorders the queue
	for _, c := range e.queue {
		if match(c) {
			found = append(found, c)
		}
	}
	for _, c := range found {
		e.touch(c, true)
	}
}

// schedule makes c due at t, or earlier when it already was.
func (e *Engine) schedule(c subject, t time.Time) {
	s := c.state()
	switch {
	case s.index < 0:
		s.dueAt = t
		heap.Push(&e.queue, c)
	case t.Before(s.dueAt):
		s.dueAt = t
		heap.Fix(&e.queue, s.index)
	}
}

// reschedule plans the next look at c after it was derived: absence becomes
// evidence when the window closes, and a session is forgotten some time after
// its end.
func (e *Engine) reschedule(c subject) {
	s := c.state()
	if s.gone {
		return
	}
	quiet := s.lastSeen.Add(e.opt.Window)
	if s.crowded {
		quiet = s.lastSeen.Add(crowdedFactor * e.opt.Debounce)
	}
	switch {
	case e.now.Before(quiet):
		e.schedule(c, quiet)
	case e.now.Before(s.lookAt):
		e.schedule(c, s.lookAt)
	case e.inside.owned(c): // goes with its owner
	case s.published == nil || !s.published.State.Open() || s.published.SupersededBy != "":
		s.expires = true
		e.schedule(c, s.lastSeen.Add(e.keep(c)))
		e.rest(c)
	}
}

// What is over stays open for late evidence only. Of more than so many the oldest
// are closed before their time; in pods, where the audit log comes late and a
// command is weighed with those around it, later.
const (
	idleMax    = 1 << 10
	idleInPods = 1 << 13
)

// idle is a subject that was over when its last fact came, since.
type idle struct {
	subject
	since time.Time
}

// stale reports whether the subject was touched since, or is gone.
func (c idle) stale() bool {
	s := c.state()
	return !s.expires || s.gone || !s.lastSeen.Equal(c.since)
}

// rest notes that c is over, and makes room.
func (e *Engine) rest(c subject) {
	list, most := &e.idle, idleMax
	if e.concernsPod(c) {
		list, most = &e.idleInPods, idleInPods
	}
	if *list = append(*list, idle{c, c.state().lastSeen}); len(*list) <= most {
		return
	}
	*list = slices.DeleteFunc(*list, idle.stale)
	if len(*list) <= most {
		return
	}
	old := slices.Clone((*list)[:len(*list)-most*7/8])
	*list = slices.Delete(*list, 0, len(old))
	for _, c := range old {
		e.missed(c.subject)
		e.unschedule(c.subject)
		e.expire(c.subject)
	}
}

// concernsPod reports whether c is weighed with what else happens in a pod.
func (e *Engine) concernsPod(c subject) bool {
	_, call := c.(*call)
	return call || e.inside.inPod(targetOf(c))
}

// missed notes that c is forgotten early, to make room. In pods, those that it
// was weighed with have lost it: they may have come as long after it as a stream
// waits.
func (e *Engine) missed(c subject) {
	if e.concernsPod(c) {
		e.past.lost(c.state().lastSeen.Add(streamWait))
		return
	}
	e.past.lost(c.state().firstSeen)
}

// expire forgets c for good.
func (e *Engine) expire(c subject) {
	s := c.state()
	s.gone = true
	delete(e.awaiting, c)
	if s.published != nil {
		e.past.retired.add(s.published.ID, s.lastSeen)
		e.adopted.drop(s.published.ID)
	}
	c.forget(e)
	e.changed()
}

// createdMax is how long an exec that was created and never started is kept:
// somebody may still start it (channel DK-EXEC-SPLIT).
const createdMax = 24 * time.Hour

// execsMax is how many execs there may be for one to be kept for so long.
const execsMax = 1 << 14

func (e *Engine) keep(c subject) time.Duration {
	if x, ok := c.(*exec); ok && !x.begun() && len(e.inside.execs.byKey) < execsMax {
		return createdMax
	}
	return e.openFor(c)
}

// publish derives c and appends the revision to out, if its session is new or
// changed. A session that got another id by stronger evidence is closed with a
// pointer to its successor.
func (e *Engine) publish(c subject, out []session.Revision) []session.Revision {
	s := c.state()
	s.derivedAt = e.now
	var ok bool
	was, now := s.published, &e.derived
	if *now, ok = c.derive(e); !ok {
		return e.withdraw(c, out)
	}
	*now = e.adopted.complete(*now)
	if was != nil && was.ID == now.ID && e.frozen(c) {
		if was.SupersededBy != "" {
			return out
		}
		*now = settle(*was, *now)
	}
	if e.past.retired.covers(now) {
		e.past.late++
		return out
	}
	changed := isNew
	switch {
	case was == nil:
	case was.ID != now.ID:
		if was.SupersededBy == "" {
			out = supersede(s, out, now.ID)
		}
	default:
		if changed = difference(was, now); len(changed) == 0 {
			return out
		}
	}
	kept := *now
	s.published = &kept
	return append(out, session.Revision{Session: kept, Changed: changed})
}

var isNew = []string{"new"}

// withdraw closes the session of c, which is none of its own any more.
func (e *Engine) withdraw(c subject, out []session.Revision) []session.Revision {
	s := c.state()
	if s.published == nil || s.published.SupersededBy != "" {
		return out
	}
	by := e.successor(c)
	if by == s.published.ID { // an adopted session found its way back to its exec
		s.published = nil
		return out
	}
	return supersede(s, out, by)
}

// frozen reports whether facts that matter to c may have been forgotten by now:
// who asked is then no longer weighed anew. With half of the candidates gone,
// the other half would look certain.
func (e *Engine) frozen(c subject) bool {
	first := c.state().firstSeen
	// An exec may be started long after it was created: what is known of that is
	// not late.
	if x, ok := c.(*exec); ok && x.begun() && !x.created().IsZero() && x.asked().Sub(x.created()) > e.opt.Window {
		first = x.asked()
	}
	return !first.After(e.past.forgotten) || e.now.Sub(first) > e.openFor(c)
}

// openFor is how long the facts that say who asked for c are remembered. Those
// of pods wait for audit logs that come late.
func (e *Engine) openFor(c subject) time.Duration {
	if _, ok := c.(*call); ok || e.inside.inPod(targetOf(c)) {
		return max(e.opt.Late, e.opt.Keep)
	}
	return e.opt.Keep
}

// settle returns now with what was says of the asker and the request.
func settle(was, now session.Session) session.Session {
	now.Kind, now.Channel, now.Attribution, now.Actor = was.Kind, was.Channel, was.Attribution, was.Actor
	now.Argv, now.ArgvSource, now.AuditID, now.Verb = was.Argv, was.ArgvSource, was.AuditID, was.Verb
	now.Path, now.Direction, now.User, now.Privileged = was.Path, was.Direction, was.User, was.Privileged
	now.TTY, now.Stdin, now.Created, now.Carried = was.TTY, was.Stdin, was.Created, was.Carried
	now.Unexplained, now.Gaps = was.Unexplained, union(was.Gaps, now.Gaps)
	now.Evidence = account(merge(was.Evidence, now.Evidence)).sorted()
	return now
}

func supersede(s *state, out []session.Revision, by session.ID) []session.Revision {
	was := *s.published
	was.SupersededBy = by
	s.published = &was
	return append(out, session.Revision{Session: was, Changed: []string{"superseded_by"}})
}

// successor names the session that accounts for c now.
func (e *Engine) successor(c subject) session.ID {
	switch c := c.(type) {
	case *entry:
		if id := e.actors.sessionOf(c); id != "" {
			return id
		}
	case *exec:
		if by := e.choices.partOfCopy(arrival{c, e.inside.entryOf(c)}); by != nil {
			return e.actors.arrivalID(*by)
		}
	case *refusal:
		if id := e.setOff(c.req); id != "" {
			return id
		}
	case *call:
		if a := e.choices.arrivalsOf(c); len(a) > 0 {
			return e.actors.arrivalID(a[0])
		}
		if r := e.kube.startOf(c); r != nil {
			return r.sessionID()
		}
	}
	return "dropped"
}

// difference names the fields in which two states of a session differ.
func difference(a, b *session.Session) []string {
	var out []string
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i, f := range sessionFields {
		fa, fb := va.Field(i), vb.Field(i)
		if f.plain && fa.Equal(fb) || f.name == "revision" || reflect.DeepEqual(fa.Addr().Interface(), fb.Addr().Interface()) {
			continue
		}
		out = append(out, f.name)
	}
	return out
}

// sessionFields are the fields of a session by their names in JSON; plain ones can
// be compared with less effort than reflect.DeepEqual's.
var sessionFields = func() (out []struct {
	name  string
	plain bool
}) {
	for f := range reflect.TypeFor[session.Session]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" { // argument lists are written by hand
			name = "argv"
		}
		out = append(out, struct {
			name  string
			plain bool
		}{name, f.Type.Comparable()})
	}
	return out
}()

// open returns every subject, in no order.
func (e *Engine) open() []subject {
	var out []subject
	for _, x := range e.inside.execs.byKey {
		out = append(out, x)
	}
	for _, r := range e.inside.runs.byKey {
		out = append(out, r)
	}
	for _, n := range e.inside.entries.byRoot {
		out = append(out, n)
	}
	for _, s := range e.streams.byID {
		out = append(out, s)
	}
	for _, r := range e.doors.rebuffs {
		out = append(out, r)
	}
	for _, c := range e.kube.byKey {
		out = append(out, c)
	}
	for _, q := range e.doors.requests.byID {
		if q.refused != nil {
			out = append(out, q.refused)
		}
	}
	return out
}

// before orders subjects by when they came up, then by id.
func before(a, b subject) int {
	if d := a.state().firstSeen.Compare(b.state().firstSeen); d != 0 {
		return d
	}
	return cmp.Compare(sortKey(a), sortKey(b))
}

func sortKey(c subject) string {
	switch c := c.(type) {
	case *exec:
		return "exec " + string(c.key.container) + " " + string(c.key.id)
	case *run:
		return "run " + c.key.String()
	case *entry:
		return "entry " + c.root.String()
	case *stream:
		return "stream " + c.key()
	case *refusal:
		return "refusal " + c.key()
	case *rebuff:
		return "rebuff " + c.key.process.String() + " " + string(c.key.socket)
	case *call:
		return "call " + string(c.sessionID())
	case *orphan:
		return "orphan " + string(c.old.ID)
	}
	return ""
}

// queue is a heap of subjects by due time.
type queue []subject

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	a, b := q[i].state(), q[j].state()
	if !a.dueAt.Equal(b.dueAt) {
		return a.dueAt.Before(b.dueAt)
	}
	return before(q[i], q[j]) < 0
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].state().index, q[j].state().index = i, j
}

func (q *queue) Push(x any) {
	c := x.(subject)
	c.state().index = len(*q)
	*q = append(*q, c)
}

func (q *queue) Pop() any {
	old := *q
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	c.state().index = -1
	return c
}

// unschedule takes c out of the queue.
func (e *Engine) unschedule(c subject) { heap.Remove(&e.queue, c.state().index) }
