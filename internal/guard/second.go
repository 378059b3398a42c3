package guard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
)

// second has a second person decide about a request.
func (g *Guard) second(ctx context.Context, s *session.Session, d policy.Decision, waits func(policy.Decision)) policy.Verdict {
	a, ok := g.covered(s, d.Rule)
	if ok {
		g.tell(Record{Request: *s, Decision: d, Approval: &a})
	} else if a, ok = g.ask(ctx, s, &d, waits); !ok {
		return policy.Verdict{Decision: d, Stopped: true, Approver: answerer(a)}
	}
	// The rules may be others by now.
	if again := g.judge(s); again.Effect == effect.Deny {
		return g.settle(s, again)
	}
	g.creations.approve(s, a)
	return policy.Verdict{Decision: d, Approver: answerer(a)}
}

// answerer names who answered, if somebody did.
func answerer(a Approval) string {
	if a.By == nil {
		return ""
	}
	return nameOf(a.By)
}

// covered returns the approval that covers a request of somebody who is known.
func (g *Guard) covered(s *session.Session, rule string) (Approval, bool) {
	if !seen(&s.Actor) {
		return Approval{}, false
	}
	now := g.opt.Now()
	if a, ok := g.creations.covered(s, now); ok {
		return a, true
	}
	return g.desk.covered(keyOf(s, rule), now)
}

// ask puts a request on the desk and waits for what becomes of it. Of one that does
// not go on the decision says why.
func (g *Guard) ask(ctx context.Context, s *session.Session, d *policy.Decision, waits func(policy.Decision)) (Approval, bool) {
	now := g.opt.Now()
	state, until := StateWaiting, now.Add(g.opt.Wait)
	if g.opt.Wait <= 0 {
		state, until = StateAsked, now.Add(askKeep)
	}
	h, a, err := (*held)(nil), Approval{}, g.askable(s)
	if err == nil {
		h, a, err = g.desk.ask(s, *d, state, now, until)
	}
	if err != nil {
		*d = g.settle(s, because(*d, err.Error())).Decision
		return a, false
	}
	g.tell(Record{Time: now, Request: *s, Decision: *d, Stopped: state == StateAsked, Approval: &a})
	if h != nil {
		g.desk.show(h)
		g.arm()
	}
	if state == StateAsked {
		d.Message = refusal(s, because(*d, fmt.Sprintf("ask with: sallyport approve %s, then try again", a.ID)))
		return a, false
	}
	if waits != nil {
		waits(*d)
	}
	return g.await(ctx, h, s, d)
}

// askable says why a second person cannot be asked about a request, if so.
func (g *Guard) askable(s *session.Session) error {
	switch {
	case len(g.opt.Approvers.UIDs) == 0 && len(g.opt.Approvers.GIDs) == 0:
		return errors.New("nobody can approve here")
	case !seen(&s.Actor):
		return errors.New("nobody can tell who asks, so nobody can be another")
	}
	return nil
}

// await waits for what becomes of a request on the desk.
func (g *Guard) await(ctx context.Context, h *held, s *session.Session, d *policy.Decision) (Approval, bool) {
	select {
	case <-h.done:
	case <-ctx.Done():
		if r, first := g.desk.withdraw(h, g.opt.Now()); first {
			g.tell(r)
		}
	}
	a := *h.record.Approval // done is closed
	switch a.State {
	case StateApproved:
		return a, true
	case StateDenied:
		d.Effect = effect.Deny
		d.Message = fmt.Sprintf("sallyport: denied by %s, whom rule %s asks%s (request %s)", nameOf(a.By), d.Rule, reason(a.Reason), s.ID)
	default:
		text := fmt.Sprintf("nobody answered within %s", g.opt.Wait)
		if a.Reason != "" {
			text = a.Reason
		}
		d.Message = refusal(s, because(*d, text))
	}
	return a, false
}

// because adds to a decision why nobody approved.
func because(d policy.Decision, why string) policy.Decision {
	if d.Message == d.Rule {
		d.Message = ""
	}
	if d.Message != "" {
		why = strings.TrimRight(d.Message, " .:") + ": " + why
	}
	d.Message = why
	return d
}

func reason(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// sweep ends what is over.
func (g *Guard) sweep() {
	for _, r := range g.desk.expire(g.opt.Now()) {
		g.tell(r)
	}
}

// arm sees to it that what is over next ends by itself.
func (g *Guard) arm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.alarm != nil {
		g.alarm.Stop()
	}
	if next := g.desk.next(); !next.IsZero() {
		g.alarm = time.AfterFunc(next.Sub(g.opt.Now()), func() {
			g.sweep()
			g.arm()
		})
	}
}

// Close refuses all that waits, and whatever else would, and ends what was approved
// for a time.
func (g *Guard) Close() {
	for _, r := range g.desk.close(g.opt.Now()) {
		g.tell(r)
	}
	g.arm()
}
