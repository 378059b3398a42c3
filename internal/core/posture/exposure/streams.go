package exposure

import (
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// stream is a way into a container that is opened by SPDY, which the API server takes for
// a create, or by WebSocket, which it takes for a get.
type stream struct {
	edge            Edge
	create, get     rbac.Mask
	spdy, webSocket event.Channel
}

var (
	streams = []stream{
		{EdgeExec, ask(coreGroup, "pods", "exec", "create"), ask(coreGroup, "pods", "exec", "get"), event.ChannelKubeExecSPDY, event.ChannelKubeExecWS},
		{EdgeAttach, ask(coreGroup, "pods", "attach", "create"), ask(coreGroup, "pods", "attach", "get"), event.ChannelKubeAttach, event.ChannelKubeAttachWS},
	}
	mayGetProxy  = ask(coreGroup, "nodes", "proxy", "get")
	mayPostProxy = ask(coreGroup, "nodes", "proxy", "create")
	mayStream    = func() (m rbac.Mask) {
		for i := range streams {
			m = m.Or(streams[i].create).Or(streams[i].get)
		}
		return m
	}()
)

// streams lists where the permissions of a rule let streams be opened by themselves, and
// through what.
func (a *Analysis) streams(m rbac.Mask, in scope, names []string) (out []step) {
	add := func(places []int32, edge Edge, by event.Channel) {
		for _, to := range places {
			out = append(out, step{to, edge, by})
		}
	}
	if m.Any(mayStream) {
		pods := a.thePods(in.namespace, names)
		for i := range streams {
			s := &streams[i]
			create := m.Any(s.create)
			if create {
				add(pods, s.edge, s.spdy)
			}
			if m.Any(s.get) && (create || !a.WebSocketNeedsCreate()) {
				add(pods, s.edge, s.webSocket)
			}
		}
	}
	if in.everywhere && m.Any(mayPostProxy.Or(mayGetProxy)) { // a kubelet's exec takes either, its run a create
		nodes := a.theNodes(names)
		if m.Any(mayPostProxy) {
			add(nodes, EdgeNodeProxy, event.ChannelKubeNodeRun)
		}
		add(nodes, EdgeNodeProxy, event.ChannelKubeNodeExec)
	}
	return out
}

// sockets links a subject with the pods into which it opens a WebSocket by what one rule
// gives of it, and what another does.
func (a *Analysis) sockets(who int32, has *held) {
	if !has.may.Any(mayStream) || !a.WebSocketNeedsCreate() {
		return
	}
	for i := range streams {
		s := &streams[i]
		creates, gets := has.but(s.create, s.get), has.but(s.get, s.create)
		for _, get := range gets {
			for _, create := range creates {
				in, names, ok := common(&a.index.Grants[create], &a.index.Grants[get])
				if !ok {
					continue
				}
				for _, to := range a.thePods(in, names) {
					a.link(who, to, a.through(s.webSocket, s.edge, create, get))
				}
			}
		}
	}
}

// WebSocketNeedsCreate reports whether the server asks for create, not only for
// get, when a stream is opened by WebSocket (gate
// AuthorizePodWebsocketUpgradeCreatePermission, on since 1.35).
func (a *Analysis) WebSocketNeedsCreate() bool {
	if on, ok := a.cluster.Gates["AuthorizePodWebsocketUpgradeCreatePermission"]; ok {
		return on
	}
	return a.cluster.Version.AtLeast(35)
}

func (a *Analysis) theNodes(names []string) (out []int32) {
	if names == nil {
		return []int32{a.at(place{kind: atPods})}
	}
	for _, n := range names {
		out = append(out, a.at(place{kind: atNodePods, name: n}))
	}
	return out
}
