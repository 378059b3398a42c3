package correlate

import (
	"reflect"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
)

// due derives every session whose time has come by now.
func (e *Engine) due(now time.Time) []session.Revision {
	var out []session.Revision
	for c := e.agenda.take(now); c != nil; c = e.agenda.take(now) {
		if c.state().expires {
			e.expire(c)
			continue
		}
		out = e.publish(c, out)
		e.agenda.await(c, e.coverage.wanted)
		e.reschedule(c)
	}
	return out
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
		e.agenda.schedule(c, quiet)
	case e.now.Before(s.lookAt):
		e.agenda.schedule(c, s.lookAt)
	case e.inside.owned(c): // goes with its owner
	case s.published == nil || !s.published.State.Open() || s.published.SupersededBy != "":
		s.expires = true
		e.agenda.schedule(c, s.lastSeen.Add(e.keep(c)))
		e.rest(c)
	}
}

// rest notes that c is over, and makes room.
func (e *Engine) rest(c subject) {
	over := &e.agenda.idle
	if e.concernsPod(c) {
		over = &e.agenda.inPods
	}
	for _, old := range over.add(c) {
		e.missed(old.subject)
		e.expire(old.subject)
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
	e.agenda.remove(c)
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
	was, now := s.published, &e.derived
	*now = session.Session{}
	if !c.derive(e, now) {
		return e.withdraw(c, out)
	}
	e.adopted.complete(now)
	if was != nil && was.ID == now.ID && e.frozen(c) {
		if was.SupersededBy != "" {
			return out
		}
		*now = settle(*was, *now)
	}
	if e.past.straggles(now) {
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
	return e.past.lacks(first) || e.now.Sub(first) > e.openFor(c)
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
		if by := e.preparesCopy(c); by != nil && e.inside.execOf(c) == nil {
			return e.actors.arrivalID(*by)
		}
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
		if f.plain && fa.Equal(fb) || f.list && same(fa, fb) || f.name == "revision" || reflect.DeepEqual(fa.Addr().Interface(), fb.Addr().Interface()) {
			continue
		}
		out = append(out, f.name)
	}
	return out
}

// same reports whether two lists are one and the same.
func same(a, b reflect.Value) bool {
	return a.Len() == b.Len() && a.UnsafePointer() == b.UnsafePointer()
}

// sessionFields are the fields of a session by their names in JSON; plain ones and
// lists can be compared with less effort than reflect.DeepEqual's.
var sessionFields = func() (out []sessionField) {
	for f := range reflect.TypeFor[session.Session]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" { // argument lists are written by hand
			name = "argv"
		}
		out = append(out, sessionField{name, f.Type.Comparable(), f.Type.Kind() == reflect.Slice})
	}
	return out
}()

type sessionField struct {
	name        string
	plain, list bool
}
