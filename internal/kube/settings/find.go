package settings

import (
	"fmt"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/process"
)

// FindAPIServers returns the processes that are called kube-apiserver: those that are
// root's own, and others, which anybody may have called so. Where an API server runs as
// another user its static pod tells: see Host.
func FindAPIServers() (roots, others []int) {
	pids, _ := process.Here.Named(apiServerName) // one that cannot be looked into is not found
	for _, pid := range pids {
		own, err := process.Here.RootsOwn(pid)
		switch {
		case err != nil: // it has ended
		case own:
			roots = append(roots, int(pid))
		default:
			others = append(others, int(pid))
		}
	}
	return roots, others
}

// The programs that are a kubelet, an API server or both in one process, with flags and files
// of their own.
const (
	k3sServer = "k3s-server"
	k3sAgent  = "k3s-agent" // no API server
	kubelite  = "kubelite"
)

// Combined says what is not read of the machine's processes that are a kubelet or an
// API server among others. name is the machine's.
func Combined(name string) []inventory.Unread {
	var out []inventory.Unread
	pids, _ := process.Here.Named(k3sServer, k3sAgent, kubelite)
	for _, pid := range pids {
		program, err := process.Here.Name(pid)
		own, err2 := process.Here.RootsOwn(pid)
		if err != nil || err2 != nil || !own {
			continue
		}
		why := fmt.Sprintf("process %d (%s) has it inside, and its flags and files are not read", pid, program)
		if program != k3sAgent {
			out = append(out, inventory.Unread{What: inventory.PartAPIServer, From: name, Why: why})
		}
		out = append(out, inventory.Unread{
			What: inventory.PartKubelet, From: name, Why: why,
			Help: "kubectl get --raw /api/v1/nodes/NODE/proxy/configz > FILE, and scan with --from FILE as well",
		})
	}
	return out
}
