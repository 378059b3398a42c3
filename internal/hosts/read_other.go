//go:build !linux

package hosts

import (
	"runtime"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Read says that there is nothing that it can read.
func Read() (*inventory.Host, []inventory.Unread, []inventory.Skipped) {
	return &inventory.Host{}, []inventory.Unread{{
		What: inventory.PartAccounts, From: "host", Why: "hosts of " + runtime.GOOS + " are not read",
		Help: "sallyport scan collect --from host -o host.scan on the Linux machine, then --from host.scan here",
	}}, nil
}

// Resolve leaves mounts as they are.
func Resolve([]inventory.HostPath) {}
