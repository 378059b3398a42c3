//go:build !linux

package containerd

import (
	"fmt"
	"net"
	"runtime"
)

func peerPID(net.Conn) uint32 { return 0 }

// Find returns the socket of the containerd that the Docker daemon behind
// dockerSocket uses. It needs Linux.
func Find(dockerSocket string) (address string, err error) {
	return "", fmt.Errorf("find containerd of %s: not possible on %s", dockerSocket, runtime.GOOS)
}

// Of returns the socket of the containerd that a process uses. It needs Linux.
func Of(int) string { return "" }
