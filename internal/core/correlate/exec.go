package correlate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// execKey names one exec. Docker's and CRI's ids are random and stand alone;
// ids that a person chose (ctr) are unique only within a container.
type execKey struct {
	container event.ContainerID
	id        event.ExecID
}

func newExecKey(id event.ExecID, in event.ContainerID) execKey {
	if randomID(string(id)) {
		return execKey{id: id}
	}
	return execKey{in, id}
}

// exec is one exec through a runtime: everything that carries its exec id.
type exec struct {
	st        state
	key       execKey
	container event.ContainerID
	docker    []event.DockerEvent
	inspect   *event.DockerExec // the latest that knows most
	added     *event.RuntimeEvent
	started   *event.RuntimeEvent
	exited    *event.RuntimeEvent
	task      *event.RuntimeTask // found running
	decision  *event.Decision    // of a guard at the runtime
}

func (x *exec) state() *state { return &x.st }

func (x *exec) sessionID() session.ID {
	return sessionID("exec", string(x.key.container), string(x.key.id))
}

// randomID reports whether id is of the kind that daemons draw: 64 hex digits.
func randomID(id string) bool {
	if len(id) != 64 {
		return false
	}
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// execs are the execs that are known: each is in byKey under its key, in byID under
// its exec id, and in byPID under every host pid that its root is said to have.
type execs struct {
	byKey map[execKey]*exec
	byID  map[event.ExecID][]*exec // exec ids chosen by ctr need not be unique
	byPID map[uint32][]*exec
}

func newExecs() execs {
	return execs{byKey: map[execKey]*exec{}, byID: map[event.ExecID][]*exec{}, byPID: map[uint32][]*exec{}}
}

func (xs *execs) add(key execKey, in *container) *exec {
	x := &exec{key: key, container: in.id}
	xs.byKey[key] = x
	xs.byID[key.id] = append(xs.byID[key.id], x)
	in.execs = append(in.execs, x)
	return x
}

// at notes that x's root has this host pid, and reports whether that is news.
func (xs *execs) at(pid uint32, x *exec) bool {
	if pid == 0 || slices.Contains(xs.byPID[pid], x) {
		return false
	}
	xs.byPID[pid] = append(xs.byPID[pid], x)
	return true
}

func (xs *execs) drop(x *exec) {
	delete(xs.byKey, x.key)
	unlist(xs.byID, x.key.id, x)
	for _, pid := range x.pids() {
		unlist(xs.byPID, pid, x)
	}
}

// exec returns an exec, from now on a known one.
func (e *Engine) exec(id event.ExecID, in event.ContainerID) *exec {
	key := newExecKey(id, in)
	x := e.inside.execs.byKey[key]
	if x == nil {
		x = e.inside.execs.add(key, e.container(in))
		for _, n := range e.inside.entries.byExec[id] {
			e.touch(n, true)
		}
	}
	return x
}

func (x *exec) forget(e *Engine) {
	if n := e.inside.entryOf(x); n != nil {
		n.forget(e)
	}
	e.inside.dropExec(x)
}

func unlist[K comparable, V comparable](m map[K][]V, k K, v V) {
	list := slices.DeleteFunc(m[k], func(w V) bool { return w == v })
	if len(list) == 0 {
		delete(m, k)
	} else {
		m[k] = list
	}
}

func (e *Engine) applyDockerExec(o event.DockerExec) {
	x := e.exec(o.ID, o.Container)
	if x.inspect == nil || knows(o) > knows(*x.inspect) || knows(o) == knows(*x.inspect) && o.Time.After(x.inspect.Time) {
		x.inspect = &o
	}
	e.pidOf(x, o.PID)
	e.touch(x, true)
}

func knows(o event.DockerExec) int {
	n := 0
	if o.PID != 0 {
		n += 2
	}
	if o.ExitCode != nil {
		n++
	}
	return n
}

// pidOf notes that x's root has this host pid.
func (e *Engine) pidOf(x *exec, pid uint32) {
	if e.inside.execs.at(pid, x) {
		for _, n := range e.inside.entries.byPID[pid] {
			e.touch(n, true)
		}
	}
}

func (x *exec) pids() []uint32 {
	var out []uint32
	add := func(pid uint32) {
		if pid != 0 && !slices.Contains(out, pid) {
			out = append(out, pid)
		}
	}
	if x.started != nil {
		add(x.started.PID)
	}
	if x.task != nil {
		add(x.task.PID)
	}
	if x.inspect != nil {
		add(x.inspect.PID)
	}
	return out
}

func (e *Engine) applyRuntime(o event.RuntimeEvent) {
	c := e.container(o.Container)
	c.namespace = o.Namespace
	if o.ExecID == "" {
		e.applyRunEvent(o)
		return
	}
	x := e.exec(o.ExecID, o.Container)
	switch o.Action {
	case event.RuntimeExecAdded:
		x.added = &o
	case event.RuntimeExecStarted:
		x.started = &o
		e.pidOf(x, o.PID)
	case event.RuntimeExit:
		x.exited = &o
	case event.RuntimeCreate, event.RuntimeStart, event.RuntimeDelete:
	}
	e.doors.pace.note(x)
	e.touch(x, true)
}

func (e *Engine) applyTask(o event.RuntimeTask) {
	e.container(o.Container).namespace = o.Namespace
	if o.ExecID != "" {
		x := e.exec(o.ExecID, o.Container)
		x.task = &o
		e.pidOf(x, o.PID)
		e.touch(x, true)
		return
	}
	if o.PID != 0 {
		r := e.run(newRunKey(o.Container, o.PID))
		r.task = &o
		e.touch(r, true)
	}
}

// begun reports whether the exec was started, or is said to have been.
func (x *exec) begun() bool {
	if x.added != nil || x.started != nil || x.exited != nil || x.task != nil {
		return true
	}
	if x.inspect != nil && (x.inspect.PID != 0 || x.inspect.Running || x.inspect.ExitCode != nil) {
		return true
	}
	return x.event(event.DockerExecStart) != nil || x.event(event.DockerExecDie) != nil
}

// seenStarting reports whether the start itself was observed, so that asked is
// the time of the start and not of something later.
func (x *exec) seenStarting() bool {
	return x.added != nil || x.started != nil || x.event(event.DockerExecStart) != nil ||
		!x.begun() && x.event(event.DockerExecCreate) != nil
}

func (x *exec) event(a event.DockerAction) *event.DockerEvent {
	for i := range x.docker {
		if x.docker[i].Action == a {
			return &x.docker[i]
		}
	}
	return nil
}

// created is when the exec was created, as far as known.
func (x *exec) created() time.Time {
	if c := x.event(event.DockerExecCreate); c != nil {
		return c.Time
	}
	if x.inspect != nil {
		return x.inspect.Time
	}
	if x.stopped() {
		return x.decision.Time
	}
	return time.Time{}
}

// stopped reports whether a guard at the runtime had it not begin.
func (x *exec) stopped() bool { return x.decision != nil && x.decision.Stopped }

// asked is when the exec was started, by the first that tells; the moment for
// which connections count as candidates. One that was never started was asked
// for when it was created.
func (x *exec) asked() time.Time {
	if !x.begun() {
		return x.created()
	}
	var t time.Time
	for _, o := range []*event.RuntimeEvent{x.added, x.started, x.exited} {
		if o != nil && (t.IsZero() || o.Time.Before(t)) {
			t = o.Time
		}
	}
	if s := x.event(event.DockerExecStart); s != nil && (t.IsZero() || s.Time.Before(t)) {
		t = s.Time
	}
	if t.IsZero() && x.event(event.DockerExecDie) != nil {
		t = x.event(event.DockerExecDie).Time
	}
	if t.IsZero() && x.task != nil {
		t = x.task.Time
	}
	if t.IsZero() && x.inspect != nil {
		t = x.inspect.Time
	}
	return t
}

func (x *exec) derive(e *Engine) (session.Session, bool) {
	if !x.begun() && (x.created().IsZero() || !e.settled(x.created())) {
		return session.Session{}, false // its start is still to come
	}
	s := session.Session{
		ID: x.sessionID(), ExecID: x.key.id,
		Kind: session.KindExec, Channel: event.ChannelDockerExec, State: session.StateRunning,
		Target: e.target(x.container), Started: x.asked(),
	}
	n := e.inside.entryOf(x)
	if n != nil {
		n.showTree(&s, &e.coverage)
	}
	x.command(e, &s)
	x.outcome(e, &s, n)
	e.coverage.unsure(&s, n, x.docker)
	if a := (arrival{x, n}); e.arrivals.ofPod(a) {
		if e.choices.partOfCopy(a) != nil {
			return session.Session{}, false
		}
		e.attributeArrival(a, &s)
	} else if e.doors.beside(x) {
		s.Kind, s.Channel = session.KindRuntime, event.ChannelRuntimeCtr
		if x.seenStarting() {
			e.attributeBesideExec(x, &s)
		} else {
			none(&s)
		}
	} else {
		e.attributeExec(x, &s)
	}
	if x.decision != nil {
		s.Decision = asDecided(x.decision)
	}
	x.explain(e, &s, n)
	e.coverage.stamp(&s)
	s.Evidence = x.evidence(e, n)
	return s, true
}

// command fills in what was asked for, and when Docker was asked to create the
// exec, from the best source.
func (x *exec) command(e *Engine, s *session.Session) {
	for _, r := range e.doors.claims(x.key.id) {
		if r.Op != event.OpExecCreate || !r.asked || !r.Certain {
			continue
		}
		s.Created = &r.Time
		if r.Argv != nil {
			s.Argv, s.ArgvSource = r.Argv, "request"
			s.TTY, s.Stdin, s.User, s.Privileged = r.TTY, &r.Stdin, r.User, r.Privileged
		}
	}
	if in := x.inspect; in != nil {
		s.TTY, s.User, s.Privileged = in.TTY || s.TTY, cmp.Or(s.User, in.User), in.Privileged || s.Privileged
		s.Stdin = cmp.Or(s.Stdin, in.Stdin)
		if s.Argv == nil && in.Argv != nil {
			s.Argv, s.ArgvSource = in.Argv, "inspect"
		}
	}
	if s.Privileged {
		s.Channel = event.ChannelDockerExecPriv
	}
	if s.Argv == nil {
		argvOfRoot(s)
	}
	if c := x.event(event.DockerExecCreate); c != nil {
		s.Created = &c.Time
		if s.Argv == nil && c.Command != "" {
			s.Argv, s.ArgvSource = []string{c.Command}, "event"
		}
	}
}

// runcInit is what runc runs of itself in the container before the command.
var runcInit = []string{"runc", "init"}

// argvOfRoot takes the command from the first program that the root ran.
func argvOfRoot(s *session.Session) {
	if len(s.Processes) == 0 || s.Processes[0].Forked {
		return
	}
	p := s.Processes[0]
	s.Argv, s.ArgvSource = p.Argv, "process"
	joined := p.ArgvJoined
	for _, x := range p.Execs {
		if !slices.Equal(x.Argv, runcInit) {
			s.Argv, joined = x.Argv, x.ArgvJoined
			break
		}
	}
	if joined {
		s.ArgvSource = "log"
	}
	s.TTY = s.TTY || p.TTY != ""
}

// outcome fills in how it ended, or that it never began.
func (x *exec) outcome(e *Engine, s *session.Session, n *entry) {
	conclude(s, n, x.exited, x.event(event.DockerExecDie))
	if s.State == session.StateRunning && x.failed(e, n) {
		s.State = session.StateFailed
	}
}

// failed reports whether the command never ran: the daemon said so, or nobody
// saw it start although it would have been seen.
func (x *exec) failed(e *Engine, n *entry) bool {
	if n != nil || x.started != nil || x.exited != nil || x.task != nil {
		return false
	}
	if !x.begun() || x.stopped() {
		return true
	}
	for _, r := range e.doors.claims(x.key.id) {
		if r.Op == event.OpExecStart && !r.succeeded() {
			return true
		}
	}
	if in := x.inspect; in != nil && !in.Running && in.PID == 0 && deref(in.ExitCode) != 0 {
		return true
	}
	t := x.asked()
	return x.added != nil && e.coverage.wouldTell(event.WitnessContainerd, "", t) ||
		x.event(event.DockerExecStart) != nil && e.coverage.wouldTell(event.WitnessKernel, "process", t)
}

// explain says whether the exec lacks its other half.
func (x *exec) explain(e *Engine, s *session.Session, n *entry) {
	t := x.asked()
	unexplained := func(format string, args ...any) {
		s.Unexplained = session.Unexplained{Is: true, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case s.Unexplained.Is:
	case !x.begun():
		unexplained("created and never started")
	case s.Kind == session.KindRuntime:
		unexplained("%s", directly(e.inside.container(x.container)))
	case x.started != nil && n == nil && e.settled(x.started.Time) &&
		e.coverage.whole(event.WitnessKernel, "process", t, x.started.Time):
		unexplained("the runtime reported process %d, the kernel sensor saw none", x.started.PID)
	case e.inside.inPod(x.container): // Docker has no part in it
	case x.docker == nil && x.inspect == nil && len(e.doors.claims(x.key.id)) == 0 && !e.inside.container(x.container).forgedStart(t, e.opt.Window) && (x.added != nil || x.started != nil) && e.settled(t) && e.coverage.read(t.Add(skew)):
		unexplained("no Docker event for this exec, and the Docker witness was not whole")
	case x.added == nil && x.started == nil && n == nil && s.State != session.StateFailed &&
		x.task == nil && e.coverage.wouldTell(event.WitnessContainerd, "", t):
		unexplained("Docker reported an exec, the runtime none")
	case s.Attribution.Level == session.LevelNone && s.Kind == session.KindExec && e.settled(t) && e.coverage.clientsKnown(t):
		unexplained("no client of the Docker daemon can have asked for this")
	}
}

// directly says that a runtime was used beside the service in front of it.
func directly(c *container) string {
	if c != nil && c.namespace == "k8s.io" {
		return "no request at the API server or the kubelet: the runtime was used directly"
	}
	return "no Docker request: the runtime was used directly"
}

func deref(p *int) int {
	if p == nil {
		return 0
	}
	return *p
}

// conclude fills in how a session's root ended. The kernel's word on the exit
// status stands above the runtime's, and Docker's comes last: it says 127 for
// every exec that ctr made, and labels can overwrite it.
func conclude(s *session.Session, n *entry, exited *event.RuntimeEvent, die *event.DockerEvent) {
	switch {
	case n != nil && n.ended() != nil:
		endOf(s, n.ended())
	case exited != nil:
		at := exited.ExitedAt
		if at.IsZero() {
			at = exited.Time
		}
		end(s, at, deref(exited.ExitCode))
	case n != nil && !n.reported(): // the root still runs, whatever Docker says
	case die != nil && die.ExitCode != nil && !slices.Contains(die.Forged, "exitCode"):
		end(s, die.Time, *die.ExitCode)
	case die != nil:
		s.State, s.Ended = session.StateEnded, &die.Time
	}
}

func endOf(s *session.Session, x *event.ProcessExit) {
	at := x.Time
	s.State, s.Ended, s.ExitCode = session.StateEnded, &at, codeOf(x)
}

func end(s *session.Session, at time.Time, code int) {
	s.State, s.Ended, s.ExitCode = session.StateEnded, &at, &code
}
