package correlate

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// orphanWait is how long an adopted session may stay without any fact before
// it counts as ended: the witnesses need time to find what still runs.
const orphanWait = 30 * time.Second

// Adopt takes over, at time now, a session that was running when an earlier
// engine stopped, or had just ended. What that engine knew of it and this one
// cannot find out again (who asked, with what command) stays; a session of
// which nothing turns up any more ended while nobody watched, and is published
// as such.
func (e *Engine) Adopt(s session.Session, now time.Time) {
	e.advance(now)
	o := e.adopted.add(s, e.now)
	wait := orphanWait
	if !s.State.Open() {
		wait = max(e.opt.Keep, e.opt.Late)
	}
	e.agenda.schedule(o, e.now.Add(wait))
}

// AdoptWatched is Adopt for an engine whose witnesses went on watching while
// there was no engine: nothing is over because it does not turn up. now is
// their time.
func (e *Engine) AdoptWatched(s session.Session, now time.Time) {
	e.advance(now)
	o := e.adopted.add(s, e.now)
	if !s.State.Open() {
		e.agenda.schedule(o, e.now.Add(max(e.opt.Keep, e.opt.Late)))
	}
}

// endOrphan notes the end of the root of an adopted session.
func (e *Engine) endOrphan(x event.ProcessExit) {
	if o := e.adopted.byRoot[x.ID]; o != nil && o.exit == nil && o.old.State == session.StateRunning {
		o.exit = &x
		e.agenda.schedule(o, e.now.Add(e.opt.Window)) // whoever accounts for it comes first
	}
}

// seekOrphans gives the sessions that a node's earlier witnesses left running a
// time to turn up again: the witnesses were started anew and find what runs.
func (e *Engine) seekOrphans() {
	for _, o := range e.adopted.byID {
		if o.st.queued == 0 && !o.found && o.old.State.Open() {
			e.agenda.schedule(o, e.now.Add(orphanWait))
		}
	}
}

// adopted are the sessions that an earlier engine left behind, each under its id
// and, as long as it is there, under the root of its process tree.
type adopted struct {
	byID   map[session.ID]*orphan
	byRoot map[event.ProcessID]*orphan
}

func newAdopted() adopted {
	return adopted{byID: map[session.ID]*orphan{}, byRoot: map[event.ProcessID]*orphan{}}
}

// add makes an orphan of s.
func (a *adopted) add(s session.Session, now time.Time) *orphan {
	o := &orphan{old: s, st: state{firstSeen: now, lastSeen: now}}
	a.byID[s.ID] = o
	if len(s.Processes) > 0 {
		a.byRoot[s.Processes[0].ID] = o
	}
	return o
}

// drop forgets an adopted session that is over.
func (a *adopted) drop(id session.ID) {
	o := a.byID[id]
	if o == nil {
		return
	}
	delete(a.byID, id)
	if len(o.old.Processes) > 0 {
		delete(a.byRoot, o.old.Processes[0].ID)
	}
}

// orphan is an adopted session until a subject of this engine derives it.
type orphan struct {
	st    state
	old   session.Session
	found bool
	exit  *event.ProcessExit // of its root, when no other fact about it came
}

func (o *orphan) state() *state { return &o.st }

func (o *orphan) derive(_ *Engine, s *session.Session) bool {
	if o.found || !o.old.State.Open() {
		return false
	}
	*s = o.old
	if o.exit != nil {
		endOf(s, o.exit)
		s.Gaps = union(s.Gaps, []string{gapInterrupted})
		return true
	}
	if s.State == session.StateWaiting {
		s.State, s.Gaps = session.StateUnknown, union(s.Gaps, []string{gapHeld})
		return true
	}
	s.State = session.StateEnded
	s.Gaps = union(s.Gaps, []string{"ended while nobody watched"})
	return true
}

func (o *orphan) forget(e *Engine) {
	if !o.found {
		e.adopted.drop(o.old.ID)
	}
}

// complete adds to s what an earlier engine knew of it.
func (a *adopted) complete(s *session.Session) {
	o := a.byID[s.ID]
	if o == nil {
		return
	}
	o.found = true
	old := o.old
	if rank(old.Attribution.Level) < rank(s.Attribution.Level) {
		s.Attribution, s.Actor, s.Unexplained = old.Attribution, old.Actor, old.Unexplained
		s.Kind, s.Channel = old.Kind, old.Channel
	}
	if s.Channel == event.ChannelUnknown {
		s.Kind, s.Channel, s.Unexplained = old.Kind, old.Channel, old.Unexplained
	}
	if slices.Index(argvSources, old.ArgvSource) < slices.Index(argvSources, s.ArgvSource) {
		s.Argv, s.ArgvSource = old.Argv, old.ArgvSource
	}
	if old.Started.Before(s.Started) {
		s.Started = old.Started
	}
	s.TTY, s.Privileged, s.User = s.TTY || old.TTY, s.Privileged || old.Privileged, cmp.Or(s.User, old.User)
	s.Created = cmp.Or(s.Created, old.Created)
	s.Stdin, s.Target.HostAccess = cmp.Or(s.Stdin, old.Stdin), cmp.Or(s.Target.HostAccess, old.Target.HostAccess)
	s.LostRecords = max(s.LostRecords, old.LostRecords)
	s.Gaps = union(slices.DeleteFunc(slices.Clone(s.Gaps), func(g string) bool { return g == gapFound || g == gapFoundEntry }), old.Gaps, []string{gapInterrupted})
	if old.Ended != nil && s.Ended == nil {
		s.State, s.Ended, s.ExitCode = old.State, old.Ended, old.ExitCode
	}
	inheritTree(s, old)
	s.Evidence = account(merge(old.Evidence, s.Evidence)).sorted()
}

const gapInterrupted = "the watch was interrupted while it ran"

// argvSources ranks where a command is known from, best first.
var argvSources = []string{"request", "inspect", "process", "event", ""}

func rank(l session.Level) int {
	return slices.Index([]session.Level{session.LevelExact, session.LevelStrong, session.LevelSet, session.LevelNone}, l)
}

// inheritTree adds the processes that the earlier engine saw and this one did
// not: they ended in between, or before.
func inheritTree(s *session.Session, old session.Session) {
	byID := map[event.ProcessID]session.Process{}
	for _, p := range slices.Concat(s.Processes, old.Processes) { // the old engine saw more of a process's beginning
		if now, ok := byID[p.ID]; ok && p.ExitCode == nil {
			p.End, p.ExitCode, p.Signal = now.End, now.ExitCode, now.Signal
		}
		byID[p.ID] = p
	}
	var root event.ProcessID
	if len(s.Processes) > 0 {
		root = s.Processes[0].ID
	} else if len(old.Processes) > 0 {
		root = old.Processes[0].ID
	}
	s.Processes = slices.SortedFunc(maps.Values(byID), func(a, b session.Process) int { return rootFirst(root, a.ID, b.ID) })
	s.Processes = s.Processes[:min(len(s.Processes), session.MaxProcesses)]
	s.ProcessesTotal = max(s.ProcessesTotal, old.ProcessesTotal, len(s.Processes))
}

func merge(a, b []session.Evidence) []session.Evidence {
	out := slices.Clone(a)
	for _, ev := range b {
		if !slices.Contains(out, ev) {
			out = append(out, ev)
		}
	}
	return out
}

func union(lists ...[]string) []string {
	out := slices.Concat(lists...)
	slices.Sort(out)
	return slices.Compact(out)
}
