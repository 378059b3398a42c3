package truth

import (
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// ticksPerSecond is the unit of start times in /proc (USER_HZ, 100 on every
// Linux architecture Go runs on): the harness knows start times this exactly.
const ticksPerSecond = 100

// TruncateStart brings a start time in nanoseconds to the precision of /proc.
func TruncateStart(ns uint64) uint64 {
	const tick = 1e9 / ticksPerSecond
	return ns / tick * tick
}

// index finds the sessions of deeds.
type index struct {
	process map[event.ProcessID][]*session.Session
	exec    map[event.ExecID][]*session.Session
	exit    map[exitKey][]*session.Session
	audit   map[event.AuditID][]*session.Session
	path    map[string][]*session.Session
	name    map[string][]*session.Session // of the container
	user    map[string][]*session.Session
}

type exitKey struct {
	container event.ContainerID
	code      int
}

func newIndex(sessions []session.Session) index {
	x := index{
		process: make(map[event.ProcessID][]*session.Session),
		exec:    make(map[event.ExecID][]*session.Session),
		exit:    make(map[exitKey][]*session.Session),
		audit:   make(map[event.AuditID][]*session.Session),
		path:    make(map[string][]*session.Session),
		name:    make(map[string][]*session.Session),
		user:    make(map[string][]*session.Session),
	}
	for i := range sessions {
		s := &sessions[i]
		for _, p := range s.Processes {
			id := event.ProcessID{PID: p.ID.PID, Start: TruncateStart(p.ID.Start)}
			x.process[id] = append(x.process[id], s)
		}
		list(x.exec, s.ExecID, s)
		if s.ExitCode != nil {
			k := exitKey{s.Target.ContainerID, *s.ExitCode}
			x.exit[k] = append(x.exit[k], s)
		}
		list(x.audit, s.AuditID, s)
		list(x.path, s.Path, s)
		list(x.name, s.Target.ContainerName, s)
		list(x.user, s.Actor.User, s)
	}
	return x
}

func list[K ~string](by map[K][]*session.Session, key K, s *session.Session) {
	if key != "" {
		by[key] = append(by[key], s)
	}
}

func (x index) find(d *Deed) []*session.Session {
	switch {
	case !d.Process.IsZero():
		return x.process[d.Process]
	case d.ExecID != "":
		return x.exec[d.ExecID]
	case d.AuditID != "":
		return x.audit[d.AuditID]
	case d.Path != "":
		return x.path[d.Path]
	case d.Name != "":
		return x.name[d.Name]
	case d.User != "":
		return x.user[d.User]
	default:
		return x.exit[exitKey{d.Container, d.ExitCode}]
	}
}
