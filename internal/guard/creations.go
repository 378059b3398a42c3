package guard

import (
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/key"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/bounded"
)

// Bounds of what is remembered of what was created.
const (
	execsMax = 1 << 12
	execKeep = 24 * time.Hour
	argvKeep = 16 << 10 // bytes; of longer ones the daemon is asked again
)

// creations remembers who created which exec, and with what request; and of execs
// and containers, by which approval.
type creations struct {
	mu         sync.Mutex
	execs      *bounded.Table[event.ExecID, created]      // guarded by mu
	containers *bounded.Table[event.ContainerID, created] // guarded by mu; those that were approved
	approved   *bounded.Table[session.ID, Approval]       // guarded by mu; requests that go on
}

// created is the request that made an exec or a container.
type created struct {
	request session.Session
	argv    string // key.ArgvHash of the request
	at      time.Time
	by      *Approval // nil when none was needed
}

func newCreations() creations {
	return creations{
		execs:      bounded.NewTable[event.ExecID](execsMax, func(created) {}),
		containers: bounded.NewTable[event.ContainerID](execsMax, func(created) {}),
		approved:   bounded.NewTable[session.ID](execsMax, func(Approval) {}),
	}
}

// approve notes that a request goes on that was approved.
func (c *creations) approve(request *session.Session, by Approval) {
	if request.ExecID != "" || request.Kind == session.KindStart && request.Target.ContainerID != "" {
		return // it creates nothing
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.approved.Forget(request.ID)
	c.approved.Add(request.ID, by)
}

// add notes what a request created.
func (c *creations) add(request *session.Session, id string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	made := created{request: *request, argv: key.ArgvHash(request), at: at}
	if by, ok := c.approved.Get(request.ID); ok {
		made.by = &by
		c.approved.Forget(request.ID)
	}
	made.request.Target.Labels = nil
	n := 0
	for _, a := range made.request.Argv {
		n += len(a) + 1
	}
	if n > argvKeep {
		made.request.Argv = nil
	}
	switch {
	case request.Kind == session.KindExec:
		c.execs.Forget(event.ExecID(id))
		c.execs.Add(event.ExecID(id), made)
	case made.by != nil:
		c.containers.Forget(event.ContainerID(id))
		c.containers.Add(event.ContainerID(id), made)
	}
}

// join makes of a request to start an exec the whole: what was asked for when it
// was created, and by whom it is started. Of one that another hand created, or that
// was not created here, the channel says so. Nameless has nobody be the same as
// nobody.
func (c *creations) join(s *session.Session, nameless bool) {
	made, known := c.exec(s.ExecID)
	if !known || s.Started.Sub(made.at) > execKeep || made.request.Target.ContainerID != s.Target.ContainerID {
		s.Channel = event.ChannelDockerExecSplit
		return
	}
	at := made.at
	s.Created = &at
	s.Carried, s.Settings = made.request.Carried, made.request.Settings
	if made.request.Argv != nil {
		s.Argv, s.ArgvSource = made.request.Argv, made.request.ArgvSource
	}
	nobody := nameless && made.request.Actor.Kind == session.ActorNone && s.Actor.Kind == session.ActorNone
	if !nobody && !sameHand(&made.request.Actor, &s.Actor) {
		s.Channel = event.ChannelDockerExecSplit
		s.Attribution.Candidates = []session.Actor{s.Actor, made.request.Actor}
	}
}

func (c *creations) exec(id event.ExecID) (created, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.execs.Get(id)
}

// covered returns the approval by which was created what a request starts: an exec,
// or a container that never ran. What is started, and by whom, must be what was
// approved, and soon: while a request waits, an image, a volume or a link that it
// names may become another.
func (c *creations) covered(s *session.Session, now time.Time) (Approval, bool) {
	c.mu.Lock()
	var made created
	var ok bool
	if s.ExecID != "" {
		made, ok = c.execs.Get(s.ExecID)
	} else if s.Kind == session.KindStart && s.Target.ContainerID != "" {
		made, ok = c.containers.Get(s.Target.ContainerID)
		ok = ok && made.request.Target.ImageID == s.Target.ImageID && within(s.Target.HostAccess, made.request.Target.HostAccess) &&
			s.Settings.Within(made.request.Settings)
	}
	c.mu.Unlock()
	if !ok || made.by == nil || made.request.Channel != s.Channel || !sameHand(&made.request.Actor, &s.Actor) ||
		made.argv == "" || made.argv != key.ArgvHash(s) {
		return Approval{}, false
	}
	return *made.by, now.Before(made.at.Add(startWithin))
}

// within reports whether what a container is given of the host is no more than was
// asked for.
func within(given, asked *event.HostAccess) bool {
	switch {
	case given.Plain() && (given == nil || !given.Partial):
		return true
	case asked == nil || given.Partial || given.Privileged && !asked.Privileged:
		return false
	}
	for _, list := range [][2][]string{
		{given.Namespaces, asked.Namespaces}, {given.Capabilities, asked.Capabilities}, {given.Devices, asked.Devices}, {given.Paths, asked.Paths},
	} {
		for _, one := range list[0] {
			if !slices.Contains(list[1], one) {
				return false
			}
		}
	}
	return true
}

// sameHand reports whether two actors are one identity at one place; nobody is
// the same as nobody.
func sameHand(a, b *session.Actor) bool { return hand(a) != "" && hand(a) == hand(b) }

func equal(a, b *uint32) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
