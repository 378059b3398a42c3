package correlate

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// doors is what was seen at the service doors: who was connected to which service,
// and who asked for what. What is remembered is bounded; see sweep.
type doors struct {
	*clock
	coverage *coverage
	inside   *inside
	past     *past
	conns
	requests
	asks
	pace     pace
	verdicts verdicts  // what was decided at the runtime
	rebuffs  rebuffs   // whom the socket gate kept out
	swept    time.Time // when what is old was last forgotten
	// epoch counts the facts about long ago: what was settled before one has to be
	// looked for anew.
	epoch uint64
}

func newDoors(now *clock, c *coverage, in *inside, p *past) doors {
	return doors{
		clock: now, coverage: c, inside: in, past: p,
		conns: newConns(), requests: newRequests(), asks: newAsks(), pace: pace{},
		verdicts: newVerdicts(), rebuffs: rebuffs{},
	}
}

// unsettle has everything looked for anew: a fact about long ago has come.
func (d *doors) unsettle() { d.epoch++ }

// conn returns a connection, from now on a known one.
func (d *doors) conn(id event.ConnID) *conn {
	c := d.conns.byID[id]
	if c == nil {
		if len(d.conns.byID) >= connsMax {
			d.sweep()
		}
		c = d.conns.add(id)
	}
	c.seen = d.now
	return c
}

// request returns a request, from now on a known one.
func (d *doors) request(id event.RequestID) *request {
	r := d.requests.byID[id]
	if r == nil {
		if len(d.requests.byID) >= requestsMax {
			d.sweep()
		}
		r = d.requests.add(id)
	}
	return r
}

// tidy sweeps when that was long ago.
func (d *doors) tidy() {
	if d.now.Sub(d.swept) > d.opt.Keep/4 {
		d.sweep()
	}
}

// sweep forgets connections that closed and requests that were answered long
// enough ago; when that is not enough, the oldest half.
func (d *doors) sweep() {
	d.swept = d.now
	old, node := d.now.Add(-d.opt.Keep), d.now.Add(-d.nodeKeep())
	for _, c := range d.conns.byID {
		if !c.closed().IsZero() && (c.seen.Before(node) || c.service == event.ServiceDocker && c.seen.Before(old)) {
			d.conns.drop(c)
		}
	}
	if len(d.conns.byID) >= connsMax {
		for _, c := range oldHalf(d.conns.byID, func(a, b *conn) int { return cmp.Or(a.seen.Compare(b.seen), cmp.Compare(a.id, b.id)) }) {
			d.past.lost(c.seen)
			d.conns.drop(c)
		}
	}
	d.sweepAsks(node)
	d.pace.forget(node)
	d.verdicts.sweep(old)
	for _, r := range d.requests.byID {
		if r.Time.Before(old) {
			d.requests.drop(r)
		}
	}
	if len(d.requests.byID) >= requestsMax {
		for _, r := range oldHalf(d.requests.byID, inTurn) {
			d.requests.drop(r)
		}
	}
}

// oldHalf returns the first half of what is in m.
func oldHalf[K comparable, V any](m map[K]V, order func(a, b V) int) []V {
	all := slices.SortedFunc(maps.Values(m), order)
	return all[:len(all)/2]
}

// nodeKeep is how long it is remembered who was at a node's doors: as long as
// commands in pods wait for the audit log.
func (d *doors) nodeKeep() time.Duration {
	if len(d.inside.containers.byPod) > 0 {
		return max(d.opt.Late, d.opt.Keep)
	}
	return d.opt.Keep
}

// keep remembers a request to a runtime that names a container, if there is room.
// One that is not remembered, and may have named any, blurs its connection.
func (d *doors) keep(c *conn, o *event.RuntimeRequest) bool {
	d.makeRoom()
	if o.Op != event.RuntimeOpOther && o.Container != "" && !d.full() {
		d.asks.add(o)
		return true
	}
	c.blurred = c.blurred || o.Container == "" && o.Sandbox == "" || d.full()
	return false
}

// makeRoom forgets asks when there are too many: from the oldest on, until there
// is room or all that are left are of the last second.
func (d *doors) makeRoom() {
	for age := d.nodeKeep(); d.full() && age > time.Second; age /= 2 {
		d.sweepAsks(d.now.Add(-age))
	}
}

// sweepAsks forgets the requests from before old. What is forgotten before its
// time takes the silence of its connection with it.
func (d *doors) sweepAsks(old time.Time) {
	keep := d.now.Add(-d.nodeKeep())
	d.asks.drop(func(o *event.RuntimeRequest) bool {
		if !o.Time.Before(old) {
			return false
		}
		if o.Time.After(keep) {
			d.past.lost(o.Time.Add(streamLag))
			if c := d.conns.byID[o.ID.Conn]; c != nil {
				c.blurred = true
				d.unsettle()
			}
		}
		return true
	})
}

// heard reports whether all requests on c up to t were seen.
func (d *doors) heard(c *conn, t time.Time) bool {
	if !c.tapped || c.blurred {
		return false
	}
	if c.guarded {
		return d.coverage.lost(event.WitnessGuard, "requests", c.opened, t.Add(skew)) == 0
	}
	return d.coverage.lost(event.WitnessKernel, "requests", c.opened, t.Add(skew)) == 0 && d.coverage.read(t.Add(skew))
}

// silent reports whether c is known not to have started x: all of its requests
// were seen, and none of them starts x.
func (d *doors) silent(c *conn, x *exec) bool {
	t := x.asked()
	if !d.heard(c, t) {
		return false
	}
	for _, r := range d.claimsOn(x) {
		if r.ID.Conn == c.id {
			return false
		}
	}
	return true
}

// silentRun reports whether c is known not to have started any container by t.
func (d *doors) silentRun(c *conn, t time.Time) bool {
	if !d.heard(c, t) {
		return false
	}
	for _, q := range d.requests.byID {
		if q.ID.Conn == c.id && q.Op == event.OpContainerStart {
			return false // started something whose name could not be resolved
		}
	}
	return true
}

// starters returns the requests that started this run: sent before it began,
// and not answered before.
func (d *doors) starters(r *run, begins time.Time) []*request {
	var out []*request
	for _, q := range d.requests.byID {
		if q.Op != event.OpContainerStart || !q.asked || !q.Certain || q.stopped() || !d.inside.refersTo(q, r.key.container) {
			continue
		}
		if !q.succeeded() && (q.answer.Status < 400 || d.inside.ran(r)) {
			continue
		}
		if q.Time.After(begins.Add(skew)) || q.answer != nil && q.answer.Time.Before(begins.Add(-skew)) {
			continue
		}
		if q.answer == nil && begins.Sub(q.Time) > time.Minute {
			continue
		}
		out = append(out, q)
	}
	slices.SortFunc(out, inTurn)
	return out
}

// creates returns the requests that made a container, as the answers to them say.
func (d *doors) creates(id event.ContainerID) []*request {
	var out []*request
	for _, r := range d.requests.byID {
		if r.Op == event.OpContainerCreate && d.inside.refersTo(r, id) {
			out = append(out, r)
		}
	}
	return out
}

var runtimeServices = []event.Service{event.ServiceContainerd, event.ServiceCRIO}

// followed reports whether a kubelet's connections, found in the middle of their
// life, have been followed since before t: the frames of one were found, and
// every request since then was seen. It asks for commands on one connection and
// for images on another, which shows nothing. Such requests are not certain to
// anybody who would be named for them, and nobody is: the kubelet asks for others.
func (d *doors) followed(c *conn, t time.Time) bool {
	if !d.coverage.isKubelet(c.peer) {
		return false
	}
	for _, o := range d.conns.byService[c.service] {
		if o.peer.ID == c.peer.ID && !o.followed.IsZero() && o.followed.Before(t) &&
			d.coverage.lost(event.WitnessKernel, "requests", o.followed, t.Add(skew)) == 0 && d.coverage.read(t.Add(skew)) {
			return true
		}
	}
	return false
}

// atKubelet lists the connections to the kubelet's port that were open at t and
// are not the API server's or the kubelet's own.
func (d *doors) atKubelet(t time.Time) []*conn {
	return d.openTo(t, event.ServiceKubelet, func(c *conn) bool { return !isAPIServer(c.peer) })
}

// beside reports whether the exec came to the runtime without Docker: there is
// a Docker that would have told of it, and it did not.
func (d *doors) beside(x *exec) bool {
	if d.begunByDocker(x) || !x.ran() && (x.byDocker() || len(d.claimsOn(x)) > 0) {
		return false
	}
	if !randomID(string(x.key.id)) {
		return true // Docker draws its ids
	}
	c := d.inside.seen(x.container)
	if space := c.space(); space != "" && space != "moby" {
		return true
	}
	t := x.asked()
	if c.forgedStart(t, d.opt.Window) {
		return false
	}
	return d.coverage.wouldTell(event.WitnessDocker, "", t)
}

// begunByDocker reports whether Docker started x, by its own word or its client's
// request. That it made an exec of this id says nothing of who starts one.
func (d *doors) begunByDocker(x *exec) bool {
	if in := x.inspect; in != nil && (in.PID != 0 || in.Running || in.ExitCode != nil) {
		return true
	}
	return x.event(event.DockerExecStart) != nil ||
		slices.ContainsFunc(d.claimsOn(x), func(r *request) bool { return r.Op == event.OpExecStart })
}

// argvAsked returns the command that a request is about: of the start of an exec,
// that of its creation.
func (d *doors) argvAsked(q *request) []string {
	if q.Argv != nil || q.ExecID == "" {
		return q.Argv
	}
	for _, c := range d.claims(q.ExecID) {
		if c.Argv != nil {
			return c.Argv
		}
	}
	for _, x := range d.inside.execs.byID[q.ExecID] {
		if x.inspect != nil {
			return x.inspect.Argv
		}
	}
	return nil
}
