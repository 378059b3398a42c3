package correlate

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// touch notes that something about c changed. Urgent changes are looked at
// once the session has settled; others wait for the debounce.
func (e *Engine) touch(c subject, urgent bool) {
	s := c.state()
	if s.gone {
		return
	}
	if s.firstSeen.IsZero() {
		s.firstSeen = e.now
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
	e.agenda.schedule(c, due)
}

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

// coalesce is how long a revision waits for facts that come in its wake.
const coalesce = 50 * time.Millisecond

// crowdedFactor is how many times longer a change waits that is only one more
// process than a session lists: each revision would hold all that it lists.
const crowdedFactor = 10

// podCoalesce is coalesce for sessions in pods that have a name, or several: each
// new request and connection may matter to all of them.
const podCoalesce = time.Second

// touchIf looks again at the waiting subjects that match.
func (e *Engine) touchIf(match func(subject) bool) {
	for _, c := range e.agenda.waiting(match) {
		e.touch(c, true)
	}
}

// touchSince looks again at every session that was open at t or later.
func (e *Engine) touchSince(t time.Time) {
	for _, c := range e.open() {
		if p := c.state().published; p == nil || p.Ended == nil || !p.Ended.Before(t) {
			e.touch(c, true)
		}
	}
}

// touchAround looks again at the published sessions that began at t or later and
// are not tied by an id: a connection may matter to them. Those that wait to be
// published will see it anyway.
func (e *Engine) touchAround(t time.Time) {
	e.touchIf(func(c subject) bool {
		p := c.state().published
		return p != nil && p.Attribution.Level != session.LevelExact && !p.Started.Before(t.Add(-e.opt.Window))
	})
}

// touchUnnamed looks again at sessions in pods that are without a name: what
// comes late may tell.
func (e *Engine) touchUnnamed() {
	if len(e.inside.containers.byID) == 0 && !e.kube.admissions {
		return // there is none
	}
	e.touchIf(func(c subject) bool {
		if k, ok := c.(*call); ok {
			return !k.vouched()
		}
		p := c.state().published
		return e.now.Before(c.state().lookAt) || p != nil && !named(p.Attribution.Level) && e.inside.inPod(targetOf(c))
	})
}

func named(l session.Level) bool { return l == session.LevelExact || l == session.LevelStrong }

// touchContainer looks again at the sessions of a container that began lately.
func (e *Engine) touchContainer(id event.ContainerID) {
	if c := e.inside.seen(id); c != nil {
		e.touchIn(c)
	}
	for _, s := range e.streams.byID {
		if s.container == id {
			e.touchWaiting(s)
		}
	}
}

// touchIn looks again at the waiting sessions of a container's processes.
func (e *Engine) touchIn(c *container) {
	for _, x := range c.execs {
		e.touchWaiting(x)
	}
	for _, r := range c.runs {
		e.touchWaiting(r)
	}
	for _, n := range c.entries {
		if !e.inside.owned(n) {
			e.touchWaiting(n)
		}
	}
}

// touchWaiting looks again at c if it waits for anything.
func (e *Engine) touchWaiting(c subject) {
	if c.state().queued > 0 {
		e.touch(c, true)
	}
}

func (e *Engine) touchStreams(id event.ContainerID) {
	for _, s := range e.streams.byID {
		if s.container == id || s.container == "" {
			e.touch(s, true)
		}
	}
}

// touchEntry looks again at whoever accounts for n.
func (e *Engine) touchEntry(n *entry, urgent bool) {
	e.placeRun(n)
	touch := func(c subject) {
		c.state().crowded = n.total > session.MaxProcesses
		e.touch(c, urgent)
	}
	touch(n)
	if x := e.inside.execOf(n); x != nil {
		touch(x)
	}
	if r := e.inside.runOf(n); r != nil {
		touch(r)
	}
}

// touchCall looks again at c and at the sessions that it may stand behind.
func (e *Engine) touchCall(c *call) {
	e.touch(c, true)
	pod := c.pod()
	for _, k := range e.inside.ofPod(pod) {
		e.touchIn(k)
	}
}

// touchExecs looks again at the execs with an id.
func (e *Engine) touchExecs(id event.ExecID) {
	if id == "" {
		return
	}
	for _, x := range e.inside.execs.byID[id] {
		e.touch(x, true)
	}
}
