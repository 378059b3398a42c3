// Package kubelet finds this node's kubelet and the TCP ports that it serves:
// whoever connects there can have commands run without asking the API server
// (channels KL-*).
package kubelet

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/lib/listening"
)

// Node is a running kubelet.
type Node struct {
	PID uint32
	// Addresses are what it listens on beyond the host itself: its API
	// (port 10250), and the read-only port if that is on.
	Addresses []netip.AddrPort
}

// Find returns the kubelets of this machine; more than one in test beds only.
// It goes by the program's name, which anybody can take: what is found so is
// watched, not trusted.
func Find() []Node {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []Node
	for _, p := range procs {
		pid, err := strconv.ParseUint(p.Name(), 10, 32)
		if err != nil || name(p.Name()) != "kubelet" {
			continue
		}
		all, err := listening.TCP(uint32(pid))
		if err != nil {
			continue // gone, or not ours to see
		}
		n := Node{PID: uint32(pid), Addresses: slices.DeleteFunc(all, func(a netip.AddrPort) bool { return a.Addr().IsLoopback() })}
		if len(n.Addresses) > 0 {
			out = append(out, n)
		}
	}
	return out
}

func name(pid string) string {
	b, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	return strings.TrimSpace(string(b))
}
