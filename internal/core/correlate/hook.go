package correlate

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// hookOf returns the command of the pod's specification that a ran, or nil.
func (ch *choices) hookOf(a arrival) *event.KubeHook {
	k := ch.inside.seen(a.container())
	argv, whole := a.argv()
	if k == nil || k.pod == nil || k.pod.spec == nil || !whole {
		return nil
	}
	var probe, hook *event.KubeHook
	m := ch.cri.manner(a)
	for i := range k.pod.spec.Hooks {
		h := &k.pod.spec.Hooks[i]
		switch {
		case !slices.Equal(h.Argv, argv):
		case h.Period != 0 && m&byProbe != 0 && probe == nil:
			probe = h
		case h.Period == 0 && m&byRun != 0 && hook == nil:
			hook = h
		}
	}
	if probe != nil && (hook == nil || !ch.firstOf(a, argv)) {
		return probe
	}
	return hook
}

// mayBeHook reports whether nobody saw what a ran, and the kubelet runs commands
// of the specification in its container: one of those cannot be told from one
// that somebody asked the kubelet for. It may still be seen, on a busy machine
// long after the runtime told of it; that it never is says something only where
// the sensor watches.
func (ch *choices) mayBeHook(a arrival) bool {
	k := ch.inside.seen(a.container())
	if k == nil || k.pod == nil || k.pod.spec == nil || len(k.pod.spec.Hooks) == 0 {
		return false
	}
	argv, _ := a.argv()
	t := a.began()
	return argv == nil && !ch.coverage.wouldTell(event.WitnessKernel, "process", t)
}

// firstOf reports whether a is the first in its container to run argv. Of a hook
// and a probe with the same command the hook comes first: probes wait for it.
func (ch *choices) firstOf(a arrival, argv []string) bool {
	return !slices.ContainsFunc(ch.arrivals.in(a.container()), func(o arrival) bool {
		args, _ := o.argv()
		return o.began().Before(a.began()) && slices.Equal(args, argv)
	})
}

// routine reports whether a ran what the kubelet runs by itself, and nobody else
// can have: nobody had a connection to the kubelet or the runtime. Where such
// connections are not seen, the time has to be the kubelet's, too.
func (ch *choices) routine(a arrival, h *event.KubeHook, nobodyElse bool) bool {
	if ch.cri.manner(a) == byProbe {
		return true // the kubelet asks that way for probes only
	}
	return nobodyElse && (ch.coverage.nodeDoorsWatched(a.began()) || ch.onTime(a, h))
}

// onTime reports whether a came when the kubelet itself runs h: a probe no
// sooner after the one before than its period, with room for jitter; a hook
// once, when its container starts or stops.
func (ch *choices) onTime(a arrival, h *event.KubeHook) bool {
	k := ch.inside.seen(a.container())
	argv, _ := a.argv()
	same := 0
	for _, o := range k.pod.spec.Hooks {
		if slices.Equal(o.Argv, argv) {
			same++
		}
	}
	span := time.Duration(h.Period) * 7 / 10
	if span == 0 {
		span = time.Minute
	}
	near := 0
	for _, o := range ch.arrivals.in(a.container()) {
		if other, _ := o.argv(); slices.Equal(other, argv) && o.began().Sub(a.began()).Abs() < span && len(ch.of(o).calls) == 0 {
			near++
		}
	}
	if near > same {
		return false
	}
	if h.Kind == event.KubePostStart {
		return slices.ContainsFunc(k.runs, func(r *run) bool { d := a.began().Sub(ch.inside.begins(r)); return d > -skew && d < time.Minute })
	}
	return true
}
