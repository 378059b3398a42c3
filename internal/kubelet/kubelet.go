// Package kubelet finds this node's kubelet and the TCP ports that it serves:
// whoever connects there can have commands run without asking the API server
// (channels KL-*).
package kubelet

import (
	"net/netip"
	"slices"

	"github.com/sallyport/sallyport/internal/lib/listening"
	"github.com/sallyport/sallyport/internal/lib/process"
)

// Node is a running kubelet.
type Node struct {
	PID uint32
	// Addresses are what it listens on beyond the host itself: its API
	// (port 10250), and the read-only port if that is on.
	Addresses []netip.AddrPort
	// Believed says that it is a kubelet, and not a process that is called one: it
	// is root's, and listens on the kubelet's port, or is the only one so called.
	// Whoever is root in a network namespace of his own can be so, too.
	Believed bool
}

// Port is where a kubelet serves unless its configuration says otherwise.
const Port = 10250

// Find returns the kubelets of this machine; more than one in test beds only.
// It goes by the program's name, which anybody can take: what is found so is
// watched; what is to be trusted is Believed.
func Find() []Node {
	pids, _ := process.Here.Named("kubelet") // one that cannot be looked into is not found
	var out []Node
	for _, pid := range pids {
		all, err := listening.TCP(pid)
		if err != nil {
			continue // gone, or not ours to see
		}
		n := Node{PID: pid, Addresses: slices.DeleteFunc(all, func(a netip.AddrPort) bool { return a.Addr().IsLoopback() })}
		if len(n.Addresses) > 0 {
			out = append(out, n)
		}
	}
	for i := range out {
		roots, err := process.Here.RootsOwn(out[i].PID)
		out[i].Believed = err == nil && roots && (len(out) == 1 || out[i].serves(Port))
	}
	return out
}

func (n Node) serves(port uint16) bool {
	return slices.ContainsFunc(n.Addresses, func(a netip.AddrPort) bool { return a.Port() == port })
}
