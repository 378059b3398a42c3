package correlate

import (
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// arrival is a command that came into a pod's container: an exec that the
// runtime told of, or else a process tree that a shim started and no runtime
// told of (CRI-O, or containerd unheard).
type arrival struct {
	x *exec
	n *entry
}

func (a arrival) subject() subject {
	if a.x != nil {
		return a.x
	}
	return a.n
}

func (a arrival) container() event.ContainerID {
	if a.x != nil {
		return a.x.container
	}
	return a.n.where
}

// began is the earliest that anybody saw of it. A busy runtime tells of an exec
// long after its process has come in.
func (a arrival) began() time.Time {
	if a.x == nil {
		return a.n.born()
	}
	t := a.x.asked()
	if a.entered() && a.n.born().Before(t) {
		return a.n.born()
	}
	return t
}

// entered reports whether its process was seen to come in.
func (a arrival) entered() bool {
	return a.n != nil && a.n.fact != nil && a.n.fact.Cause != event.EntryFound
}

// arrived is when it was there for certain: whoever asked, asked before that.
// That is when the runtime had made its exec, or else when its process came in.
func (a arrival) arrived() time.Time {
	t := a.began()
	if a.x != nil && a.x.added != nil && a.x.added.Time.Equal(t) {
		return t
	}
	if a.x != nil && a.entered() && a.n.born().After(t) {
		return a.n.born()
	}
	return t
}

// argv is what the process executed first; false when nobody saw that.
func (a arrival) argv() ([]string, bool) {
	if a.n == nil {
		return nil, false
	}
	p := a.n.procs[a.n.root]
	if p == nil {
		return nil, false
	}
	for _, x := range p.execs {
		if !slices.Equal(x.Argv.Args, runcInit) && !x.Argv.Joined {
			return x.Argv.Args, !x.Argv.Truncated
		}
	}
	return nil, false
}

// joined is what the process executed first, where only a joined form is known,
// and all of that.
func (a arrival) joined() (string, bool) {
	if a.n == nil {
		return "", false
	}
	p := a.n.procs[a.n.root]
	if p == nil || len(p.execs) == 0 {
		return "", false
	}
	v := p.execs[0].Argv
	return v.String(), v.Joined && !v.Truncated
}

// tty reports whether the process had a terminal; known is false when nobody
// saw.
func (a arrival) tty() (has, known bool) {
	if a.n == nil || !a.n.ran() || a.n.reported() {
		return false, false // a log need not have it
	}
	return a.n.procs[a.n.root].execs[0].TTY != "", true
}

// ran reports whether what a executed can be the command of a request.
func (a arrival) ran(k ask) bool {
	argv, whole := a.argv()
	joined, ok := a.joined()
	switch {
	case k.unsaid && k.argv == nil, argv == nil && !ok:
		return true
	case k.joined && ok:
		return squeeze(k.argv[0]) == squeeze(joined) || joinedFits(strings.Fields(k.argv[0]), joined)
	case k.joined:
		return !whole || joinedFits(argv, k.argv[0])
	case ok:
		return joinedFits(k.argv, joined)
	}
	return asAsked(k.argv, argv, whole)
}

// asAsked reports whether a process that executed ran can come from a request
// for asked. Webhooks of other tools put "env NAME=value" before the command
// (channels.md §4.1).
func asAsked(asked, ran []string, whole bool) bool {
	if ran == nil {
		return true
	}
	if len(ran) > len(asked) && ran[0] == "env" {
		rest := ran[1:]
		for len(rest) > len(asked) && strings.Contains(rest[0], "=") {
			rest = rest[1:]
		}
		if slices.Equal(rest, asked) {
			return true
		}
	}
	if whole {
		return slices.Equal(asked, ran) || isScript(asked, ran)
	}
	return len(ran) <= len(asked) && (len(ran) == 0 || slices.Equal(asked[:len(ran)-1], ran[:len(ran)-1]))
}

// isScript reports whether ran is what the kernel makes of a script that was
// asked for: an interpreter, at most one argument of its, the script's path, and
// the rest (execve(2)).
func isScript(asked, ran []string) bool {
	before := len(ran) - len(asked)
	if len(asked) == 0 || before < 1 || before > 2 || !slices.Equal(asked[1:], ran[before+1:]) {
		return false
	}
	path := ran[before]
	return path == asked[0] || !strings.Contains(asked[0], "/") && strings.Contains(path, "/") && base(path) == asked[0]
}

// arrivals finds the commands that came into the containers of pods.
type arrivals struct {
	inside *inside

	// What was worked out since the last observation; see Engine.changed.
	byContainer map[event.ContainerID][]arrival
	moments     map[event.ContainerID][]moment // by when they began
}

func newArrivals(in *inside) arrivals {
	return arrivals{inside: in, byContainer: map[event.ContainerID][]arrival{}, moments: map[event.ContainerID][]moment{}}
}

func (as *arrivals) changed() {
	clear(as.byContainer)
	clear(as.moments)
}

// ofPod reports whether a is a command that came into a container of a pod, by
// the kubelet or somebody who uses the runtime as the kubelet does. Clients of
// the runtime choose their exec ids; it draws random ones.
func (as *arrivals) ofPod(a arrival) bool {
	if a.x != nil {
		return as.inside.inPod(a.x.container) && randomID(string(a.x.key.id)) && a.x.begun()
	}
	if a.n == nil || a.n.fact == nil || !as.inside.inPod(a.n.where) {
		return false
	}
	if a.n.reported() {
		return a.n.fact.Cause != event.EntryStart
	}
	return a.n.fact.Cause == event.EntryInjected && as.inside.byShim(a.n)
}

// in lists the commands that came into a container, those of the
// runtime's own clients left out: they have an id of their own. The list is not
// the caller's to change.
func (as *arrivals) in(id event.ContainerID) []arrival {
	out, ok := as.byContainer[id]
	c := as.inside.seen(id)
	if ok || c == nil {
		return out
	}
	for _, x := range c.execs {
		if a := (arrival{x, as.inside.entryOf(x)}); as.ofPod(a) {
			out = append(out, a)
		}
	}
	for _, n := range c.entries {
		if a := (arrival{nil, n}); as.ofPod(a) && as.inside.execOf(n) == nil {
			out = append(out, a)
		}
	}
	as.byContainer[id] = out
	return out
}

// moment is an arrival with its times at hand.
type moment struct {
	arrival
	beganAt, arrivedAt time.Time
}

func newMoment(a arrival) moment { return moment{a, a.began(), a.arrived()} }

// momentsIn lists the arrivals in a container by when they began. The list is not
// the caller's to change.
func (as *arrivals) momentsIn(id event.ContainerID) []moment {
	out, ok := as.moments[id]
	if ok {
		return out
	}
	for _, a := range as.in(id) {
		out = append(out, newMoment(a))
	}
	slices.SortStableFunc(out, func(a, b moment) int { return a.beganAt.Compare(b.beganAt) })
	as.moments[id] = out
	return out
}

// momentsAround lists the arrivals in a's container by when they began, a among
// them even where it is not known to be in the container, and a's place. The
// list is not the caller's to change.
func (as *arrivals) momentsAround(a arrival) (all []moment, self int) {
	all = as.momentsIn(a.container())
	self = slices.IndexFunc(all, func(m moment) bool { return m.subject() == a.subject() })
	if self < 0 {
		all, self = append(slices.Clone(all), newMoment(a)), len(all)
	}
	return all, self
}

// startingIn returns the part of a list of moments that began between two times.
func startingIn(list []moment, from, until time.Time) (low, high int) {
	low, _ = slices.BinarySearchFunc(list, from, func(m moment, t time.Time) int { return m.beganAt.Compare(t) })
	high, _ = slices.BinarySearchFunc(list, until.Add(1), func(m moment, t time.Time) int { return m.beganAt.Compare(t) })
	return low, high
}
