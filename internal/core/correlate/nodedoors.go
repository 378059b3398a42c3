package correlate

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// nodeDoorsWatched reports whether every client of the kubelet's port and of
// the runtime's socket is known at t.
func (c *coverage) nodeDoorsWatched(t time.Time) bool {
	k := c.at(event.WitnessKernel, t)
	return k != nil && k.Peers && c.portWatched(t)
}

// portWatched reports whether every client of the kubelet's port is known at t.
func (c *coverage) portWatched(t time.Time) bool {
	k := c.at(event.WitnessKernel, t)
	return k != nil && k.Up && slices.Contains(k.Ports, event.ServiceKubelet) &&
		c.whole(event.WitnessKernel, "process", t.Add(-skew), t.Add(skew))
}

// isKubelet and isAPIServer go by what a local process is called: by its file,
// its name, or its first argument, as of a program that is several in one. Where
// the kernel sensor knows which processes serve the kubelet's port, no other is
// a kubelet.
func (c *coverage) isKubelet(p event.Peer) bool {
	return called(p, "kubelet") && (len(c.kubelets) == 0 || slices.Contains(c.kubelets, p.ID.PID))
}

// isAPIServer says nothing of a process that is elsewhere.
func isAPIServer(p event.Peer) bool { return called(p, "kube-apiserver") }

func called(p event.Peer, name string) bool {
	return base(string(p.Exe)) == name || string(p.Comm) == name || len(p.Argv.Args) > 0 && base(p.Argv.Args[0]) == name
}
