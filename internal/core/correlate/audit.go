package correlate

import (
	"cmp"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// audit is how far the API server's audit log has come, which may lag by minutes,
// and how its clock goes.
type audit struct {
	*clock
	site *site
	// through is up to when the log has told everything, where its witness says
	// so; newest is the time of its youngest entry; lag is the longest that an
	// entry took to arrive.
	through, newest time.Time
	lag             time.Duration
	clocks          map[string]event.Clock // by what they measure: "apiserver", or a node
}

func newAudit(now *clock, s *site) audit {
	return audit{clock: now, site: s, clocks: map[string]event.Clock{}}
}

// maxLag bounds what one late entry can teach about the delay of the log.
const maxLag = 15 * time.Minute

// entered notes that an entry of the log came.
func (au *audit) entered(at time.Time) {
	au.lag = max(au.lag, min(au.now.Sub(at), maxLag))
	if at.After(au.newest) {
		au.newest = at
	}
}

// progress notes how far the log has told everything, and reports whether that is
// news.
func (au *audit) progress(through time.Time) bool {
	if !through.After(au.through) {
		return false
	}
	au.through = through
	return true
}

// measured notes a measurement of a clock, and reports whether it is the latest.
func (au *audit) measured(o event.Clock) bool {
	if was, ok := au.clocks[o.Of]; ok && o.Time.Before(was.Time) {
		return false
	}
	au.clocks[o.Of] = o
	return true
}

// measuredFor is how long a measurement of a clock stands above a worse one.
const measuredFor = 10 * time.Minute

// measure learns how the API server's clock and ours differ from a request that
// both the audit log and the webhook saw: it came before the webhook was asked,
// and was carried out after the webhook had answered.
func (au *audit) measure(c *call) {
	f, done := c.fact(), cmp.Or(c.started, c.complete)
	if c.adm == nil || f == nil || done == nil {
		return
	}
	least, most := f.Received.Sub(c.adm.Arrived), done.Time.Sub(c.adm.Time)
	if most < least {
		return // a clock was set in between
	}
	err := (most - least + 1) / 2
	if was, ok := au.clocks["apiserver"]; ok && time.Duration(was.Error) <= err && au.now.Sub(was.Time) < measuredFor {
		return
	}
	au.clocks["apiserver"] = event.Clock{
		Header: event.Header{Time: au.now, Witness: event.WitnessAdmission},
		Of:     "apiserver", Offset: event.Duration(least + err), Error: event.Duration(err),
	}
}

// unmeasured is how far the API server's clock may be off while nobody has
// measured it.
const unmeasured = time.Second

// local turns a time by the API server's clock into this host's, with the most
// by which that can be wrong.
func (au *audit) local(t time.Time) (time.Time, time.Duration) {
	off, err := time.Duration(0), unmeasured
	if len(au.clocks) == 0 {
		return t, err
	}
	if c, ok := au.clocks["apiserver"]; ok {
		off, err = -time.Duration(c.Offset), time.Duration(c.Error)
	}
	if own, ok := au.clocks[au.site.name()]; ok && own.Of != "apiserver" {
		off += time.Duration(own.Offset)
		err += time.Duration(own.Error)
	}
	return t.Add(off), err
}

// An audit log arrives nearly in order, and after a while: auditDisorder is how
// far its entries may be out of order, auditWait how long it may be silent, when
// nothing else is known. A name rests on both only in so far as nobody else can
// have asked for the same.
const (
	auditDisorder = 10 * time.Second
	auditWait     = 2 * time.Minute
)

// auditSettled reports whether the audit log has told of everything that was
// asked before t: its witness says so, much younger entries have come, or it
// had more time than it has ever needed.
func (au *audit) auditSettled(t time.Time) bool {
	through := au.through
	if n := au.newest.Add(-auditDisorder); n.After(through) {
		through = n
	}
	if at, err := au.local(through); !at.Add(-err).Before(t) {
		return true
	}
	return !au.now.Before(t.Add(auditWait + 2*au.lag))
}

// awaitAudit has c looked at again when the audit log has told of what came of
// c's time, or will never do so.
func (au *audit) awaitAudit(c subject, t time.Time, settled bool) {
	c.state().lookAt = time.Time{}
	if !settled {
		c.state().lookAt = t.Add(auditWait + 2*au.lag)
	}
}
