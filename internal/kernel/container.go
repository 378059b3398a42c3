package kernel

import (
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// containerOf finds a container's id in the names of a cgroup and its parents,
// the deepest first. Known are the forms of Docker, containerd, CRI-O and
// Podman with the cgroupfs and systemd drivers:
//
//	<64 hex>                                  cgroupfs: Docker, containerd's CRI, CRI-O
//	docker-<id>.scope, cri-containerd-<id>.scope, crio-<id>.scope, libpod-<id>.scope
//	cri-containerd:<id>, crio-<id>, libpod-<id>
//
// An id is 64 hexadecimal digits; other names prove nothing here, because any
// process may make a cgroup of any name: see placeTable for those. CRI-O's and
// Podman's conmon lives in a neighbour of its container ("crio-conmon-<id>"):
// that is no container.
func containerOf(cgroup []string) (event.ContainerID, bool) {
	for _, name := range cgroup {
		if id, ok := containerID(name); ok {
			return id, true
		}
	}
	return "", false
}

func containerID(name string) (event.ContainerID, bool) {
	name = strings.TrimSuffix(name, ".scope")
	// Docker's and containerd's ids have no separators: what precedes the last
	// one is the runtime's prefix.
	if i := strings.LastIndexAny(name, "-:"); i >= 0 {
		if strings.Contains(name[:i], "conmon") {
			return "", false
		}
		name = name[i+1:]
	}
	return event.ContainerID(name), isHexID(name)
}

func isHexID(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// named is the id of a container whose first process has this cgroup, when a
// runtime has just started it: runc and ctr take any name for an id and call
// the cgroup after it ("c1", or "runc-c1.scope" with systemd).
func named(cgroup []string) event.ContainerID {
	if len(cgroup) == 0 {
		return ""
	}
	name, scope := strings.CutSuffix(cgroup[0], ".scope")
	if _, id, ok := strings.Cut(name, "-"); scope && ok {
		name = id
	}
	return event.ContainerID(name)
}

// place is where a process lives: the number of its mount namespace, which no
// other of this boot has, and that of its pid namespace, which is reused.
type place struct {
	mnt uint64
	pid uint32
}

// container is what is known of a place.
type container struct {
	id     event.ContainerID
	cgroup string // name of the container's own cgroup
}

// placeTable knows which container a place belongs to: by mount namespace
// first, by pid namespace second. Neither can be had without being in the
// container; a cgroup can, and nsenter keeps the caller's.
type placeTable struct {
	mnt map[uint64]container
	pid map[uint32]container
}

// placesMax bounds the namespaces remembered. Beyond it any one is forgotten:
// its container is then found by cgroup.
const placesMax = 16384

func newPlaceTable() *placeTable {
	return &placeTable{mnt: map[uint64]container{}, pid: map[uint32]container{}}
}

// learn notes that a container's first process lives at p. ownPIDs says that
// the container made the pid namespace.
func (t *placeTable) learn(p place, c container, ownPIDs bool) {
	if p.mnt != 0 {
		put(t.mnt, p.mnt, c, placesMax)
	}
	if ownPIDs && p.pid != 0 {
		put(t.pid, p.pid, c, placesMax)
	}
}

// forget drops what was known of a place whose container is gone.
func (t *placeTable) forget(p place) {
	delete(t.mnt, p.mnt)
	delete(t.pid, p.pid)
}

// at returns the container at p.
func (t *placeTable) at(p place) (container, bool) {
	if c, ok := t.mnt[p.mnt]; ok {
		return c, true
	}
	c, ok := t.pid[p.pid]
	return c, ok
}

// holds reports whether a process with this cgroup is in the container's.
func (c container) holds(cgroup []string) bool {
	for _, name := range cgroup {
		if id, ok := containerID(name); ok && id == c.id || c.cgroup != "" && name == c.cgroup {
			return true
		}
	}
	return false
}

// put keeps a map within its bound: beyond it any one entry goes.
func put[K comparable, V any](m map[K]V, k K, v V, bound int) {
	if _, ok := m[k]; !ok && len(m) >= bound {
		for old := range m {
			delete(m, old)
			break
		}
	}
	m[k] = v
}
