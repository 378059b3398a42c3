package correlate

import (
	"cmp"
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
)

// request is one request of a client with its answer.
type request struct {
	event.DockerRequest
	answer *event.DockerAnswer
	asked  bool // the request itself was seen, not only its answer
	// decision is a guard's, where one stood in the way; refused is the session of
	// a request that it stopped.
	decision *event.Decision
	refused  *refusal
}

// succeeded reports whether the daemon did what the request asked; a request
// whose answer was not seen may have. 304 says that there was nothing to do.
func (r *request) succeeded() bool {
	return !r.stopped() && (r.answer == nil || r.answer.Status < 300)
}

// requestsMax bounds the requests that are remembered.
const requestsMax = 1 << 13

// requests are those of Docker's clients: each is in byID under its id and, when it
// creates or starts an exec, in byExec under that exec's id.
type requests struct {
	byID   map[event.RequestID]*request
	byExec map[event.ExecID][]*request
}

func newRequests() requests {
	return requests{byID: map[event.RequestID]*request{}, byExec: map[event.ExecID][]*request{}}
}

func (rs *requests) add(id event.RequestID) *request {
	r := &request{}
	r.ID = id
	rs.byID[id] = r
	return r
}

// claim notes that r creates or starts an exec.
func (rs *requests) claim(id event.ExecID, r *request) {
	if !slices.Contains(rs.byExec[id], r) {
		rs.byExec[id] = append(rs.byExec[id], r)
	}
}

// claims lists the requests that create or start an exec.
func (rs *requests) claims(id event.ExecID) []*request { return rs.byExec[id] }

// claimants returns the requests that name x: those that started it and those
// that created it.
func (d *doors) claimants(x *exec) (starters, creators []*request) {
	for _, r := range d.claimsOn(x) {
		switch {
		case !r.asked || !r.Certain || r.stopped() || !r.succeeded() && r.Op == event.OpExecCreate:
		case r.Op == event.OpExecStart && (r.succeeded() || !x.ran()):
			starters = append(starters, r)
		case r.Op == event.OpExecCreate:
			creators = append(creators, r)
		}
	}
	slices.SortFunc(starters, inTurn)
	slices.SortFunc(creators, inTurn)
	if len(starters) > 1 && !x.ran() { // every attempt at a command that never ran: the first tells
		starters = starters[:1]
	}
	return starters, creators
}

func (rs *requests) drop(r *request) {
	delete(rs.byID, r.ID)
	unlist(rs.byExec, r.ExecID, r)
	if r.answer != nil {
		unlist(rs.byExec, event.ExecID(r.answer.Created), r)
	}
}

// inTurn orders requests by time.
func inTurn(a, b *request) int {
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID.Conn, b.ID.Conn), cmp.Compare(a.ID.N, b.ID.N))
}
