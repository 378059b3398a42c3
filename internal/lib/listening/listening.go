// Package listening says what a process listens on, out of /proc. It needs to
// be allowed to read the process's descriptors.
package listening

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// TCP returns the addresses that a process listens on, as its own network
// namespace has them.
func TCP(pid uint32) ([]netip.AddrPort, error) {
	held, err := Sockets(pid)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, table := range []string{"tcp", "tcp6"} {
		err := EachLine(filepath.Join("/proc", strconv.FormatUint(uint64(pid), 10), "net", table), func(fields []string) {
			// sl local rem st tx:rx tr:when retrnsmt uid timeout inode; 0A is LISTEN.
			if len(fields) < 10 || fields[3] != "0A" || !held[fields[9]] {
				return
			}
			if a, ok := address(fields[1]); ok {
				out = append(out, a)
			}
		})
		if err != nil && !os.IsNotExist(err) { // no IPv6
			return nil, err
		}
	}
	return out, nil
}

// Sockets returns the inodes of the sockets that a process has open.
func Sockets(pid uint32) (map[string]bool, error) {
	dir, err := os.OpenRoot(filepath.Join("/proc", strconv.FormatUint(uint64(pid), 10), "fd"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	list, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer list.Close()
	fds, err := list.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for _, fd := range fds {
		link, err := dir.Readlink(fd)
		if err != nil {
			continue
		}
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			held[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return held, nil
}

// EachLine calls f with the fields of each line of a file, as the kernel's
// tables have them.
func EachLine(path string, f func(fields []string)) error {
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

// address reads "0100007F:0948": the address as 32-bit words in the order of
// this machine, taken to be little-endian.
func address(s string) (netip.AddrPort, bool) {
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
