package correlate

import "github.com/sallyport/sallyport/internal/core/event"

// manner is how a command can have come through CRI. The kubelet's own request
// on the runtime's socket tells: a stream is what the API server or somebody at
// the kubelet's port asks for; exec_sync with a timeout is a probe, without one
// a lifecycle hook or the kubelet's /run (testbed.md §4.7).
type manner uint8

const (
	byStream manner = 1 << iota
	byProbe
	byRun
	byClient // not the kubelet's request
	// byAny: not known.
	byAny = byStream | byProbe | byRun | byClient
)

// manner returns how a can have come through CRI.
func (cr *cri) manner(a arrival) manner {
	asked, alone := cr.choice(a)
	if alone {
		return byAny
	}
	var m manner
	for _, o := range asked {
		switch {
		case o.Cut:
			return byAny
		case !cr.coverage.isKubelet(o.Peer):
			m |= byClient
		case o.Op == event.RuntimeOpExecStream:
			m |= byStream
		case o.Timeout != nil && *o.Timeout > 0:
			m |= byProbe
		default:
			m |= byRun
		}
	}
	return m
}

// mannerOf is how a request to the API server reaches CRI.
func mannerOf(op event.KubeOp) manner {
	if op == event.KubeNodeRun {
		return byRun
	}
	return byStream
}

// followedThrough reports whether the kubelet's one request that led to a was
// seen, and no other can have.
func (cr *cri) followedThrough(a arrival) bool {
	asked, alone := cr.choice(a)
	return !alone && len(asked) == 1 && cr.coverage.isKubelet(asked[0].Peer) && asked[0].Op == event.RuntimeOpExecStream
}
