package correlate

import (
	"slices"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// verdicts are what guards at the runtime decided about containers that were to
// begin, by the container and in order of time; total of them.
type verdicts struct {
	byContainer map[event.ContainerID][]*verdict
	total       int
}

// Bounds of verdicts. Those that are lost annotate nothing; what was stopped is a
// session all the same.
const (
	verdictsMax = 1 << 12
	verdictWait = time.Minute // from a verdict to the container's first process
)

// verdict is one of them: a session of which nothing ran, if it stopped the container.
type verdict struct {
	st state
	event.Decision
}

func newVerdicts() verdicts { return verdicts{byContainer: map[event.ContainerID][]*verdict{}} }

func (vs *verdicts) add(o event.Decision) *verdict {
	v := &verdict{Decision: o}
	list := vs.byContainer[o.Container]
	at, _ := slices.BinarySearchFunc(list, o.Time, func(v *verdict, t time.Time) int { return v.Time.Compare(t) })
	vs.byContainer[o.Container] = slices.Insert(list, at, v)
	vs.total++
	return v
}

func (vs *verdicts) drop(v *verdict) {
	unlist(vs.byContainer, v.Container, v)
	vs.total--
}

// sweep forgets those from before old that stopped nothing: the others are sessions,
// and go with them.
func (vs *verdicts) sweep(old time.Time) {
	for _, list := range vs.byContainer {
		for _, v := range slices.Clone(list) {
			if !v.Stopped && v.Time.Before(old) {
				vs.drop(v)
			}
		}
	}
}

// verdictOn returns what was decided about a run: the last word on its container
// before it began, unless another run began after that.
func (d *doors) verdictOn(r *run, begins time.Time) *event.Decision {
	var last *verdict
	for _, v := range d.verdicts.byContainer[r.key.container] {
		if !v.Stopped && !v.Time.After(begins.Add(skew)) && begins.Sub(v.Time) < verdictWait {
			last = v
		}
	}
	if last == nil || slices.ContainsFunc(d.inside.runsIn(r.key.container), func(o *run) bool {
		b := d.inside.begins(o)
		return o != r && o.key.pid != 0 && b.After(last.Time) && b.Before(begins)
	}) {
		return nil
	}
	return &last.Decision
}

func (e *Engine) applyVerdict(o event.Decision) {
	if e.doors.verdicts.total >= verdictsMax {
		e.doors.verdicts.sweep(e.now.Add(-verdictWait))
	}
	if e.doors.verdicts.total >= verdictsMax && !o.Stopped {
		return
	}
	v := e.doors.verdicts.add(o)
	if o.Stopped {
		e.touch(v, true)
		return
	}
	e.touchContainer(o.Container)
}

func (v *verdict) state() *state { return &v.st }

func (v *verdict) key() string {
	return string(v.Container) + " " + strconv.FormatInt(v.Time.UnixNano(), 10)
}

func (v *verdict) forget(e *Engine) { e.doors.verdicts.drop(v) }

func (v *verdict) derive(e *Engine, s *session.Session) bool {
	*s = session.Session{
		ID:   sessionID("stopped", string(e.site.boot), v.key()),
		Kind: session.Kind(v.Kind), Channel: v.Channel, State: session.StateFailed, Started: v.Time, Ended: &v.Time,
		Target: e.target(v.Container), Argv: v.Argv, ArgvSource: "request", Decision: asDecided(&v.Decision),
	}
	none(s) // a runtime is not told who asked
	e.coverage.stamp(s)
	var a account
	a.decision(&v.Decision)
	s.Evidence = a.sorted()
	return true
}

func (a *account) decision(d *event.Decision) {
	a.add(*d, string(d.Effect), "at the runtime, before it began")
}
