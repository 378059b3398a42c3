package correlate

import (
	"reflect"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// The keys of Attribution.Via.
const (
	viaStart      = "docker-request:start"  // the client's start request names the exec id
	viaCreate     = "docker-request:create" // the daemon answered the client's create with the exec id
	viaRequest    = "docker-request"        // the client's request names the container
	viaRuntime    = "containerd-request"    // the client's request names the exec or the container
	viaConnection = "open-connection"       // the only connection that was open
	viaOpen       = "open-connections"      // all connections that were open
	viaSpec       = "container-spec"        // the daemon runs it by itself
	viaLineage    = "lineage"               // the kernel saw the process's own parents
)

func none(s *session.Session) {
	s.Attribution = session.Attribution{Level: session.LevelNone}
	s.Actor = session.Actor{Kind: session.ActorNone}
}

func known(s *session.Session, level session.Level, a session.Actor, via ...string) {
	s.Attribution = session.Attribution{Level: level, Via: via}
	s.Actor = a
}

// oneOf attributes s to a set of candidates: strong when it has one member and
// is known to be complete.
func oneOf(s *session.Session, candidates []session.Actor, complete bool) {
	switch {
	case len(candidates) == 0:
		none(s)
	case len(candidates) == 1 && complete:
		known(s, session.LevelStrong, candidates[0], viaConnection)
	default:
		none(s)
		s.Attribution = session.Attribution{Level: session.LevelSet, Via: []string{viaOpen}, Candidates: candidates}
	}
}

// attributeExec finds who asked Docker for x.
func (e *Engine) attributeExec(x *exec, s *session.Session) {
	starters, creators := e.doors.claimants(x)
	s.Decision = decisionOf(slices.Concat(creators, starters)...)
	if !x.seenStarting() && !slices.ContainsFunc(e.doors.claimsOn(x), func(r *request) bool { return !r.nameless() }) {
		none(s) // found running: who asked, asked before we looked
		return
	}
	told := len(starters) > 0 // also by who does not know whose it is
	starters, hidden := e.coverage.ownWord(starters)
	creators, unborn := e.coverage.ownWord(creators)
	switch {
	case hidden || unborn && !x.begun():
		none(s)
		s.Gaps = append(s.Gaps, gapGuard)
	case len(starters) == 1:
		e.exactExec(s, starters[0], creators)
	case len(starters) > 1:
		// Only one of them can have started it; the others' bytes lie.
		oneOf(s, e.actors.ofAll(starters), false)
	case !x.begun() && len(creators) == 1:
		known(s, session.LevelExact, e.actors.of(creators[0]), viaCreate)
	case !told && e.inside.isHealthcheck(x):
		e.attributeHealthcheck(x, s)
	default:
		clients, complete := e.actors.candidates(x.asked(), event.ServiceDocker, func(c *conn) bool { return e.doors.silent(c, x) })
		if len(creators) > 0 && !complete { // whoever made it may have started it, as may somebody who was not seen
			for _, c := range creators {
				clients = appendActor(clients, e.actors.of(c))
			}
			clients = append(clients, session.Actor{Kind: session.ActorNone})
		}
		oneOf(s, clients, complete)
	}
}

// exactExec names the starter. When somebody else created the exec, both doors
// were used by different hands (channel DK-EXEC-SPLIT).
func (e *Engine) exactExec(s *session.Session, start *request, creators []*request) {
	known(s, session.LevelExact, e.actors.of(start), viaStart)
	for _, c := range creators {
		s.Attribution.Via = append(s.Attribution.Via, viaCreate)
		if !sameHand(c.Peer, start.Peer) {
			s.Channel = event.ChannelDockerExecSplit
			s.Attribution.Candidates = []session.Actor{e.actors.of(start), e.actors.of(c)}
		}
	}
}

// sameHand reports whether two peers are one identity at one place: a client
// may well use several processes.
func sameHand(a, b event.Peer) bool {
	if a.Certificate != nil || b.Certificate != nil {
		return reflect.DeepEqual(a.Certificate, b.Certificate)
	}
	if a.HasCred() != b.HasCred() {
		return false
	}
	if !a.HasCred() {
		return hostOf(a.Address) == hostOf(b.Address)
	}
	return a.Cred.UID == b.Cred.UID && equal(a.Cred.LoginUID, b.Cred.LoginUID) && a.Container == b.Container
}

func equal(a, b *uint32) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func hostOf(addr string) string {
	for i := len(addr) - 1; i >= 0; i-- {
		if addr[i] == ':' {
			return addr[:i]
		}
	}
	return addr
}

// attributeHealthcheck decides whether the daemon ran x by itself: only if no
// client can have asked. A client that could have makes it a set; a health
// check is no disguise.
func (e *Engine) attributeHealthcheck(x *exec, s *session.Session) {
	t := x.asked()
	clients, _ := e.actors.candidates(t, event.ServiceDocker, func(c *conn) bool { return e.doors.silent(c, x) })
	switch {
	case len(clients) == 0 && e.coverage.clientsKnown(t):
		s.Kind, s.Channel = session.KindHealthcheck, event.ChannelDockerHealth
		known(s, session.LevelStrong, dockerItself, viaSpec)
	default:
		oneOf(s, daemonOr(clients), false)
	}
}

var dockerItself = session.Actor{Kind: session.ActorNone, Service: event.ServiceDocker}

// daemonOr lists the daemon itself and the clients that are known; without any,
// somebody whom nobody saw, or not yet.
func daemonOr(clients []session.Actor) []session.Actor {
	if len(clients) == 0 {
		clients = []session.Actor{{Kind: session.ActorNone}}
	}
	return append([]session.Actor{dockerItself}, clients...)
}

// attributeRun finds who started a container.
func (e *Engine) attributeRun(r *run, n *entry, s *session.Session) {
	begins := s.Started
	c := e.inside.seen(r.key.container)
	first := e.inside.first(r, begins)
	switch {
	case first:
		s.Channel = event.ChannelDockerRun
	case n != nil && n.reported() && r.reported().IsZero():
		s.Channel = event.ChannelUnknown // a log tells of a process, and nobody of who runs the container
	}
	if c.pod != nil {
		s.Kind, s.Channel = podKind(c.pod), podChannel(c.pod)
	}
	if n != nil && n.fact != nil && n.fact.Cause == event.EntryFound || r.task != nil && r.started == nil || e.coverage.before(begins) {
		none(s) // who asked, asked before we looked
		return
	}
	if c.pod != nil {
		e.attributePodRun(r, s)
		return
	}
	if c.namespace != "" && c.namespace != "moby" || !e.inside.dockerKnows(r) {
		s.Kind, s.Channel = session.KindRuntime, event.ChannelRuntimeRun
		if n != nil && n.fact != nil && r.reported().IsZero() {
			n.classify(e, s)
			return
		}
		e.attributeBesideRun(r, s, begins)
		if c.namespace == "moby" || c.namespace == "" || c.namespace == "k8s.io" {
			s.Unexplained = session.Unexplained{Is: true, Reason: "no Docker request: the runtime was used directly"}
		}
		return
	}
	e.attributeDockerRun(r, first, s)
}

// attributeDockerRun finds who asked Docker for a container's start.
func (e *Engine) attributeDockerRun(r *run, first bool, s *session.Session) {
	begins := s.Started
	asked := e.doors.starters(r, begins)
	s.Decision = decisionOf(asked...)
	asked, hidden := e.coverage.ownWord(asked)
	switch {
	case hidden:
		none(s)
		s.Gaps = append(s.Gaps, gapGuard)
	case len(asked) == 1:
		e.attributeStarter(s, asked[0], begins)
	case len(asked) > 1:
		oneOf(s, e.actors.ofAll(asked), false)
	case !first && e.inside.seen(r.key.container).restarts():
		e.attributeRestart(s, begins)
	default:
		clients, complete := e.actors.candidates(begins, event.ServiceDocker, func(k *conn) bool { return e.doors.silentRun(k, begins) })
		oneOf(s, clients, complete)
		if len(clients) == 0 && complete && e.settled(begins) {
			s.Unexplained = session.Unexplained{Is: true, Reason: "no client of the Docker daemon can have asked for this"}
		}
	}
}

// attributeStarter names the client of the one request that can have started a
// container. Of two at the same time only the answers tell which one did.
func (e *Engine) attributeStarter(s *session.Session, r *request, begins time.Time) {
	unsaid := r.answer == nil && (!e.coverage.read(begins.Add(skew)) || e.coverage.lost(event.WitnessKernel, "requests", r.Time.Add(-skew), begins.Add(e.opt.Window)) > 0)
	if unsaid { // the lost answer may have been a refusal
		clients, _ := e.actors.candidates(begins, event.ServiceDocker, func(k *conn) bool { return k.id == r.ID.Conn || e.doors.silentRun(k, begins) })
		clients = appendActor(append([]session.Actor{e.actors.of(r)}, clients...), session.Actor{Kind: session.ActorNone})
		oneOf(s, clients, false)
		return
	}
	known(s, session.LevelExact, e.actors.of(r), viaRequest)
}

// attributeRestart decides whether the daemon started a container again by
// itself.
func (e *Engine) attributeRestart(s *session.Session, t time.Time) {
	clients, _ := e.actors.candidates(t, event.ServiceDocker, func(c *conn) bool { return e.doors.heard(c, t) })
	if len(clients) == 0 && e.coverage.clientsKnown(t) {
		known(s, session.LevelStrong, dockerItself, viaSpec)
		return
	}
	oneOf(s, daemonOr(clients), false)
}

// attributeStream finds who attached or copied.
func (e *Engine) attributeStream(s *stream, out *session.Session) {
	if s.req != nil {
		out.Decision = decisionOf(s.req)
		if q := e.doors.twin(s.req); q != nil {
			out.Decision = decisionOf(q)
		}
		if e.coverage.passedOn(s.req) {
			none(out)
			out.Gaps = append(out.Gaps, gapGuard)
			return
		}
		known(out, session.LevelExact, e.actors.of(s.req), viaRequest)
		return
	}
	t := s.time()
	clients, complete := e.actors.candidates(t, event.ServiceDocker, func(c *conn) bool { return e.doors.heard(c, t) })
	oneOf(out, clients, complete)
}

// attributeLineage names the process that went in by itself: the kernel saw it,
// so it is exact. What it names is the host login, not a service's user.
func (e *Engine) attributeLineage(n *entry, runtime int, s *session.Session) {
	a := session.Actor{Kind: session.ActorUnix}
	by := event.Ancestor{ID: n.root, Cred: n.fact.Cred}
	switch {
	case runtime >= 0:
		by = n.fact.Lineage[runtime]
	case !n.fact.AtExec && len(n.fact.Lineage) > 0:
		by = n.fact.Lineage[0]
	default:
		if p := n.procs[n.root]; p != nil && len(p.execs) > 0 {
			by.Exe, by.Argv = p.execs[0].Exe.Path, p.execs[0].Argv
		}
	}
	a.User, a.LoginUID = by.Cred.User, by.Cred.LoginUID
	if uid := by.Cred.UID; !by.Cred.NoUID {
		a.UID, a.User = &uid, e.site.users[uid]
	}
	a.LoginUser = e.site.loginName(by.Cred.LoginUID, a.User)
	a.PID, a.Process, a.Exe = by.ID.PID, by.ID, string(by.Exe)
	if !by.Argv.Joined {
		a.Argv = by.Argv.Args
	}
	known(s, session.LevelExact, a, viaLineage)
}
