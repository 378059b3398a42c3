// Package usage compares what is granted with what was done: which of the grants by
// which commands get into containers were used, how often, by whom; and what would
// have been enough.
//
// A session uses the grants that would have let its actor make that very request:
// all of them, for nobody can tell which one the API server found first. One that
// alone would have done is needed. Only a known actor (exact, strong) makes a grant
// used; of a set of candidates each may have been it. A grant is called unused for
// as long as the witness watched that would have seen it used, and never beyond.
// The package is pure.
package usage

import (
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Window is the time that is looked at: From <= t < To.
type Window struct{ From, To time.Time }

// Tally counts sessions by the grants that they use. It keeps no session: its memory
// is bounded by the inventory and by the bounds of this package. It is not safe for
// concurrent use.
type Tally struct {
	window  Window
	watched *Witnesses
	cluster *cluster // nil: there is none
	hosts   []*host
	totals  Totals
	started recent
}

// Totals counts what grants do not tell.
type Totals struct {
	// Sessions is how many were looked at: those that somebody asked for in the time.
	Sessions int `json:"sessions"`
	// Unnamed counts, by door, those with nobody to name, or not only people who
	// can be named: a grant that seems unused may be theirs.
	Unnamed map[Door]int `json:"unnamed,omitempty"`
	// Failed counts requests to the API server that were refused or failed.
	Failed int `json:"failed,omitempty"`
	// Beyond counts those that nothing in the inventory allows: another authorizer
	// did, or it was taken away since; BeyondBy are some who did it.
	Beyond   int              `json:"beyond,omitempty"`
	BeyondBy []exposure.Actor `json:"beyond_by,omitempty"`
	// Masters counts those of members of system:masters, whom no role is asked for.
	Masters int `json:"masters,omitempty"`
	// Groupless counts those of users whose groups no witness told.
	Groupless int `json:"groupless,omitempty"`
	// Elsewhere counts sessions of hosts that are not in the inventory.
	Elsewhere int `json:"elsewhere,omitempty"`
}

// Door is the service at which a command is asked for: the beginning of its channel.
type Door string

// The doors.
const (
	DoorKubernetes Door = "kubernetes"
	DoorDocker     Door = "docker"
	DoorRuntime    Door = "runtime"
	DoorHost       Door = "host" // none: the kernel alone
)

var doors = map[string]Door{"K8": DoorKubernetes, "KL": DoorKubernetes, "DK": DoorDocker, "RT": DoorRuntime, "HO": DoorHost}

// witnesses are those who would see a door used.
var witnesses = map[Door]event.Witness{
	DoorKubernetes: event.WitnessAudit, DoorDocker: event.WitnessDocker, DoorRuntime: event.WitnessContainerd, DoorHost: event.WitnessKernel,
}

func doorOf(s *session.Session) Door {
	prefix, _, _ := strings.Cut(string(s.Channel), "-")
	switch d, ok := doors[prefix]; {
	case ok:
		return d
	case s.Target.Namespace != "":
		return DoorKubernetes
	}
	return DoorRuntime
}

// beyondMax bounds Totals.BeyondBy.
const beyondMax = 8

// New prepares to count the sessions of a time against an inventory, which must not
// change after. The analysis is of its cluster, nil where it has none. w must know by
// then of everything that the witnesses said.
func New(i *inventory.Inventory, a *exposure.Analysis, w *Witnesses, window Window) *Tally {
	t := &Tally{window: window, watched: w, totals: Totals{Unnamed: map[Door]int{}}, started: newRecent()}
	if a != nil {
		t.cluster = newCluster(i.Cluster, a)
	}
	for n := range i.Hosts {
		t.hosts = append(t.hosts, newHost(&i.Hosts[n], w.node(i.Hosts[n].Name)))
	}
	return t
}

// Add counts a session, in its last state.
func (t *Tally) Add(s *session.Session) {
	at := asked(s)
	if s.SupersededBy != "" || !deliberate(s) || at.Before(t.window.From) || !at.Before(t.window.To) || t.repeats(s, at) {
		return
	}
	t.totals.Sessions++
	if s.Actor.Kind == session.ActorKubernetes && s.State == session.StateFailed && s.ExecID == "" {
		t.totals.Failed++ // with an exec id the API server let it pass, and the command failed
		return
	}
	unnamed := false
	switch s.Attribution.Level {
	case session.LevelExact, session.LevelStrong:
		t.use(s, &s.Actor, at, true)
		for n := range s.Attribution.Candidates { // two hands, both of which are known
			if c := &s.Attribution.Candidates[n]; c.Process != s.Actor.Process {
				t.use(s, c, at, true)
			}
		}
		unnamed = s.Actor.Kind == session.ActorNone && s.Actor.Address == "" && s.Actor.Service == ""
	case session.LevelSet:
		for n := range s.Attribution.Candidates {
			c := &s.Attribution.Candidates[n]
			t.use(s, c, at, false)
			unnamed = unnamed || c.Kind == session.ActorNone && c.Service == ""
		}
	case session.LevelNone:
		unnamed = true
	}
	if unnamed {
		t.totals.Unnamed[doorOf(s)]++
	}
}

// deliberate reports whether somebody asked for a session when it began: daemons run
// some by themselves, and of what ran before anybody watched nobody knows.
func deliberate(s *session.Session) bool {
	switch s.Kind {
	case session.KindHealthcheck, session.KindProbe, session.KindHook, session.KindIdentity, session.KindDoor:
		return false
	case session.KindStart:
		return s.Attribution.Level != session.LevelNone || s.Unexplained.Is
	case session.KindExec, session.KindAttach, session.KindEnter, session.KindRuntime, session.KindCopy, session.KindDebug,
		session.KindForward, session.KindProxy, session.KindChange:
	}
	return s.Attribution.Level == session.LevelSet || s.Actor.Service == ""
}

// asked is when a session was asked for: of a container that starts, when its pod was
// made, which may be long before.
func asked(s *session.Session) time.Time {
	if s.Kind != session.KindStart && s.Kind != session.KindDebug {
		return s.Started
	}
	at := s.Started
	for _, e := range s.Evidence {
		if (e.Witness == event.WitnessAudit || e.Witness == event.WitnessAdmission) && e.Time.Before(at) {
			at = e.Time
		}
	}
	return at
}

// repeats reports whether a session is another container of a request that was
// counted already.
func (t *Tally) repeats(s *session.Session, at time.Time) bool {
	if s.Kind != session.KindStart || s.Target.Pod == "" || s.Actor.Kind != session.ActorKubernetes {
		return false
	}
	return t.started.had(start{s.Actor.User, s.Target.Namespace, s.Target.Pod, at.UnixNano()})
}

// start is a request that made a pod.
type start struct {
	user, namespace, pod string
	at                   int64
}

// recent remembers some of the last starts.
type recent struct{ now, before map[start]bool }

// recentMax is how many starts are remembered at least.
const recentMax = 1 << 14

func newRecent() recent { return recent{map[start]bool{}, map[start]bool{}} }

// had reports whether s was there before, and remembers it.
func (r *recent) had(s start) bool {
	if r.now[s] || r.before[s] {
		return true
	}
	if len(r.now) >= recentMax {
		r.now, r.before = map[start]bool{}, r.now
	}
	r.now[s] = true
	return false
}

// use counts what one actor of a session used, or perhaps used.
func (t *Tally) use(s *session.Session, a *session.Actor, at time.Time, sure bool) {
	u := use{session: s, n: t.totals.Sessions, actor: a, at: at, sure: sure}
	switch {
	case a.Kind == session.ActorKubernetes:
		if t.cluster != nil {
			t.cluster.use(&u, &t.totals)
		}
	case a.Service != "" || a.Kind == session.ActorNone && a.Address == "":
	default:
		t.onHost(&u)
	}
}

// use is a session as one actor's doing.
type use struct {
	session *session.Session
	n       int // of the session
	actor   *session.Actor
	at      time.Time
	sure    bool
}

// beyond counts a session that nothing in the inventory allows.
func (t *Totals) beyond(who exposure.Actor) {
	t.Beyond++
	for _, b := range t.BeyondBy {
		if b == who {
			return
		}
	}
	if len(t.BeyondBy) < beyondMax {
		t.BeyondBy = append(t.BeyondBy, who)
	}
}
