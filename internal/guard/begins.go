package guard

import (
	"context"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/policy/key"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/bounded"
)

// Begins decides about a command that a runtime is to begin in a container. What was
// let through in front of the daemon, as the start of an exec or of a container, goes
// on, once; anything else came by another way and is judged as what it is.
func (g *Guard) Begins(ctx context.Context, request *session.Session) policy.Verdict {
	if g.passes.take(request, g.opt.Now()) {
		return policy.Verdict{Decision: policy.Decision{Effect: effect.Allow}, Elsewhere: true}
	}
	s := *request
	return g.decide(ctx, &s, nil)
}

// passes are the starts that were let through in front of the daemon and did not come
// to the runtime yet.
type passes struct {
	mu         sync.Mutex
	execs      *bounded.Table[event.ExecID, pass]           // guarded by mu
	containers *bounded.Table[event.ContainerID, time.Time] // guarded by mu; until when
}

type pass struct {
	container event.ContainerID
	argv      string // key.ArgvHash; "" where the whole is not known
	until     time.Time
}

func newPasses() passes {
	return passes{
		execs:      bounded.NewTable[event.ExecID](execsMax, func(pass) {}),
		containers: bounded.NewTable[event.ContainerID](execsMax, func(time.Time) {}),
	}
}

// add notes that a request goes on, if it starts something.
func (p *passes) add(s *session.Session, now time.Time) {
	id := s.Target.ContainerID
	if id == "" || s.ExecID == "" && s.Kind != session.KindStart {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	until := now.Add(startWithin)
	if s.ExecID == "" {
		p.containers.Forget(id)
		p.containers.Add(id, until)
		return
	}
	p.execs.Forget(s.ExecID)
	p.execs.Add(s.ExecID, pass{id, key.ArgvHash(s), until})
}

// take reports whether what begins was let through, which holds for one time. Of a
// container its id tells: the daemon draws it, and makes the command line longer, for
// example by an init of its own.
func (p *passes) take(s *session.Session, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.ExecID == "" {
		until, ok := p.containers.Get(s.Target.ContainerID)
		if !ok || s.Channel != event.ChannelDockerStart {
			return false
		}
		p.containers.Forget(s.Target.ContainerID)
		return now.Before(until)
	}
	one, ok := p.execs.Get(s.ExecID)
	if !ok || one.container != s.Target.ContainerID || one.argv != "" && one.argv != key.ArgvHash(s) {
		return false
	}
	p.execs.Forget(s.ExecID)
	return now.Before(one.until)
}
