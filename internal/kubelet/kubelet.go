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
	for i := range out {
		out[i].Believed = rootsOwn(out[i].PID) && (len(out) == 1 || out[i].serves(Port))
	}
	return out
}

func (n Node) serves(port uint16) bool {
	return slices.ContainsFunc(n.Addresses, func(a netip.AddrPort) bool { return a.Port() == port })
}

// rootsOwn reports whether a process is root's, as this one sees it.
func rootsOwn(pid uint32) bool {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.FormatUint(uint64(pid), 10), "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok { // real, effective, saved, file system
			return slices.Equal(strings.Fields(ids), []string{"0", "0", "0", "0"})
		}
	}
	return false
}

func name(pid string) string {
	b, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	return strings.TrimSpace(string(b))
}
