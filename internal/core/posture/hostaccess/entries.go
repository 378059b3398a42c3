package hostaccess

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Entries lists, of a host that is a node of a cluster, each way by which somebody on it is
// root there: by the socket of a runtime that root runs, by sudo, by an engine's port, or
// out of an engine's container. how says by what it is known which node it is.
//
// Who has a way of his own is listed with those that everybody has, too: that his own is
// closed helps nothing then.
func (a *Analysis) Entries(node, how string) (out []exposure.Entry) {
	for _, w := range a.rootWays(a.rootActors()) {
		out = append(out, a.entry(&w, node, how))
	}
	return out
}

// Closable is Entries of what the host is after some changes, and names with each entry the
// changes that close it: of each, who is root after it was asked. Listed are those who are
// root before any change, as long as they are.
func (a *Analysis) Closable(node, how string, gone []exposure.Closer) (out []exposure.Entry) {
	h, who := a.host, a.rootActors()
	for _, c := range a.changes() {
		if slices.Contains(gone, c.Closer) {
			h = changed(h, c)
		}
	}
	now := New(h)
	ways := now.rootWays(who)
	for i := range ways {
		out = append(out, now.entry(&ways[i], node, how))
	}
	for _, c := range now.changes() {
		left := map[key]bool{}
		for _, w := range New(changed(h, c)).rootWays(who) {
			left[keyOf(&w)] = true
		}
		for i := range ways {
			if !left[keyOf(&ways[i])] {
				out[i].Closers = append(out[i].Closers, c.Closer)
			}
		}
	}
	return out
}

func keyOf(w *exposure.Exposure) key { return key{w.Actor, w.Channel, w.Via[0].Setting} }

func (a *Analysis) entry(w *exposure.Exposure, node, how string) exposure.Entry {
	e := exposure.Entry{Node: node, Actor: w.Actor, Via: slices.Clone(w.Via)}
	switch w.Actor {
	case exposure.Anyone, exposure.Anonymous: // of the host, not of the API server
		e.Actor = exposure.Actor("host:" + a.host.Name + "/" + string(w.Actor))
	}
	e.Via[0].Setting += " on " + a.host.Name + ", which is node " + node + how
	return e
}

// rootWays lists the ways to be root on the host, and after them those that everybody has
// for each actor of some.
func (a *Analysis) rootWays(who []exposure.Actor) []exposure.Exposure {
	root := *a
	root.node = true
	out := root.Ways()
	for _, w := range slices.Clone(out) {
		for _, actor := range who {
			if has(actor, w.Actor) {
				its := w
				its.Actor = actor
				out = append(out, its)
			}
		}
	}
	return out
}

// rootActors are those who have a way of their own to be root on the host, and are not.
func (a *Analysis) rootActors() (out []exposure.Actor) {
	for _, w := range a.rootWays(nil) {
		if !a.isRoot(w.Actor) && !slices.Contains(out, w.Actor) {
			out = append(out, w.Actor)
		}
	}
	return out
}

// isRoot reports whether an actor is root by his name.
func (a *Analysis) isRoot(who exposure.Actor) bool {
	name, ok := strings.CutPrefix(string(who), "unix:")
	uid, known := a.uids[name]
	return ok && known && uid == 0
}

// has reports whether an actor has the ways of another, who stands for many: whoever gets to
// a port is anybody on the host or in a container, too.
func has(who, other exposure.Actor) bool {
	kind, _, _ := strings.Cut(string(who), ":")
	switch other {
	case exposure.Anonymous:
		return kind == "unix" || kind == "container" || who == exposure.Anyone
	case exposure.Anyone:
		return kind == "unix"
	}
	return false
}

// runtimes are the sockets of all runtimes that are root's: who may use one can start a
// container that is root on the host.
func (a *Analysis) runtimes() (out []door) {
	for i := range a.host.Sockets {
		s := &a.host.Sockets[i]
		d := door{edge: exposure.EdgeSocket, socket: s}
		switch s.Service {
		case inventory.ServiceDocker:
			d.channel = event.ChannelDockerExec
		case inventory.ServiceContainerd:
			d.channel = event.ChannelRuntimeCtr
		case inventory.ServiceCRIO:
			d.channel = event.ChannelRuntimeCRI
		case inventory.ServicePodman, inventory.ServiceBuildKit: // other engines than a kubelet's
			continue
		}
		if s.UID == 0 && (s.Service != inventory.ServiceDocker || a.host.Docker == nil || a.host.Docker.Rootless != inventory.Yes) {
			out = append(out, d)
		}
	}
	return out
}
