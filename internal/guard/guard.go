// Package guard decides about requests before they are carried out: by rules, by
// who owns an exec, and by what nobody can look into.
//
// A request is allowed when the rules allow it and three things hold that no rule
// has to say: what cannot be looked into (a build, files, a plugin, a route that
// nobody knows) is allowed only by a rule that names its channel; an exec is
// started only by who created it, unless a rule names DK-EXEC-SPLIT; and
// what only reads is allowed unless a rule says otherwise, whatever the default.
//
// What rules want a second person for waits until one of Approvers answers, who
// must be another person than the one who asked.
package guard

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Options are those of a Guard. Rules is required.
type Options struct {
	Rules *policy.Set
	// Enforce has it stop what is not allowed. Without, everything goes on, and is
	// told of as if it had not.
	Enforce bool
	// Nameless says that whoever asks cannot be told where this guard stands: then an
	// exec that nobody in particular created here may be started by nobody in
	// particular. Without, such a one is another's.
	Nameless bool
	// Approvers may answer for requests that rules want a second person for; nobody
	// may when it is the zero value, and such requests are refused.
	Approvers Approvers
	// Wait is how long those wait for an answer. 0 refuses them at once; once they
	// are approved, whoever asked may come again.
	Wait time.Duration
	// Tell is told of every decision but those about what only reads and is
	// allowed, and of everything that becomes of an approval; nil when nobody asks. It
	// is called from many goroutines.
	Tell func(Record)
	// Now is the clock; nil for the machine's.
	Now func() time.Time
}

// Record is what was decided about one request.
type Record struct {
	Time    time.Time       `json:"time"`
	Request session.Session `json:"request"`
	// Decision is what the rules say.
	Decision policy.Decision `json:"decision"`
	// Stopped says that the request was not carried out. One that the rules do not
	// allow, that nobody approved and that went on all the same was only observed.
	Stopped bool `json:"stopped"`
	// Approval says what became of a request that the rules want a second person for.
	Approval *Approval `json:"approval,omitempty"`
	// Misread says why nobody could tell what the request is.
	Misread string `json:"misread,omitempty"`
}

// Guard decides. It is safe for concurrent use.
type Guard struct {
	opt       Options
	rules     atomic.Pointer[policy.Set]
	creations creations
	passes    passes
	desk      *desk

	mu    sync.Mutex
	alarm *time.Timer // guarded by mu; for what is over next on the desk
}

// New returns a guard with rules.
func New(opt Options) *Guard {
	if opt.Now == nil {
		opt.Now = func() time.Time { return time.Now().UTC() }
	}
	g := &Guard{opt: opt, creations: newCreations(), passes: newPasses(), desk: newDesk()}
	g.rules.Store(opt.Rules)
	return g
}

// Use changes the rules, for every request that has not been decided about yet.
func (g *Guard) Use(s *policy.Set) { g.rules.Store(s) }

// named are the channels of what cannot be looked into, or what takes another's
// place: only a rule that asks for the channel allows it.
var named = map[event.Channel]string{
	event.ChannelUnknown:         "nobody knows what this request does",
	event.ChannelDockerAttachWS:  "attach by WebSocket",
	event.ChannelDockerArchive:   "copying files into or out of a container",
	event.ChannelDockerBuild:     "a build, whose commands cannot be seen,",
	event.ChannelDockerCommit:    "making an image of a container",
	event.ChannelDockerPlugin:    "changing plugins",
	event.ChannelDockerSwarm:     "changing the swarm",
	event.ChannelDockerCkpt:      "starting from a checkpoint",
	event.ChannelPodmanAPI:       "starting a pod, or what stands in a file,",
	event.ChannelDockerExecSplit: "starting an exec that somebody else created",
	event.ChannelRuntimeCtr:      "a command that came beside the guard, by containerd,",
	event.ChannelRuntimeRun:      "a container that was made beside the guard, by containerd,",
	event.ChannelRuntimeRunc:     "a command that came beside the guard, by the runtime itself,",
	event.ChannelRuntimeCRI:      "a command of Kubernetes' runtime interface",
}

// Decide says whether a request may go on. What wants a second person waits for
// one; waits, unless it is nil, is told of that first.
func (g *Guard) Decide(ctx context.Context, request *session.Session, waits func(policy.Decision)) policy.Verdict {
	s := *request
	if s.ExecID != "" {
		g.creations.join(&s, g.opt.Nameless)
	}
	v := g.decide(ctx, &s, waits)
	if !v.Stopped {
		g.passes.add(&s, g.opt.Now())
	}
	return v
}

func (g *Guard) decide(ctx context.Context, s *session.Session, waits func(policy.Decision)) policy.Verdict {
	d := g.judge(s)
	if d.Effect == effect.Approve && g.opt.Enforce {
		return g.second(ctx, s, d, waits)
	}
	return g.settle(s, d)
}

// settle tells of what the rules decided, and returns it as it is carried out.
func (g *Guard) settle(s *session.Session, d policy.Decision) policy.Verdict {
	allowed := d.Effect == effect.Allow
	if !allowed {
		d.Message = refusal(s, d)
	}
	stopped := !allowed && g.opt.Enforce
	if s.Channel != event.ChannelDockerRead || !allowed || d.Rule != "" {
		g.tell(Record{Request: *s, Decision: d, Stopped: stopped})
	}
	return policy.Verdict{Decision: d, Stopped: stopped}
}

// judge asks the rules, and adds what holds without them.
func (g *Guard) judge(s *session.Session) policy.Decision {
	d := g.rules.Load().Decide(s)
	what, opaque := named[s.Channel]
	switch {
	case d.Effect != effect.Deny && opaque && !d.Named:
		d.Effect, d.Rule = effect.Deny, ""
		d.Message = fmt.Sprintf("%s is allowed only by a rule that asks for session.channel == %q", what, s.Channel)
		if s.Channel == event.ChannelUnknown {
			d.Message = fmt.Sprintf("%s (%s %s): it is allowed only by a rule that asks for session.channel == %q", what, s.Verb, s.Path, s.Channel)
		}
	case d.Effect == effect.Deny && d.Rule == "" && s.Channel == event.ChannelDockerRead:
		d.Effect = effect.Allow
	}
	return d
}

// refusal says why, in one line, for whoever asked.
func refusal(s *session.Session, d policy.Decision) string {
	by := "by rule " + d.Rule
	switch {
	case d.Rule == "" && d.Message != "":
		by = "here"
	case d.Rule == "":
		by = "by default"
	}
	verb := "denied"
	if d.Effect == effect.Approve {
		verb = "not approved"
	}
	text := fmt.Sprintf("sallyport: %s %s", verb, by)
	if d.Message != "" && d.Message != d.Rule {
		text += ": " + d.Message
	}
	return text + fmt.Sprintf(" (request %s)", s.ID)
}

// Misread is told of a request that has no reading, or several, and says whether
// it is refused: always, but for one that is only observed.
func (g *Guard) Misread(request *session.Session, reason error) bool {
	g.tell(Record{
		Request: *request, Stopped: g.opt.Enforce, Misread: reason.Error(),
		Decision: policy.Decision{Effect: effect.Deny, Message: "it may have several readings, or none"},
	})
	return g.opt.Enforce
}

// Created is told which exec or container a request made.
func (g *Guard) Created(request *session.Session, id string) {
	g.creations.add(request, id, g.opt.Now())
}

func (g *Guard) tell(r Record) {
	if g.opt.Tell == nil {
		return
	}
	if r.Time.IsZero() {
		r.Time = g.opt.Now()
	}
	g.opt.Tell(r)
}
