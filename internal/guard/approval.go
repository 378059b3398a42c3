package guard

import (
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
)

// Approval is what became of a request that rules want a second person for.
type Approval struct {
	// ID names the request that the second person is asked about: that of the
	// record itself, or an earlier one whose approval covers it.
	ID    session.ID    `json:"id"`
	State ApprovalState `json:"state"`
	Asked time.Time     `json:"asked,omitzero"`
	// Until is when nobody can answer any more; once approved, when the same
	// request is no longer covered.
	Until time.Time `json:"until,omitzero"`
	// Decided is when it got its state, By who gave it; absent while nobody did.
	Decided time.Time      `json:"decided,omitzero"`
	By      *session.Actor `json:"by,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	// For is for how long it was approved, in seconds; absent when for once.
	For int64 `json:"for_seconds,omitempty"`
}

// ApprovalState says how far an approval has come.
type ApprovalState string

// The states of an approval.
const (
	// StateWaiting: whoever asked waits for the answer.
	StateWaiting ApprovalState = "waiting"
	// StateAsked: whoever asked was refused, and may come again once it is approved.
	StateAsked     ApprovalState = "asked"
	StateApproved  ApprovalState = "approved"
	StateDenied    ApprovalState = "denied"
	StateExpired   ApprovalState = "expired"   // nobody answered in time
	StateWithdrawn ApprovalState = "withdrawn" // whoever asked left
	StateEnded     ApprovalState = "ended"     // the time it was approved for is over
	StateRevoked   ApprovalState = "revoked"   // ... was cut short
	// StateRefused is an answer that does not count: By may not give it. The
	// request's own state is as before.
	StateRefused ApprovalState = "refused"
)

// Answer is what a second person says.
type Answer struct {
	// For is for how long the same request of the same hand is approved; 0 for
	// once. It is at most ForMax.
	For    time.Duration
	Reason string
}

// Bounds of approvals.
const (
	ForMax = 24 * time.Hour
	// startWithin is how long after its creation was approved an exec or a container
	// may be started by that approval.
	startWithin = 2 * time.Minute
	// askKeep is how long a request can be approved whose asker does not wait, and
	// for how long he can then come again.
	askKeep    = 15 * time.Minute
	heldMax    = 256      // requests that wait
	heldBytes  = 64 << 10 // of one, as JSON
	perHandMax = 16       // those of one hand
	grantsMax  = 1 << 10
	settledMax = 1 << 10 // of which it is known what became of them
)

// Errors of answers; what is returned wraps one of them.
var (
	ErrNotApprover = errors.New("not an approver")
	ErrSamePerson  = errors.New("a second person is needed")
	ErrUnknown     = errors.New("no such request")
	ErrAmbiguous   = errors.New("several requests")
	ErrSettled     = errors.New("settled already")
	ErrNoGrant     = errors.New("cannot be approved for a time")
)

// Approvals returns what waits for an answer and what is approved for a time, the
// oldest first.
func (g *Guard) Approvals(by Person) ([]Record, error) {
	if err := g.opt.Approvers.may(&by); err != nil {
		return nil, err
	}
	g.sweep()
	return g.desk.list(), nil
}

// Approve lets a request go on; the id may be the beginning of one.
func (g *Guard) Approve(id string, by Person, a Answer) (Record, error) {
	return g.answer(id, &by, func(now time.Time) (Record, error) { return g.desk.approve(id, &by.Actor, a, now) })
}

// Deny refuses a request, or ends the time that one was approved for.
func (g *Guard) Deny(id string, by Person, reason string) (Record, error) {
	return g.answer(id, &by, func(now time.Time) (Record, error) { return g.desk.deny(id, &by.Actor, reason, now) })
}

// answer gives an answer if somebody may, and tells of it, or of the attempt.
func (g *Guard) answer(id string, by *Person, give func(now time.Time) (Record, error)) (Record, error) {
	g.sweep()
	now := g.opt.Now()
	var r Record
	err := g.opt.Approvers.may(by)
	if err == nil {
		r, err = give(now)
	}
	if errors.Is(err, ErrNotApprover) || errors.Is(err, ErrSamePerson) {
		// An attempt to approve what one may not is for others to know.
		r, _ = g.desk.get(id)
		r.Approval = &Approval{ID: session.ID(id), State: StateRefused, Decided: now, By: &by.Actor, Reason: err.Error()}
		r.Stopped = true
		g.tell(r)
	}
	if err != nil {
		return Record{}, err
	}
	g.tell(r)
	g.arm()
	return r, nil
}
