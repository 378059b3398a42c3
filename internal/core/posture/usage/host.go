package usage

import (
	"cmp"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/hostaccess"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/session"
)

// host counts by the ways into the containers of a host's engine.
type host struct {
	*inventory.Host
	node   string // of its observations
	ways   []way
	counts []count
	names  map[uint32]string // by uid
}

// way is a setting that lets somebody in.
type way struct {
	exposure.Exposure
	setting exposure.Step // the first: his own
	// root says that it makes him root, and so opens every door.
	root bool
}

func newHost(h *inventory.Host, node string) *host {
	out := &host{Host: h, node: node, names: map[uint32]string{0: "root"}}
	for n := range h.Users {
		out.names[h.Users[n].UID] = h.Users[n].Name
	}
	for _, e := range hostaccess.New(h).Ways() {
		if e.Actor != "unix:root" { // nobody can take it from him
			out.ways = append(out.ways, way{e, e.Via[0], len(e.Via) > 1 && e.Via[1].Edge == exposure.EdgeNode})
		}
	}
	out.counts = make([]count, len(out.ways))
	return out
}

// onHost counts a session by the host that it was on.
func (t *Tally) onHost(u *use) {
	node := u.session.Target.Node
	for _, h := range t.hosts {
		if h.node == node || node == h.Name {
			h.use(u)
			return
		}
	}
	if len(t.hosts) > 0 {
		t.totals.Elsewhere++
	}
}

func (h *host) use(u *use) {
	var able []int
	for n := range h.ways {
		if h.suffices(&h.ways[n], u) {
			able = append(able, n)
		}
	}
	// Of several ports nobody tells which it was.
	sure := u.sure && (u.actor.Address == "" || len(able) == 1)
	for _, n := range able {
		h.counts[n].add(u, h.who(u.actor), mark{sure: sure, needed: sure && len(able) == 1})
	}
}

// who names an actor of a host.
func (h *host) who(a *session.Actor) exposure.Actor {
	switch {
	case a.Container != "":
		return exposure.Actor("container:" + h.container(a.Container))
	case a.LoginUID != nil && *a.LoginUID != 0:
		return exposure.Actor("unix:" + cmp.Or(h.names[*a.LoginUID], a.LoginUser))
	case a.UID != nil:
		return exposure.Actor("unix:" + cmp.Or(h.names[*a.UID], a.User))
	}
	return exposure.Anonymous
}

func (h *host) container(id event.ContainerID) string {
	for n := range h.Running {
		if h.Running[n].ID == string(id) {
			return h.Running[n].Name
		}
	}
	return id.Short()
}

// opens are the channels of ways by which sessions come.
func opens(c, by event.Channel) bool {
	switch prefix, _, _ := strings.Cut(string(c), "-"); {
	case prefix == "DK":
		return by == event.ChannelDockerExec
	case c == event.ChannelRuntimeCtr, c == event.ChannelRuntimeRun:
		return by == event.ChannelRuntimeCtr
	case prefix == "HO":
		return by == event.ChannelHostNsenter
	}
	return c == by
}

// suffices reports whether a way would have let an actor ask for a session.
func (h *host) suffices(w *way, u *use) bool {
	a := u.actor
	if !w.root && !opens(u.session.Channel, w.Channel) {
		return false
	}
	switch w.setting.Edge {
	case exposure.EdgeTCP:
		return a.Address != "" && (w.Actor == exposure.Anonymous || w.Actor == exposure.Anyone || w.Actor == h.who(a))
	case exposure.EdgeMounted, exposure.EdgeEscape:
		return a.Container != "" && w.Actor == h.who(a)
	}
	if a.Address != "" || a.Container != "" || a.UID == nil {
		return false
	}
	if w.Direct { // the socket, as who he is
		return w.Actor == exposure.Anyone || h.is(w.Actor, *a.UID)
	}
	// By sudo he has become somebody else, and logged in as himself.
	if a.LoginUID == nil || *a.LoginUID == *a.UID {
		return false
	}
	return w.Actor == exposure.Anyone || h.is(w.Actor, *a.LoginUID)
}

func (h *host) is(who exposure.Actor, uid uint32) bool {
	name, ok := h.names[uid]
	return ok && who == exposure.Actor("unix:"+name)
}

// seenBy lists the witnesses that would see a way used: who is root has all doors.
func (w *way) seenBy() []event.Witness {
	if w.root {
		return []event.Witness{event.WitnessDocker, event.WitnessContainerd, event.WitnessKernel}
	}
	prefix, _, _ := strings.Cut(string(w.Channel), "-")
	return []event.Witness{witnesses[doors[prefix]]}
}

func (h *host) report(r *Report, of *Witnesses, in Window) {
	watched := map[event.Witness]*Watched{}
	for n := range h.ways {
		w := &h.ways[n]
		var least *Watched
		for _, name := range w.seenBy() {
			seen := watched[name]
			if seen == nil {
				s := of.watched(source{h.node, name}, in)
				s.Node = h.Name
				seen, watched[name] = &s, &s
				r.Watched = append(r.Watched, s)
			}
			if least == nil || seen.Seconds < least.Seconds {
				least = seen
			}
		}
		row := Row{Edge: w.setting.Edge, Host: h.Name, Actor: w.Actor, Setting: w.setting.Setting, binding: -1}
		h.counts[n].fill(&row)
		row.judge(least, false)
		r.Rows = append(r.Rows, row)
	}
}
