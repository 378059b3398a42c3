package docker

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/lib/listening"
	"github.com/sallyport/sallyport/internal/lib/process"
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
	all, err := listening.TCP(pid)
	if err != nil {
		return pid, nil, fmt.Errorf("listener of %s: %w", socketPath, err)
	}
	for _, a := range all {
		tcp = append(tcp, a.String())
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
	held, err := listening.Sockets(pid)
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
	err := listening.EachLine(table, func(fields []string) {
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
	pids, err := process.Here.All()
	if err != nil {
		return 0, err
	}
	var first uint32
	for _, pid := range pids {
		held, err := listening.Sockets(pid)
		if err != nil {
			continue // gone, or not ours to see
		}
		for inode := range inodes {
			if !held[inode] {
				continue
			}
			if pid != 1 {
				return pid, nil
			}
			first = 1
		}
	}
	if first == 0 {
		return 0, fmt.Errorf("no process that may be looked into holds it: %w", os.ErrPermission)
	}
	return first, nil
}
