package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/listening"
	"github.com/sallyport/sallyport/internal/lib/process"
)

// sockets finds the runtime sockets: those that somebody listens on, and those at
// the usual paths, where a rootless engine of another network namespace listens.
func (r *reader) sockets() {
	bound, err := listened()
	if err != nil {
		r.missed(inventory.PartSockets, err)
	}
	holders, all := holdersOf(bound)
	if !all {
		r.missed(inventory.PartSockets, fmt.Errorf("which process listens where: %w", fs.ErrPermission))
	}
	found := map[string]int{} // path -> pid
	for inode, socket := range bound {
		pid := holders[inode]
		if serviceOf(program(pid), socket) != "" {
			found[socket] = pid
		}
	}
	for _, pattern := range usualSockets {
		matches, _ := filepath.Glob(pattern) // the patterns are good
		for _, m := range matches {
			m = unlinked(m)
			if _, ok := found[m]; !ok {
				found[m] = 0
			}
		}
	}
	for socket, pid := range found {
		r.socket(socket, pid)
	}
	slices.SortFunc(r.host.Sockets, func(a, b inventory.Socket) int { return strings.Compare(a.Path, b.Path) })
}

// listened returns the paths of the listening sockets of our network namespace, by
// inode.
func listened() (map[string]string, error) {
	const acceptsConnections = "00010000" // __SO_ACCEPTCON in Flags
	out := map[string]string{}
	err := listening.EachLine("/proc/net/unix", func(f []string) {
		// Num RefCount Protocol Flags Type St Inode Path
		if len(f) >= 8 && f[3] == acceptsConnections && strings.HasPrefix(f[7], "/") {
			out[f[6]] = unlinked(strings.Join(f[7:], " "))
		}
	})
	return out, err
}

// holdersOf finds the processes that hold sockets, by inode. A shim or a helper may have
// inherited one: who is known by name comes first, and process 1 last. Of others nobody
// asks but for a socket that is a runtime's by its own name. all says that every process that
// matters could be looked into.
func holdersOf(sockets map[string]string) (holders map[string]int, all bool) {
	pids, err := process.Here.All()
	if err != nil {
		return nil, false
	}
	var known, others []uint32
	for _, pid := range pids {
		if programs[program(int(pid))] != "" {
			known = append(known, pid)
		} else {
			others = append(others, pid)
		}
	}
	holders, all = map[string]int{}, true
	look := func(pids []uint32) {
		for _, pid := range pids {
			held, err := listening.Sockets(pid)
			if errors.Is(err, fs.ErrPermission) {
				all = false
			}
			for inode := range held {
				if _, ok := sockets[inode]; ok && holders[inode] <= 1 {
					holders[inode] = int(pid)
				}
			}
		}
	}
	look(known)
	for inode, socket := range sockets {
		if holders[inode] == 0 && serviceOf("", socket) != "" {
			look(others)
			break
		}
	}
	return holders, all
}

// program returns the name of a process's program, "" when it is not known.
func program(pid int) string {
	if pid == 0 {
		return ""
	}
	name, err := process.Here.Name(uint32(pid))
	if err != nil {
		return ""
	}
	return name
}

// unlinked follows symbolic links as far as they lead: /var/run is /run.
func unlinked(name string) string {
	if p, err := filepath.EvalSymlinks(name); err == nil {
		return p
	}
	return filepath.Clean(name)
}

// socket adds a socket that is there.
func (r *reader) socket(name string, pid int) {
	st, acl, err := r.look(name)
	if err != nil {
		if pid != 0 || !errors.Is(err, fs.ErrNotExist) {
			// Perhaps in the mount namespace of who listens.
			r.missed(inventory.PartSockets, err)
		}
		return
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return
	}
	s := inventory.Socket{
		Service: serviceOf(program(pid), name), Path: name, PID: pid, ACL: acl,
		Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Device: st.Dev, Inode: st.Ino, Reachable: inventory.Yes,
	}
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		d, err := r.directory(dir)
		if err != nil {
			r.missed(inventory.PartSockets, err)
			s.Reachable = inventory.Unknown
		}
		s.Above = append(s.Above, d)
		if d.Mode&1 == 0 && s.Reachable == inventory.Yes {
			s.Reachable = inventory.No
		}
		if dir == "/" {
			break
		}
	}
	slices.Reverse(s.Above)
	r.host.Sockets = append(r.host.Sockets, s)
}

func (r *reader) directory(name string) (inventory.Directory, error) {
	d := inventory.Directory{Path: name}
	st, acl, err := r.look(name)
	if err == nil {
		d.Mode, d.UID, d.GID, d.ACL, d.Device, d.Inode = st.Mode&0o7777, st.Uid, st.Gid, acl, st.Dev, st.Ino
	}
	return d, err
}

// look returns what the kernel knows of a file, and its access control list.
func (r *reader) look(name string) (*unix.Stat_t, []string, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return nil, nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	b := make([]byte, aclMax)
	n, err := unix.Getxattr(name, "system.posix_acl_access", b)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return &st, nil, nil
	case err != nil:
		return nil, nil, &fs.PathError{Op: "getxattr", Path: name, Err: err}
	}
	acl, err := ACL(b[:n], r.host.Users, r.host.Groups)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return &st, acl, err
}

// Resolve makes the paths of a container's mounts those of the host without links,
// with the files' numbers where somebody may look.
func Resolve(mounts []inventory.HostPath) {
	for i := range mounts {
		m := &mounts[i]
		m.Path = unlinked(m.Path)
		var st unix.Stat_t
		if unix.Stat(m.Path, &st) == nil {
			m.Device, m.Inode = st.Dev, st.Ino
		}
	}
}
