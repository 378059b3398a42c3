package correlate

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

func timeOf(o *event.RuntimeEvent) time.Time {
	if o == nil {
		return time.Time{}
	}
	return o.Time
}

// attributeBesideExec finds who asked containerd for x, when Docker did not.
func (e *Engine) attributeBesideExec(x *exec, s *session.Session) {
	starts, adds := e.doors.runtimeClaims(x)
	if !x.ran() && len(starts) == 0 {
		starts, adds = adds, nil
	}
	commandOf(s, append(slices.Clone(adds), starts...))
	if len(starts) > 0 {
		e.attributeAsks(s, starts)
		for _, o := range adds {
			if s.Attribution.Level == session.LevelExact && !sameHand(o.Peer, starts[0].Peer) {
				s.Attribution.Candidates = []session.Actor{s.Actor, e.actors.asker(o)}
			}
		}
		return
	}
	e.attributeBeside(s, x.asked(), func(*conn) bool { return false })
}

// commandOf takes the command from the request when nobody saw what ran.
func commandOf(s *session.Session, list []*event.RuntimeRequest) {
	for _, o := range list {
		if o.Argv == nil || s.Argv != nil && s.ArgvSource != "request" {
			continue
		}
		if s.Argv != nil && !slices.Equal(s.Argv, o.Argv) { // only one of them was done
			s.Argv, s.ArgvSource = nil, ""
			return
		}
		s.Argv, s.ArgvSource, s.TTY, s.User = o.Argv, "request", o.TTY, cmp.Or(s.User, o.User)
		if !o.Cut {
			s.Stdin = &o.Stdin
		}
	}
}

// attributeAsks names who made the requests; they name the session's ids.
func (e *Engine) attributeAsks(s *session.Session, list []*event.RuntimeRequest) {
	var actors []session.Actor
	for _, o := range list {
		actors = appendActor(actors, e.actors.asker(o))
	}
	if len(actors) > 1 {
		oneOf(s, actors, false) // only one of them was obeyed
		return
	}
	known(s, session.LevelExact, actors[0], viaRuntime)
}

// attributeBeside finds who asked containerd, when Docker did not and no request
// says it: whoever was connected and may have asked. Of a client whose requests
// were all seen, asked says whether one of them may be it.
func (e *Engine) attributeBeside(s *session.Session, t time.Time, asked func(*conn) bool) {
	daemon := e.coverage.daemonPID(event.WitnessDocker)
	clients, complete := e.actors.candidates(t, event.ServiceContainerd, func(c *conn) bool {
		return daemon != 0 && c.peer.ID.PID == daemon || e.doors.heard(c, t) && !asked(c)
	})
	oneOf(s, clients, complete && daemon != 0)
}

// attributeBesideRun finds who asked containerd for a container's start.
func (e *Engine) attributeBesideRun(r *run, s *session.Session, begins time.Time) {
	if list := e.doors.runAsks(r, begins); len(list) > 0 {
		e.attributeAsks(s, list)
		return
	}
	e.attributeBeside(s, begins, func(c *conn) bool {
		return slices.ContainsFunc(e.doors.asksFor(r.key.container), func(o *event.RuntimeRequest) bool {
			return o.ID.Conn == c.id && o.Op == event.RuntimeOpStart && (e.coverage.isKubelet(o.Peer) || !o.Certain)
		})
	})
}

func (a *account) asks(list ...*event.RuntimeRequest) {
	for _, o := range list {
		a.add(*o, string(o.Op), "connection %d, request %d, by %s", o.ID.Conn, o.ID.N, describe(o.Peer))
	}
}
