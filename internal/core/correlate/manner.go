package correlate

import (
	"time"

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

// manner returns how a can have come through CRI. It is weighed anew a few times
// while facts still come in, and then kept: many look at it.
func (e *Engine) manner(a arrival) manner {
	s := a.subject().state()
	final := a.began().Add(2*e.opt.Window + time.Second)
	if s.weighedAt.IsZero() || s.weighedAt.Before(final) && !e.now.Before(s.weighedAt.Add(mannerKept)) {
		s.manner, s.weighedAt = e.weighManner(a), e.now
	}
	return s.manner
}

const mannerKept = 250 * time.Millisecond

func (e *Engine) weighManner(a arrival) manner {
	asked, alone := e.criChoice(a)
	if alone {
		return byAny
	}
	var m manner
	for _, o := range asked {
		switch {
		case o.Cut:
			return byAny
		case !isKubelet(o.Peer):
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
