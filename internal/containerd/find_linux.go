package containerd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Find returns the socket of the containerd that the Docker daemon behind
// dockerSocket uses: the one it is connected to, else the one that its child
// process serves, else the usual one. Seeing another process's sockets needs
// root; without it only the usual ones can be found.
//
// The path is as the daemon's containerd bound it, so it is right in the mount
// namespace of that containerd. An error says that no such socket exists.
func Find(dockerSocket string) (address string, err error) {
	daemons, err := listeners(strings.TrimPrefix(dockerSocket, "unix://"))
	for _, pid := range daemons {
		if a := connected(pid); a != "" {
			return a, nil
		}
		if a := served(pid); a != "" {
			return a, nil
		}
	}
	for _, a := range Usual() {
		if isSocket(a) {
			return a, nil
		}
	}
	if err == nil {
		err = errors.New("the daemon has no connection to a containerd, and none is at the usual places")
	}
	return "", fmt.Errorf("find containerd of %s: %w", dockerSocket, err)
}

func isSocket(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&os.ModeSocket != 0
}

// listeners returns the processes that hold the listening socket at path. With
// socket activation systemd (pid 1) holds it as well; it comes last.
func listeners(path string) ([]int, error) {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	want := []string{path}
	if p, err := filepath.EvalSymlinks(path); err == nil && p != path {
		want = append(want, p) // /var/run is a link to /run
	}
	inodes := listening(f, want)
	if len(inodes) == 0 {
		return nil, fmt.Errorf("nobody listens on %s", path)
	}
	pids := holders(inodes)
	slices.SortFunc(pids, func(a, b int) int { return b - a })
	return pids, nil
}

// listening returns the inodes of the listening sockets bound to one of the
// paths, from a table in the form of /proc/net/unix:
//
//	Num RefCount Protocol Flags Type St Inode Path
func listening(table io.Reader, paths []string) map[uint64]bool {
	const acceptsConnections = "00010000" // __SO_ACCEPTCON in Flags
	inodes := map[uint64]bool{}
	for s := bufio.NewScanner(table); s.Scan(); {
		f := strings.SplitN(strings.TrimSpace(s.Text()), " ", 2)
		if len(f) < 2 {
			continue
		}
		// A path may hold blanks: it is all that follows the seventh column.
		cols := strings.Fields(f[1])
		if len(cols) < 7 || cols[2] != acceptsConnections {
			continue
		}
		_, path, _ := strings.Cut(f[1], " "+cols[5]+" ")
		if inode, err := strconv.ParseUint(cols[5], 10, 64); err == nil && slices.Contains(paths, path) {
			inodes[inode] = true
		}
	}
	return inodes
}

// holders returns the processes that have one of the sockets open.
func holders(inodes map[uint64]bool) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil {
			continue
		}
		for inode := range sockets(pid) {
			if inodes[inode] {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// sockets returns the inodes of the sockets that a process has open.
func sockets(pid int) map[uint64]bool {
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	inodes := map[uint64]bool{}
	for _, fd := range fds {
		link, err := os.Readlink(dir + fd.Name())
		if err != nil {
			continue
		}
		if s, ok := strings.CutPrefix(link, "socket:["); ok {
			if n, err := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 64); err == nil {
				inodes[n] = true
			}
		}
	}
	return inodes
}

// connected returns the path ending in containerd.sock that a process has a
// connection to, "" when there is none.
func connected(pid int) string {
	own := sockets(pid)
	table, err := unixSockets()
	if err != nil {
		return ""
	}
	for inode := range own {
		name := table[table[uint32(inode)].peer].name
		if filepath.Base(name) == "containerd.sock" && isSocket(name) {
			return name
		}
	}
	return ""
}

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

// served returns the socket of a containerd that the process runs as its child,
// from the child's arguments: dockerd starts it with "--config FILE" beside
// which it puts the socket.
func served(daemon int) string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if parent(d) != daemon {
			continue
		}
		b, err := os.ReadFile(d + "/cmdline")
		if err != nil {
			continue
		}
		if a := fromArgs(strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")); a != "" && isSocket(a) {
			return a
		}
	}
	return ""
}

// fromArgs returns where the containerd with these arguments has its socket,
// "" when they do not say or it is not a containerd.
func fromArgs(args []string) string {
	if filepath.Base(args[0]) != "containerd" {
		return ""
	}
	for i, a := range args[:len(args)-1] {
		switch a {
		case "-a", "--address":
			return args[i+1]
		case "-c", "--config":
			return filepath.Join(filepath.Dir(args[i+1]), "containerd.sock")
		}
	}
	return ""
}

// parent returns the parent's pid of the process with the given /proc
// directory, 0 when it is gone.
func parent(dir string) int {
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(f[1])
	return ppid
}
