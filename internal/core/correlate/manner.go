package correlate

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
)

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
func (e *Engine) manner(a arrival) manner {
	asked, alone := e.criChoice(a)
	if alone {
		return byAny
	}
	var m manner
	for _, o := range asked {
		switch {
		case o.Cut:
			return byAny
		case !e.coverage.isKubelet(o.Peer):
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

// streamed reports whether one of the kubelet's requests for a stream that can
// have led to a can have come of c: the API server answers a request when the
// kubelet has the stream's address, so the kubelet asked for it between the two
// (testbed.md §4.8), with the input and the terminal that c wants.
func (e *Engine) streamed(a arrival, c *call) bool {
	asked, alone := e.criChoice(a)
	want := c.ask()
	if alone || c.started == nil || want.op != event.KubeExec {
		return true
	}
	from := e.kube.earliest(c)
	until, err := e.kube.local(c.started.Time)
	return slices.ContainsFunc(asked, func(o *event.RuntimeRequest) bool {
		return o.Op == event.RuntimeOpExecStream && causes(from, o.Time) && causes(o.Time, until.Add(err)) &&
			(o.Cut || o.Stdin == want.stdin && o.TTY == want.tty)
	})
}

// followedThrough reports whether the kubelet's one request that led to a was
// seen, and no other can have.
func (e *Engine) followedThrough(a arrival) bool {
	asked, alone := e.criChoice(a)
	return !alone && len(asked) == 1 && e.coverage.isKubelet(asked[0].Peer) && asked[0].Op == event.RuntimeOpExecStream
}
