package containerd

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// unixSocket is what the kernel says of one unix socket.
type unixSocket struct {
	name string // the path it is bound to; an accepted one has its listener's
	peer uint32 // inode of the other end
}

// unixSockets asks the kernel for all unix sockets of the network namespace by
// sock_diag(7), by inode. /proc/net/unix has them too, but not the peers.
func unixSockets() (map[uint32]unixSocket, error) {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddRawData(diagRequest())
	table := map[uint32]unixSocket{}
	err := req.ExecuteIter(unix.NETLINK_SOCK_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(msg []byte) bool {
		if inode, s, ok := parseDiag(msg); ok {
			table[inode] = s
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("list unix sockets: %w", err)
	}
	return table, nil
}

// From linux/unix_diag.h.
const (
	diagAttrName = 0 // UNIX_DIAG_NAME
	diagAttrPeer = 2 // UNIX_DIAG_PEER
	diagShowName = 1 << 0
	diagShowPeer = 1 << 2
	diagHeader   = 16 // sizeof(struct unix_diag_msg)
)

// diagRequest is a struct unix_diag_req: all states, names and peers.
func diagRequest() []byte {
	b := make([]byte, 24)
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], ^uint32(0))
	binary.NativeEndian.PutUint32(b[12:], diagShowName|diagShowPeer)
	return b
}

// parseDiag parses a struct unix_diag_msg and the attributes after it. It walks
// them itself: netlink's ParseRouteAttr panics on a last attribute that is not
// padded (found by FuzzParseDiag), and its UnixSocketDiagInfo reads names past
// their end.
func parseDiag(msg []byte) (inode uint32, s unixSocket, ok bool) {
	if len(msg) < diagHeader || msg[0] != unix.AF_UNIX {
		return 0, s, false
	}
	inode = binary.NativeEndian.Uint32(msg[4:])
	for b := msg[diagHeader:]; len(b) >= unix.SizeofRtAttr; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return 0, unixSocket{}, false
		}
		kind, value := binary.NativeEndian.Uint16(b[2:]), b[unix.SizeofRtAttr:n]
		switch {
		case kind == diagAttrName:
			s.name = strings.TrimRight(string(value), "\x00")
		case kind == diagAttrPeer && len(value) >= 4:
			s.peer = binary.NativeEndian.Uint32(value)
		}
		b = b[min(len(b), (n+3)&^3):] // attributes begin at multiples of four
	}
	return inode, s, true
}
