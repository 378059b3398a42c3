package correlate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

func (x *exec) derive(e *Engine, s *session.Session) bool {
	if !x.begun() && (x.created().IsZero() || !e.settled(x.created())) {
		return false // its start is still to come
	}
	*s = session.Session{
		ID: e.inside.execs.sessionID(x), ExecID: x.key.id,
		Kind: session.KindExec, Channel: event.ChannelDockerExec, State: session.StateRunning,
		Target: e.target(x.container), Started: x.asked(),
	}
	n := e.inside.entryOf(x)
	if n != nil {
		n.showTree(s, &e.coverage)
	}
	x.command(e, s)
	x.outcome(e, s, n)
	e.coverage.unsure(s, n, x.docker)
	if a := (arrival{x, n}); e.arrivals.ofPod(a) {
		if e.choices.partOfCopy(a) != nil {
			return false
		}
		e.attributeArrival(a, s)
	} else if e.doors.beside(x) {
		s.Kind, s.Channel = session.KindRuntime, event.ChannelRuntimeCtr
		if x.seenStarting() {
			e.attributeBesideExec(x, s)
		} else {
			none(s)
		}
	} else {
		e.attributeExec(x, s)
	}
	if x.decision != nil {
		s.Decision = asDecided(x.decision)
	}
	x.explain(e, s, n)
	e.coverage.stamp(s)
	s.Evidence = x.evidence(e, n)
	return true
}

// command fills in what was asked for, and when Docker was asked to create the
// exec, from the best source.
func (x *exec) command(e *Engine, s *session.Session) {
	for _, r := range e.doors.claimsOn(x) {
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
	if s.Argv == nil && x.decision != nil && x.decision.Argv != nil {
		s.Argv, s.ArgvSource = x.decision.Argv, "request"
	}
	if c := x.event(event.DockerExecCreate); c != nil {
		s.Created = &c.Time
		if s.Argv == nil && c.Command != "" {
			s.Argv, s.ArgvSource = []string{c.Command}, "event"
		}
	}
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
	if n != nil || x.ran() {
		return false
	}
	if !x.begun() || x.stopped() {
		return true
	}
	for _, r := range e.doors.claimsOn(x) {
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
	byDocker := x.docker != nil || x.inspect != nil || len(e.doors.claimsOn(x)) > 0 ||
		e.inside.seen(x.container).forgedStart(t, e.opt.Window)
	unexplained := func(format string, args ...any) {
		s.Unexplained = session.Unexplained{Is: true, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case s.Unexplained.Is:
	case !x.begun():
		unexplained("created and never started")
	case s.Kind == session.KindRuntime:
		unexplained("%s", directly(e.inside.seen(x.container)))
	case x.started != nil && n == nil && e.settled(x.started.Time) &&
		e.coverage.whole(event.WitnessKernel, "process", t, x.started.Time):
		unexplained("the runtime reported process %d, the kernel sensor saw none", x.started.PID)
	case e.inside.inPod(x.container): // Docker has no part in it
	case !byDocker && (x.added != nil || x.started != nil) && e.settled(t) && e.coverage.read(t.Add(skew)):
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
