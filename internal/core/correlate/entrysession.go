package correlate

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// derive makes a session of an entry that no service request accounts for: it
// went in beside every service door, or through a runtime by hand.
func (n *entry) derive(e *Engine, s *session.Session) bool {
	if n.fact == nil || e.inside.execOf(n) != nil || e.inside.runOf(n) != nil || e.preparesCopy(n) != nil {
		return false
	}
	where := n.where
	if where == "" && n.fact.Cause == event.EntryStart && n.runtimeParent() >= 0 {
		where = event.ContainerID(n.fact.Cgroup) // a runtime by hand, with a name of its own
	}
	if where == "" && !n.reported() {
		return false // namespaces of its own, but no container: unshare, a systemd unit
	}
	*s = session.Session{
		ID: e.actors.entryID(n), Kind: session.KindEnter, Channel: event.ChannelHostNsenter,
		State: session.StateRunning, Started: n.born(), Target: e.target(where),
	}
	n.showTree(s, &e.coverage)
	argvOfRoot(s)
	if x := n.ended(); x != nil {
		endOf(s, x)
	}
	e.coverage.unsure(s, n, nil)
	n.classify(e, s)
	e.coverage.stamp(s)
	s.Evidence = n.evidence(e)
	return true
}

// preparesCopy returns the command that n, of which no runtime told, is a preparation of.
func (e *Engine) preparesCopy(n *entry) *arrival {
	if a := (arrival{nil, n}); e.arrivals.ofPod(a) {
		return e.choices.partOfCopy(a)
	}
	return nil
}

// classify says by which way the entry came, from what the kernel saw: cause,
// cgroup and lineage.
func (n *entry) classify(e *Engine, s *session.Session) {
	runtime := n.runtimeParent()
	byShim := e.inside.byShim(n)
	reason := beside
	switch {
	case n.fact.Cause == event.EntryFound:
		s.Kind, s.Channel = session.KindExec, event.ChannelUnknown
		if len(s.Processes) > 0 && s.Processes[0].NSPID == 1 {
			s.Kind = session.KindStart
		}
		s.Gaps = append(s.Gaps, gapFoundEntry)
		s.Attribution.Level = session.LevelNone
		s.Actor.Kind = session.ActorNone
		return
	case e.arrivals.ofPod(arrival{nil, n}):
		e.attributeArrival(arrival{nil, n}, s)
		return
	case n.reported():
		n.classifyReported(e, s, runtime, byShim)
		return
	case byShim:
		s.Kind, s.Channel = session.KindExec, event.ChannelUnknown
		if n.fact.Cause == event.EntryStart {
			s.Kind = session.KindStart
		}
		s.Attribution.Level, s.Actor.Kind = session.LevelNone, session.ActorNone
		s.Unexplained = session.Unexplained{Is: e.settled(n.born()), Reason: byRuntime}
		if !s.Unexplained.Is {
			s.Unexplained.Reason = ""
		}
		return
	case runtime >= 0:
		s.Kind, s.Channel = session.KindRuntime, event.ChannelRuntimeRunc
		reason = byHand
	case n.fact.Cause == event.EntryForeignExe:
		s.Channel = event.ChannelHostChroot
	case n.fact.InCgroup:
		s.Channel = event.ChannelHostCgroup
	}
	s.Unexplained = session.Unexplained{Is: true, Reason: reason}
	e.attributeLineage(n, runtime, s)
}

// runtimeParent returns the position in the lineage of the outermost process of
// an OCI runtime that made this entry, or -1.
func (n *entry) runtimeParent() int {
	last := -1
	for i, a := range n.fact.Lineage {
		if !isRuntime(a) {
			break
		}
		last = i
	}
	return last
}

var runtimes = []string{"runc", "crun", "youki", "runsc"}

// isRuntime goes by the executable's name where it is known: the process name
// of runc's stages is their own ("runc:[1:CHILD]").
func isRuntime(a event.Ancestor) bool {
	return slices.Contains(runtimes, base(string(a.Exe))) ||
		slices.ContainsFunc(runtimes, func(r string) bool { return strings.HasPrefix(string(a.Comm), r) })
}

// isCRIO reports whether a is CRI-O, or is called that.
func isCRIO(a event.Ancestor) bool { return base(string(a.Exe)) == "crio" || a.Comm == "crio" }

// isConmon reports whether a is what CRI-O and Podman have.
func isConmon(a event.Ancestor) bool { return base(string(a.Exe)) == "conmon" || a.Comm == "conmon" }

// isShim reports whether a is what a service has start processes in containers:
// a shim of containerd, conmon, or on Windows the container's own agent.
func isShim(a event.Ancestor) bool {
	name := base(string(a.Exe))
	return strings.HasPrefix(name, "containerd-shim") || strings.HasPrefix(string(a.Comm), "containerd-shim") ||
		isConmon(a) || strings.EqualFold(string(a.Comm), "CExecSvc.exe")
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// Why an entry is unexplained.
const (
	beside    = "entered beside every service door"
	byHand    = "the runtime was called by hand, beside every service door"
	byRuntime = "a runtime started it and no service reported it"
)

const (
	gapFound      = "was running when watching began; what it did before is not known"
	gapFoundEntry = "was running when watching began; how it came in is not known"
)

// showTree fills in the process tree and what follows from it.
func (n *entry) showTree(s *session.Session, c *coverage) {
	s.Processes, s.ProcessesTotal = n.tree(), n.total
	if born := n.born(); !born.IsZero() && n.fact != nil && n.fact.Cause != event.EntryFound {
		s.Started = born
	}
	if n.fact != nil && n.fact.Cause == event.EntryFound {
		s.Gaps = append(s.Gaps, gapFound)
	}
	if n.reported() {
		s.Gaps = append(s.Gaps, c.lacks(n))
	}
	if n.total > len(s.Processes) {
		s.Gaps = append(s.Gaps, "more processes ran than are listed here")
	}
	if shellOnly(s.Processes) {
		s.Gaps = append(s.Gaps, "only a shell ran: its builtins start no process and are not seen")
	}
}

var shells = []string{"sh", "bash", "ash", "dash", "zsh", "ksh", "fish"}

func shellOnly(ps []session.Process) bool {
	ran := false
	for _, p := range ps {
		if p.Forked {
			continue
		}
		name := base(p.Exe)
		if len(p.Argv) > 0 && !p.ArgvJoined && !slices.Contains(shells, name) {
			name = strings.TrimPrefix(base(p.Argv[0]), "-") // busybox: the applet is argv[0]
		}
		if !slices.Contains(shells, name) {
			return false
		}
		ran = true
	}
	return ran
}
