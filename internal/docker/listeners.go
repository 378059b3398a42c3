package docker

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Listeners finds the process that listens on a unix socket and the TCP
// addresses ("127.0.0.1:2376", "[::]:2376") that the same process listens on,
// out of /proc. It needs to be allowed to read the process's descriptors. When
// several processes hold the socket, as under systemd's socket activation, it
// takes the one that is not process 1.
func Listeners(socketPath string) (pid uint32, tcp []string, err error) {
	pid, err = listener(socketPath)
	if err != nil {
		return 0, nil, fmt.Errorf("listener of %s: %w", socketPath, err)
	}
	held, err := sockets(pid)
	if err != nil {
		return pid, nil, fmt.Errorf("listener of %s: %w", socketPath, err)
	}
	for _, table := range []string{"tcp", "tcp6"} {
		some, err := tcpListeners(filepath.Join(procDir(pid), "net", table), held)
		if err != nil && !os.IsNotExist(err) { // no IPv6
			return pid, nil, fmt.Errorf("listener of %s: %w", socketPath, err)
		}
		tcp = append(tcp, some...)
	}
	return pid, tcp, nil
}

func procDir(pid uint32) string { return "/proc/" + strconv.FormatUint(uint64(pid), 10) }

// listener finds the process that listens on a unix socket. The kernel's table
// shows those of our own network namespace; a process of another one is found by
// asking its socket.
func listener(path string) (uint32, error) {
	inodes, err := unixListeners("/proc/net/unix", path)
	if err == nil {
		return holder(inodes)
	}
	pid, peerErr := peerPID(path)
	if peerErr != nil || pid <= 1 {
		return 0, err
	}
	if inodes, err = unixListeners(filepath.Join(procDir(pid), "net", "unix"), path); err != nil {
		return 0, err
	}
	held, err := sockets(pid)
	if err != nil {
		return 0, err
	}
	for inode := range inodes {
		if held[inode] {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("process %d no longer holds it: %w", pid, os.ErrNotExist)
}

// unixListeners returns the inodes of the sockets that listen on path, out of a
// table of the kernel's.
func unixListeners(table, path string) (map[string]bool, error) {
	path = resolved(path)
	found := map[string]bool{}
	err := eachLine(table, func(fields []string) {
		// Num RefCount Protocol Flags Type St Inode Path; 0x10000 is SO_ACCEPTCON.
		if len(fields) >= 8 && fields[3] == "00010000" && fields[7][0] == '/' && resolved(strings.Join(fields[7:], " ")) == path {
			found[fields[6]] = true
		}
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("nobody listens: %w", os.ErrNotExist)
	}
	return found, err
}

// resolved follows symbolic links as far as they lead: /var/run is /run.
func resolved(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return filepath.Clean(path)
}

// holder finds the process that has one of the sockets open.
func holder(inodes map[string]bool) (uint32, error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	var first uint32
	for _, p := range procs {
		pid, err := strconv.ParseUint(p.Name(), 10, 32)
		if err != nil {
			continue
		}
		held, err := sockets(uint32(pid))
		if err != nil {
			continue // gone, or not ours to see
		}
		for inode := range inodes {
			if !held[inode] {
				continue
			}
			if pid != 1 {
				return uint32(pid), nil
			}
			first = 1
		}
	}
	if first == 0 {
		return 0, fmt.Errorf("no process that may be looked into holds it: %w", os.ErrPermission)
	}
	return first, nil
}

// sockets returns the inodes of the sockets that a process has open.
func sockets(pid uint32) (map[string]bool, error) {
	dir := filepath.Join(procDir(pid), "fd")
	fds, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for _, fd := range fds {
		link, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err != nil {
			continue
		}
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			held[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return held, nil
}

// tcpListeners returns the addresses in a table of the kernel's that listen and
// whose socket is held.
func tcpListeners(table string, held map[string]bool) ([]string, error) {
	var out []string
	err := eachLine(table, func(fields []string) {
		// sl local rem st tx:rx tr:when retrnsmt uid timeout inode; 0A is LISTEN.
		if len(fields) < 10 || fields[3] != "0A" || !held[fields[9]] {
			return
		}
		if a, ok := tcpAddress(fields[1]); ok {
			out = append(out, a.String())
		}
	})
	return out, err
}

// tcpAddress reads "0100007F:0948": the address as 32-bit words in the order of
// this machine, which is little-endian on all that Docker supports but s390x.
func tcpAddress(s string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	n, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(n)), ok
}

// eachLine calls f with the fields of each line of a file.
func eachLine(path string, f func(fields []string)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f(strings.Fields(lines.Text()))
	}
	return lines.Err()
}
