//go:build !(linux && (amd64 || arm64))

package kernel

import (
	"errors"
	"net"

	"github.com/sallyport/sallyport/internal/core/event"
)

// SocketPeer gives the address alone: on this system nobody says more.
func SocketPeer(c net.Conn) (event.ConnID, event.Peer) {
	if a := c.RemoteAddr(); a != nil && a.Network() != "unix" {
		return 0, event.Peer{Address: a.String()}
	}
	return 0, event.Peer{}
}

// PeerGroups does not know.
func PeerGroups(net.Conn) ([]uint32, error) { return nil, errors.ErrUnsupported }

// ProcessOf names the process that has a pid now: on this system, by its pid alone.
func ProcessOf(pid uint32) event.ProcessID { return event.ProcessID{PID: pid} }
