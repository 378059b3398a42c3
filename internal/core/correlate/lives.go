package correlate

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// An exec id is free again when its exec is deleted, and a client of containerd
// may choose any, one that Docker drew included. Several execs of one id are told
// apart by the pids that containerd tells, and by time: it makes no second one
// before the first is over.

// livesMax bounds the execs of one id, from the latest back, that a fact is sorted
// in among.
const livesMax = 16

// life is what is known of one exec, as far as an id and a time lead to it.
type life struct {
	docker   []event.DockerEvent
	added    *event.RuntimeEvent
	started  *event.RuntimeEvent
	exited   *event.RuntimeEvent
	task     *event.RuntimeTask // found running
	decision *event.Decision    // of a guard at the runtime
}

// pid is the host pid of the root by the runtime, 0 when it told none.
func (l *life) pid() uint32 {
	for _, o := range []*event.RuntimeEvent{l.started, l.exited} {
		if o != nil && o.PID != 0 {
			return o.PID
		}
	}
	if l.task != nil {
		return l.task.PID
	}
	return 0
}

func (l *life) facts() []event.Observation {
	var out []event.Observation
	for _, o := range []*event.RuntimeEvent{l.added, l.started, l.exited} {
		if o != nil {
			out = append(out, *o)
		}
	}
	if l.task != nil {
		out = append(out, *l.task)
	}
	if l.decision != nil {
		out = append(out, *l.decision)
	}
	for _, o := range l.docker {
		out = append(out, o)
	}
	return out
}

// begins is the first that is known of it at a runtime, else at all.
func (l *life) begins() time.Time {
	for _, o := range []*event.RuntimeEvent{l.added, l.started, l.exited} {
		if o != nil {
			return o.Time
		}
	}
	if list := l.facts(); len(list) > 0 {
		return list[0].Head().Time
	}
	return time.Time{}
}

// latest is the last that is known of its beginning.
func (l *life) latest() time.Time {
	return slices.MaxFunc([]time.Time{timeOf(l.added), timeOf(l.started)}, time.Time.Compare)
}

// conflicts reports whether o cannot be about the same exec as l.
func (l *life) conflicts(o event.Observation) bool {
	other := func(pid uint32) bool { return pid != 0 && l.pid() != 0 && pid != l.pid() }
	switch o := o.(type) {
	case event.RuntimeEvent:
		return other(o.PID) || o.Action == event.RuntimeExecAdded && l.added != nil && !l.added.Time.Equal(o.Time)
	case event.RuntimeTask:
		return other(o.PID)
	case event.DockerEvent: // Docker tells of a start before it asks containerd for it
		return o.Action == event.DockerExecStart && l.started != nil && o.Time.After(l.started.Time.Add(skew))
	}
	return false
}

// livesOf sorts the facts about one exec id by the execs that they are about.
func livesOf(facts []event.Observation) []life {
	slices.SortStableFunc(facts, func(a, b event.Observation) int {
		return cmp.Or(a.Head().Time.Compare(b.Head().Time), cmp.Compare(turn(a), turn(b)))
	})
	var out []life
	fresh := func() *life { out = append(out, life{}); return &out[len(out)-1] }
	current := func() *life {
		if len(out) == 0 {
			return fresh()
		}
		return &out[len(out)-1]
	}
	ofPID := func(pid uint32) *life {
		for i := len(out) - 1; i >= 0; i-- {
			if pid != 0 && out[i].pid() == pid {
				return &out[i]
			}
		}
		if l := current(); l.pid() == 0 {
			return l
		}
		return fresh()
	}
	for _, o := range facts {
		switch o := o.(type) {
		case event.RuntimeEvent:
			switch l := current(); o.Action {
			case event.RuntimeExecAdded:
				if l.added != nil || l.pid() != 0 {
					l = fresh()
				}
				l.added = &o
			case event.RuntimeExecStarted:
				ofPID(o.PID).started = &o
			case event.RuntimeExit:
				ofPID(o.PID).exited = &o
			case event.RuntimeCreate, event.RuntimeStart, event.RuntimeDelete:
			}
		case event.RuntimeTask:
			ofPID(o.PID).task = &o
		case event.Decision:
			current().decision = &o
		case event.DockerEvent:
			l := current()
			if o.Action == event.DockerExecStart && l.pid() != 0 {
				made := takeCreate(out)
				l = fresh()
				l.docker = made
			}
			l.docker = append(l.docker, o)
		}
	}
	return out
}

// turn orders facts of one moment.
func turn(o event.Observation) int {
	if r, ok := o.(event.RuntimeEvent); ok && r.Action == event.RuntimeExit {
		return 1
	}
	return 0
}

// takeCreate takes Docker's word of an exec's creation from a life that Docker did
// not start: somebody else used the id in between.
func takeCreate(lives []life) []event.DockerEvent {
	for i := range lives {
		l := &lives[i]
		if !slices.ContainsFunc(l.docker, func(o event.DockerEvent) bool { return o.Action == event.DockerExecStart }) {
			made := slices.DeleteFunc(slices.Clone(l.docker), func(o event.DockerEvent) bool { return o.Action != event.DockerExecCreate })
			if len(made) > 0 {
				l.docker = slices.DeleteFunc(l.docker, func(o event.DockerEvent) bool { return o.Action == event.DockerExecCreate })
				return made
			}
		}
	}
	return nil
}

// lives lists the execs of an id in a container, in no order of time.
func (xs *execs) lives(id event.ExecID, in event.ContainerID) []*exec {
	all := xs.byID[id]
	if len(all) == 1 && sameContainer(all[0].container, in) {
		return all[:1:1] // as nearly all are
	}
	var out []*exec
	for _, x := range all {
		if sameContainer(x.container, in) {
			out = append(out, x)
		}
	}
	return out[max(0, len(out)-livesMax):]
}

// sameContainer reports whether two ids, of which either may be the beginning of
// one, can be one container's.
func sameContainer(a, b event.ContainerID) bool {
	return a == b || randomID(string(a)) != randomID(string(b)) && (strings.HasPrefix(string(a), string(b)) || strings.HasPrefix(string(b), string(a)))
}

// before returns the exec of x's id and container that came before it, nil
// when x is the first.
func (xs *execs) before(x *exec) (was *exec) {
	for _, o := range xs.lives(x.key.id, x.container) {
		if o != x && o.begins().Before(x.begins()) && (was == nil || was.begins().Before(o.begins())) {
			was = o
		}
	}
	return was
}

// since is from when on x's id can have been asked for on its behalf; zero when
// x is the first of that id.
func (xs *execs) since(x *exec) time.Time {
	if was := xs.before(x); was != nil {
		return was.latest()
	}
	return time.Time{}
}

// byDocker reports whether Docker told that it was asked for x. It tells of the end
// of whatever has an exec id.
func (x *exec) byDocker() bool {
	return x.event(event.DockerExecCreate) != nil || x.event(event.DockerExecStart) != nil || x.inspect != nil
}

// sessionID returns the id of the session that x is. Ids that a client
// chose are used again: then the pid says which exec is meant.
func (xs *execs) sessionID(x *exec) session.ID {
	plain := []string{"exec", string(x.key.container), string(x.key.id)}
	switch {
	case randomID(string(x.key.id)) && xs.principal(x):
		return sessionID(plain...)
	case x.pid() != 0:
		return sessionID(append(plain, strconv.FormatUint(uint64(x.pid()), 10))...)
	case x.added != nil:
		return sessionID(append(plain, "added", strconv.FormatInt(x.added.Time.UnixNano(), 10))...)
	}
	return sessionID(plain...)
}

// principal reports whether x is the exec for which its random id was drawn, as
// far as known: Docker's own, or the first.
func (xs *execs) principal(x *exec) bool {
	for _, o := range xs.byID[x.key.id] {
		if o != x && (o.byDocker() && !x.byDocker() || o.byDocker() == x.byDocker() && o.begins().Before(x.begins())) {
			return false
		}
	}
	return true
}

// exec returns the exec that o is about, from now on a known one.
func (e *Engine) exec(id event.ExecID, in event.ContainerID, o event.Observation) *exec {
	list := e.inside.execs.lives(id, in)
	switch {
	case len(list) == 0:
		return e.newExec(id, in)
	case len(list) == 1 && !list[0].conflicts(o):
		return list[0]
	}
	if in, ok := o.(event.DockerExec); ok {
		return inspected(list, in.PID)
	}
	return e.relive(id, in, list, o)
}

// inspected returns the exec of which Docker's inspection tells: Docker's own.
func inspected(list []*exec, pid uint32) *exec {
	for _, x := range list {
		if pid != 0 && x.pid() == pid {
			return x
		}
	}
	for _, x := range list {
		if x.byDocker() {
			return x
		}
	}
	return list[0]
}

// relive sorts all that is known of the execs of one id anew, o among it, and
// returns the one that o is about.
func (e *Engine) relive(id event.ExecID, in event.ContainerID, list []*exec, o event.Observation) *exec {
	facts := []event.Observation{o}
	var seen []*event.DockerExec
	for _, x := range list {
		if x.inspect != nil {
			seen, x.inspect = append(seen, x.inspect), nil
		}
		for _, f := range x.facts() {
			if !isFact(f, o) {
				facts = append(facts, f)
			}
		}
		x.life = life{}
	}
	var about *exec
	free := slices.Clone(list)
	for _, l := range livesOf(facts) {
		x := e.bodyFor(l, free)
		if x == nil {
			x = e.newExec(id, in)
			list = append(list, x)
		}
		free = without(free, x)
		x.life = l
		e.pidOf(x, l.pid())
		if slices.ContainsFunc(l.facts(), func(f event.Observation) bool { return isFact(f, o) }) {
			about = x
			x.docker = slices.DeleteFunc(x.docker, func(f event.DockerEvent) bool { return isFact(f, o) }) // whoever asks adds it
		}
	}
	for _, in := range seen {
		inspected(list, in.PID).inspect = in
	}
	e.rename(list)
	return cmp.Or(about, list[0])
}

// bodyFor returns the one of the free execs that l was known as so far.
func (e *Engine) bodyFor(l life, free []*exec) *exec {
	for _, x := range free {
		if l.pid() != 0 && slices.Contains(x.pids, l.pid()) {
			return x
		}
	}
	for _, x := range free {
		if len(x.pids) == 0 {
			return x
		}
	}
	return nil
}

// rename gives each exec the session that was published under its id, and has
// all of them looked at again.
func (e *Engine) rename(list []*exec) {
	published := map[session.ID]*session.Session{}
	for _, x := range list {
		if p := x.st.published; p != nil && p.SupersededBy == "" {
			published[p.ID] = p
			x.st.published = nil
		}
	}
	for _, x := range list {
		if p := published[e.inside.execs.sessionID(x)]; p != nil {
			x.st.published = p
			delete(published, p.ID)
		}
	}
	for _, x := range list {
		for id, p := range published {
			if x.st.published == nil {
				x.st.published = p
				delete(published, id)
			}
		}
		e.touch(x, true)
	}
}

func isFact(a, b event.Observation) bool {
	switch a := a.(type) {
	case event.RuntimeEvent:
		b, ok := b.(event.RuntimeEvent)
		return ok && a.Action == b.Action && a.Time.Equal(b.Time) && a.PID == b.PID
	case event.DockerEvent:
		b, ok := b.(event.DockerEvent)
		return ok && a.Action == b.Action && a.Time.Equal(b.Time)
	case event.RuntimeTask:
		b, ok := b.(event.RuntimeTask)
		return ok && a.PID == b.PID
	case event.Decision:
		_, ok := b.(event.Decision)
		return ok
	}
	return false
}

func (e *Engine) newExec(id event.ExecID, in event.ContainerID) *exec {
	x := e.inside.execs.add(newExecKey(id, in), e.container(in))
	for _, n := range e.inside.entries.byExec[id] {
		e.touch(n, true)
	}
	return x
}

// claimsOn lists the requests to Docker that create or start x: of those that
// name its id, the ones from between the exec before it and itself.
func (d *doors) claimsOn(x *exec) []*request {
	all := d.claims(x.key.id)
	from, began := d.inside.execs.since(x), timeOf(cmp.Or(x.started, x.added))
	starts := func(r *request) bool { return r.Op == event.OpExecStart && between(r.Time, from, began) }
	if !slices.ContainsFunc(all, func(r *request) bool { return r.Op == event.OpExecStart && !starts(r) }) && len(d.inside.execs.byID[x.key.id]) < 2 {
		return all
	}
	own := x.byDocker() || slices.ContainsFunc(all, starts) &&
		!slices.ContainsFunc(d.inside.execs.byID[x.key.id], (*exec).byDocker)
	return slices.DeleteFunc(slices.Clone(all), func(r *request) bool {
		return !own || r.Op == event.OpExecStart && !starts(r)
	})
}
