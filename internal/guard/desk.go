package guard

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
)

// desk is where requests wait for a second person, and where it is kept what was
// approved for a time. It has no clock: the time comes in. A request leaves it
// exactly once, by whoever is first.
type desk struct {
	mu      sync.Mutex
	closed  bool                 // guarded by mu
	held    map[session.ID]*held // guarded by mu
	grants  map[string]*grant    // guarded by mu; by key
	settled []*Approval          // guarded by mu; what became of those that left, the latest last
}

// held is a request that waits.
type held struct {
	record Record // not changed after done is closed
	key    string // "" when the same request could not be told from others
	shown  bool   // guarded by the desk's mu: it may be answered
	done   chan struct{}
}

// grant is an approval that covers the same request for a time.
type grant struct {
	record Record
	once   bool // it covers one request
}

var (
	errFull   = errors.New("too many requests wait already")
	errLong   = errors.New("it is longer than a person could look at")
	errPart   = errors.New("not all of its command is known, so nobody could tell it from another")
	errClosed = errors.New("sallyport stops")
)

func newDesk() *desk {
	return &desk{held: map[session.ID]*held{}, grants: map[string]*grant{}}
}

// ask puts a request on the desk: one that waits, or one that may come again. It
// cannot be answered before show. Of one that may come again and is there already
// it returns nothing but what is known of that.
func (d *desk) ask(s *session.Session, decision policy.Decision, state ApprovalState, now, until time.Time) (*held, Approval, error) {
	if text, err := s.AppendJSON(nil); err != nil || len(text) > heldBytes {
		return nil, Approval{}, cmp.Or(err, errLong)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := &held{key: keyOf(s, decision.Rule), done: make(chan struct{})}
	a := Approval{ID: s.ID, State: state, Asked: now, Until: until}
	h.record = Record{Time: now, Request: *s, Decision: decision, Stopped: state == StateAsked, Approval: &a}
	mine, by := 0, hand(&s.Actor)
	for _, other := range d.held {
		if state == StateAsked && h.key != "" && other.key == h.key && other.record.Approval.State == StateAsked {
			return nil, *other.record.Approval, nil
		}
		if hand(&other.record.Request.Actor) == by {
			mine++
		}
	}
	switch {
	case d.closed:
		return nil, a, errClosed
	case len(d.held) >= heldMax || mine >= perHandMax:
		return nil, a, errFull
	case state == StateAsked && h.key == "":
		return nil, a, errPart
	}
	d.held[s.ID] = h
	return h, a, nil
}

// show lets a request be answered.
func (d *desk) show(h *held) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h.shown = true
}

// covered returns the approval that covers a request.
func (d *desk) covered(key string, now time.Time) (Approval, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g, ok := d.grants[key]
	if key == "" || !ok || !now.Before(g.record.Approval.Until) {
		return Approval{}, false
	}
	if g.once {
		delete(d.grants, key)
	}
	return *g.record.Approval, true
}

// approve says yes to a request that waits.
func (d *desk) approve(id string, by *session.Actor, a Answer, now time.Time) (Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.find(id)
	if err != nil {
		return Record{}, err
	}
	asked := h.record.Approval
	once := asked.State == StateAsked && a.For == 0
	switch {
	case samePerson(&h.record.Request.Actor, by):
		return Record{}, fmt.Errorf("%w: %s asked for it, and cannot be told from %s", ErrSamePerson, nameOf(&h.record.Request.Actor), nameOf(by))
	case a.For < 0 || a.For > ForMax:
		return Record{}, fmt.Errorf("%w longer than %s", ErrNoGrant, ForMax)
	case a.For > 0 && h.key == "":
		return Record{}, fmt.Errorf("request %s %w: %w", asked.ID, ErrNoGrant, errPart)
	case (once || a.For > 0) && d.grants[h.key] != nil:
		return Record{}, fmt.Errorf("request %s %w: the same is already, as request %s", asked.ID, ErrNoGrant, d.grants[h.key].record.Approval.ID)
	case (once || a.For > 0) && len(d.grants) >= grantsMax:
		return Record{}, fmt.Errorf("request %s %w: too many are approved for a time already", asked.ID, ErrNoGrant)
	}
	yes := Approval{State: StateApproved, Decided: now, By: by, Reason: a.Reason, For: int64(a.For / time.Second)}
	switch {
	case once:
		yes.Until = now.Add(askKeep)
	case a.For > 0:
		yes.Until = now.Add(a.For)
	}
	r := d.settle(h, yes)
	if !yes.Until.IsZero() {
		d.grants[h.key] = &grant{r, once}
	}
	return r, nil
}

// deny says no to a request that waits, or ends what was approved for a time.
func (d *desk) deny(id string, by *session.Actor, reason string, now time.Time) (Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.find(id)
	if err == nil {
		return d.settle(h, Approval{State: StateDenied, Decided: now, By: by, Reason: reason}), nil
	}
	key, found := "", 0
	for k, g := range d.grants {
		if strings.HasPrefix(string(g.record.Approval.ID), id) {
			key, found = k, found+1
		}
	}
	if found != 1 || errors.Is(err, ErrAmbiguous) {
		return Record{}, err
	}
	return d.end(key, Approval{State: StateRevoked, Decided: now, By: by, Reason: reason}), nil
}

// withdraw takes back a request whose asker left; false when it was settled before.
func (d *desk) withdraw(h *held, now time.Time) (Record, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held[h.record.Request.ID] != h {
		return h.record, false
	}
	return d.settle(h, Approval{State: StateWithdrawn, Decided: now}), true
}

// expire ends what is over by now.
func (d *desk) expire(now time.Time) []Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Record
	for _, h := range d.held {
		if a := h.record.Approval; !now.Before(a.Until) {
			out = append(out, d.settle(h, Approval{State: StateExpired, Decided: now}))
		}
	}
	for key, g := range d.grants {
		if !now.Before(g.record.Approval.Until) {
			out = append(out, d.end(key, Approval{State: StateEnded, Decided: now}))
		}
	}
	byAge(out)
	return out
}

// close ends everything, for good.
func (d *desk) close(now time.Time) []Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	var out []Record
	for _, h := range d.held {
		out = append(out, d.settle(h, Approval{State: StateExpired, Decided: now, Reason: errClosed.Error()}))
	}
	for key := range d.grants {
		out = append(out, d.end(key, Approval{State: StateEnded, Decided: now}))
	}
	byAge(out)
	return out
}

// next returns when something is over; zero when nothing will be.
func (d *desk) next() (at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.held {
		at = earlier(at, h.record.Approval.Until)
	}
	for _, g := range d.grants {
		at = earlier(at, g.record.Approval.Until)
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// list returns what can be answered, and what is approved for a time.
func (d *desk) list() []Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Record
	for _, h := range d.held {
		if h.shown {
			out = append(out, h.record)
		}
	}
	for _, g := range d.grants {
		out = append(out, g.record)
	}
	byAge(out)
	return out
}

func byAge(list []Record) {
	slices.SortFunc(list, func(a, b Record) int {
		return cmp.Or(a.Approval.Asked.Compare(b.Approval.Asked), cmp.Compare(a.Approval.ID, b.Approval.ID))
	})
}

// get returns what is known of a request by its id.
func (d *desk) get(id string) (Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.find(id)
	if err != nil {
		return Record{}, err
	}
	return h.record, nil
}

// find returns the request that waits whose id begins so. mu is held.
func (d *desk) find(id string) (*held, error) {
	var found *held
	for known, h := range d.held {
		if !h.shown || !strings.HasPrefix(string(known), id) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%w begin with %s", ErrAmbiguous, id)
		}
		found = h
	}
	if found != nil {
		return found, nil
	}
	for _, a := range slices.Backward(d.settled) {
		if strings.HasPrefix(string(a.ID), id) {
			return nil, fmt.Errorf("%w: request %s was %s%s at %s", ErrSettled, a.ID, a.State, byWhom(a), a.Decided.UTC().Format(time.RFC3339))
		}
	}
	return nil, fmt.Errorf("%w waits: %s", ErrUnknown, id)
}

func byWhom(a *Approval) string {
	if a.By == nil {
		return ""
	}
	return " by " + nameOf(a.By)
}

// settle says what became of a request that waits, once. mu is held.
func (d *desk) settle(h *held, a Approval) Record {
	before := h.record.Approval
	a.ID, a.Asked = before.ID, before.Asked
	h.record.Time, h.record.Approval = a.Decided, &a
	h.record.Stopped = a.State != StateApproved
	delete(d.held, h.record.Request.ID)
	d.remember(&a)
	close(h.done)
	return h.record
}

// end drops a grant. mu is held.
func (d *desk) end(key string, a Approval) Record {
	r := d.grants[key].record
	before := r.Approval
	a.ID, a.Asked, a.Until, a.For = before.ID, before.Asked, before.Until, before.For
	r.Time, r.Approval = a.Decided, &a
	delete(d.grants, key)
	d.remember(&a)
	return r
}

func (d *desk) remember(a *Approval) {
	if len(d.settled) >= settledMax {
		d.settled = slices.Delete(d.settled, 0, settledMax/4)
	}
	d.settled = append(d.settled, a)
}
