package condition

import (
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// usual reports whether a session's lists and texts are as short as nearly all
// are: then conditions that are only dear for long ones need no counting.
func (s *Scope) usual() bool {
	if s.size == 0 {
		s.size = 1
		if small(s.about) {
			s.size = 2
		}
	}
	return s.size == 2
}

// small reports whether nothing that a condition can read of a session is longer
// than the estimate of sizes takes it to be. TestSmall holds that it looks at
// every field.
func small(s *session.Session) bool {
	return shortArgv(s.Argv) && len(s.Path) <= usualCommand && len(s.Processes) <= usualList/2 &&
		short(string(s.ID), string(s.Kind), string(s.Channel), string(s.State), s.ArgvSource, s.User, s.Direction) &&
		short(string(s.AuditID), s.Verb, string(s.ExecID), s.Unexplained.Reason, string(s.Attribution.Level)) &&
		shortAll(s.Gaps) && shortAll(s.Attribution.Via) &&
		(s.Decision == nil || smallDecision(s.Decision)) && smallActor(&s.Actor) && smallTarget(&s.Target) && every(s.Attribution.Candidates, smallActor) &&
		every(s.Carried, smallCarried) && every(s.Processes, smallProcess) && every(s.Evidence, smallEvidence) &&
		(s.Settings == nil || smallSettings(s.Settings))
}

// smallActor takes an identity behind the actor's, and what else is told of it, for
// long: few have those.
func smallActor(a *session.Actor) bool {
	return len(a.Extra) == 0 && a.Impersonator == nil && shortArgv(a.Argv) && shortAll(a.Groups) && shortAll(a.Names) && shortAll(a.Doubts) &&
		short(string(a.Kind), a.User, a.LoginUser, a.Exe, a.Address, string(a.Service), a.UserAgent) &&
		short(string(a.Container), string(a.Session), a.KubeUID)
}

func smallDecision(d *session.Decision) bool {
	return short(string(d.Effect), d.Rule, d.Message, d.Approver)
}

func smallTarget(t *session.Target) bool {
	if len(t.Labels) > usualList {
		return false
	}
	for k, v := range t.Labels {
		if !short(k, v) {
			return false
		}
	}
	return short(string(t.ContainerID), t.ContainerName, t.Image, t.ImageID, t.Runtime, t.Pod, t.PodUID, t.Namespace, t.Workload, t.Node) &&
		(t.HostAccess == nil || smallAccess(t.HostAccess))
}

func smallAccess(h *event.HostAccess) bool {
	return shortAll(h.Namespaces) && shortAll(h.Capabilities) && shortAll(h.Devices) && shortAll(h.Paths)
}

func smallSettings(s *session.Settings) bool {
	return short(s.Dir, s.CgroupParent) && shortAll(s.Variables) && shortAll(s.Security) && shortAll(s.Sysctls) && shortAll(s.DeviceRules) &&
		shortAll(s.Joined)
}

func smallCarried(c *session.Carried) bool {
	return shortArgv(c.Argv) && short(string(c.Place), c.Container, c.Name)
}

func smallProcess(p *session.Process) bool {
	return shortArgv(p.Argv) && short(p.Exe, p.Filename, p.UserName, p.TTY) && len(p.Execs) <= 1 && every(p.Execs, smallProgram)
}

func smallProgram(p *session.Program) bool { return shortArgv(p.Argv) && short(p.Exe) }

func smallEvidence(e *session.Evidence) bool { return short(string(e.Witness), e.What, e.Detail) }

// every reports whether a list is short and all in it small.
func every[T any](all []T, small func(*T) bool) bool {
	if len(all) > usualList {
		return false
	}
	for i := range all {
		if !small(&all[i]) {
			return false
		}
	}
	return true
}

func short(all ...string) bool {
	for _, t := range all {
		if len(t) > usualName {
			return false
		}
	}
	return true
}

func shortAll(all []string) bool { return len(all) <= usualList && short(all...) }

func shortArgv(argv []string) bool {
	n := 0
	for _, a := range argv {
		n += len(a) + 1
	}
	return len(argv) <= usualList && n <= usualCommand
}
