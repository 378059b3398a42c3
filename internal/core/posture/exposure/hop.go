// Package exposure works out who can get a command run in which container, and by
// which path.
//
// It is a graph. Its places are identities, pods, nodes, and sets of those that
// are reached together (every pod of a namespace, a new pod in it); its hops are
// grants and settings. A hop says what one step takes: an exec, a token that can
// be minted, a node that a pod can break out to. What an actor can reach is what
// the hops lead to. Pairs of actors and containers are never listed: on a large
// cluster there are more of them than anybody can read. The ids of the edges
// (X1 to X16, N1 to N3, D1 to D3) are those of the research that the model rests
// on; docs/guide/scan.md has them with their conditions. The package is pure.
package exposure

import (
	"cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Edge is a kind of step, by its id in docs/guide/scan.md.
type Edge string

// The kinds of steps.
const (
	EdgeExec        Edge = "X1"  // pods/exec
	EdgeAttach      Edge = "X2"  // pods/attach
	EdgeEphemeral   Edge = "X3"  // pods/ephemeralcontainers
	EdgeNodeProxy   Edge = "X4"  // nodes/proxy
	EdgeKubelet     Edge = "X5"  // the kubelet's port without asking anybody
	EdgeCreate      Edge = "X6"  // a new pod
	EdgeChange      Edge = "X7"  // another command for a pod that is there
	EdgeImpersonate Edge = "X9"  // act as somebody else
	EdgeMint        Edge = "X10" // a token for a service account
	EdgeSecret      Edge = "X11" // a token that is kept in a secret
	EdgeGrant       Edge = "X12" // give oneself a role
	EdgeCertificate Edge = "X13" // a client certificate
	EdgeRewrite     Edge = "X14" // change pods on their way in
	EdgeControl     Edge = "X15" // what others are asked by is changed
	EdgeBeyond      Edge = "X16" // what no role says: system:masters, a node's own rights
	EdgeNode        Edge = "N1"  // root on a node
	EdgeEscape      Edge = "N2"  // out of a container
	EdgeSibling     Edge = "N3"  // into another container of the pod
	EdgeSocket      Edge = "D1"  // a runtime's socket on the host
	EdgeMounted     Edge = "D2"  // a runtime's socket in a container
	EdgeTCP         Edge = "D3"  // the engine's port

	edgeMember Edge = "member" // of a group: no step that anybody takes
	edgeToken  Edge = "token"  // of a pod's service account
	edgeHolds  Edge = "holds"  // what a set consists of
)

// channels are the channels by which a step runs a command, as watch will see it, where
// that does not depend on what allows it.
var channels = map[Edge]event.Channel{
	EdgeEphemeral: event.ChannelKubeEphemeral, EdgeKubelet: event.ChannelKubeletRun, EdgeCreate: event.ChannelKubePod, EdgeChange: event.ChannelKubeWorkload,
}

// channel is that by which the step runs a command; "" when it runs none.
func (h *Hop) channel() event.Channel { return cmp.Or(h.by, channels[h.Edge]) }

// Hop is one step, and what allows it.
type Hop struct {
	Edge Edge
	// Grants are the rules that allow it, all of which are needed; numbers in the
	// index of grants.
	Grants []int
	// Setting is what allows it where no role does, in a person's words.
	Setting string
	// Unless says what may stand in its way and cannot be decided from here.
	Unless string
	// Usual says that the setting is as every new cluster has it.
	Usual bool
	// by is the channel of a stream, which depends on what allows it.
	by event.Channel
	// bound are the bindings besides those of the grants that it needs.
	bound []int
	// closers are the settings of which each takes it away when it is changed: numbers of the analysis' closers.
	closers []int
}
