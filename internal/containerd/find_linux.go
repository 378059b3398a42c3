package containerd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/lib/process"
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
		if a := Of(pid); a != "" {
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

// Of returns the socket of the containerd that a process uses: the one it is connected to,
// else the one that its child process serves; "" when there is neither.
func Of(pid int) string {
	if a := connected(pid); a != "" {
		return a
	}
	return served(pid)
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
	all, _ := process.Here.All()
	for _, pid := range all {
		for inode := range sockets(int(pid)) {
			if inodes[inode] {
				pids = append(pids, int(pid))
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

// served returns the socket of a containerd that the process runs as its child,
// from the child's arguments: dockerd starts it with "--config FILE" beside
// which it puts the socket.
func served(daemon int) string {
	all, _ := process.Here.All()
	for _, pid := range all {
		if process.Here.Parent(pid) != uint32(daemon) {
			continue
		}
		args, err := process.Here.CommandLine(pid)
		if err != nil {
			continue
		}
		if a := fromArgs(args); a != "" && isSocket(a) {
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
