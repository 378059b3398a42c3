//go:build linux && (amd64 || arm64)

package kernel

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
)

// doors are the service sockets. The kernel knows each by the inode of its
// socket file, which changes when the service starts anew, and by name.
type doors struct {
	list       []*door
	maps       *sensorMaps
	generation *ebpf.Variable
	changes    uint32
	clock      *clock
}

// door is one service socket; its number is its position plus one.
type door struct {
	Socket
	number uint32
	names  []string // aliases of Path
	file   fileKey  // zero while there is no socket
	since  uint64   // when the kernel was told of file, in ns since boot
}

type fileKey struct {
	dev uint64 // as stat reports it
	ino uint64
}

// asks reports whether the service speaks a protocol that OnSegment may
// understand.
func (d *door) asks() bool { return d.bits() != sensorDoorDOOR_PEERS_ONLY }

// bits is what the kernel is told of the service's protocol: HTTP/1, as Docker
// and Podman speak, or HTTP/2 below gRPC.
func (d *door) bits() sensorDoor {
	switch d.Service {
	case event.ServiceDocker, event.ServicePodman:
		return 0
	case event.ServiceContainerd, event.ServiceCRIO:
		return sensorDoorDOOR_HTTP2
	default:
		return sensorDoorDOOR_PEERS_ONLY
	}
}

// newDoors tells the kernel of the sockets.
func newDoors(sockets []Socket, objs *sensorObjects, c *clock) (*doors, error) {
	ds := &doors{maps: &objs.sensorMaps, generation: objs.DoorsGeneration, clock: c}
	for _, s := range sockets {
		d := &door{Socket: s, number: uint32(len(ds.list) + 1), names: aliases(s.Path)}
		ds.list = append(ds.list, d)
		if err := ds.name(d); err != nil {
			return nil, fmt.Errorf("watch socket %s: %w", s.Path, err)
		}
	}
	return ds, ds.refresh()
}

// name tells the kernel the names of a socket. A name that is longer than an
// address can be is one that nobody connects to; the file is known all the same.
func (ds *doors) name(d *door) error {
	for _, p := range d.names {
		var key sensorPathKey
		if copySigned(key.Path[:], p) < len(p) {
			continue
		}
		if err := ds.maps.DoorPaths.Put(key, d.number); err != nil {
			return err
		}
	}
	var key sensorNameKey
	copySigned(key.Name[:], filepath.Base(d.Path))
	return ds.maps.DoorNames.Put(key, d.number)
}

// aliases lists the names under which clients know a socket: as given, without
// symbolic links, and below /run or /var/run, which are the same.
func aliases(path string) []string {
	out := []string{path}
	add := func(p string) {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		add(filepath.Join(dir, filepath.Base(path)))
	}
	if file, err := filepath.EvalSymlinks(path); err == nil {
		add(file)
	}
	for _, p := range out {
		if rest, ok := strings.CutPrefix(p, "/var/run/"); ok {
			add("/run/" + rest)
		} else if rest, ok := strings.CutPrefix(p, "/run/"); ok {
			add("/var/run/" + rest)
		}
	}
	return out
}

// copySigned copies a path into a C string, leaving room for its end.
func copySigned(to []int8, s string) int {
	n := min(len(s), len(to)-1)
	for i := range n {
		to[i] = int8(s[i])
	}
	return n
}

// refresh looks for sockets that came, went or were made anew.
func (ds *doors) refresh() error {
	var errs []error
	for _, d := range ds.list {
		if err := ds.refreshOne(d); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (ds *doors) refreshOne(d *door) error {
	file := statSocket(d.Path)
	if file == d.file || file == (fileKey{}) {
		return nil // a socket that was unlinked may still serve
	}
	value := d.number | uint32(d.bits())
	if err := ds.maps.Doors.Put(file.key(), value); err != nil {
		return fmt.Errorf("watch socket %s: %w", d.Path, err)
	}
	if d.file != (fileKey{}) {
		if err := ds.maps.Doors.Delete(d.file.key()); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget socket %s: %w", d.Path, err)
		}
	}
	d.file = file
	ds.changes++
	if err := ds.generation.Set(ds.changes); err != nil {
		return fmt.Errorf("watch socket %s: %w", d.Path, err)
	}
	d.since = ds.clock.now()
	return nil
}

// tapped reports whether the first byte of a connection that was made at that
// moment was seen: its client was told so by the kernel, and the kernel knew the
// socket. A service that starts anew has one that it does not know for a while.
func (d *door) tapped(k *sensorClient, at uint64) bool {
	return d.asks() && d.since != 0 && d.since < at && k.Flags&uint32(sensorFlagFLAG_TAPPED) != 0
}

func statSocket(path string) fileKey {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fileKey{}
	}
	return fileKey{dev: st.Dev, ino: st.Ino}
}

func (k fileKey) key() sensorFileKey {
	return sensorFileKey{Inode: k.ino, Device: kernelDevice(k.dev)}
}

// get returns the door of that number, nil when there is none.
func (ds *doors) get(number uint32) *door {
	if number == 0 || int(number) > len(ds.list) {
		return nil
	}
	return ds.list[number-1]
}

// named returns the doors with that path, letter by letter or by its last
// component.
func (ds *doors) named(path string) []*door {
	var exact, base []*door
	for _, d := range ds.list {
		if slices.Contains(d.names, path) {
			exact = append(exact, d)
		}
		if filepath.Base(d.Path) == filepath.Base(path) {
			base = append(base, d)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return base
}

// match says which door a client connected to. Names prove little: another
// mount namespace has other files behind them, and another directory has other
// sockets of the same name. While the client lives, the file decides. When that
// cannot be told any more, the name has to do: one candidate too many is
// better than one too few.
func (ds *doors) match(r *connectRecord, ownMounts bool) *door {
	candidates := ds.named(r.path)
	if len(candidates) == 0 {
		return nil
	}
	if ownMounts && r.Head.Flags&uint16(sensorFlagFLAG_EXACT) != 0 {
		return candidates[0]
	}
	st, err := statIn(r.Client.Id.Pid, r.path)
	switch {
	case errors.Is(err, errNoFile):
		return nil // there is nothing behind the name: the connect failed
	case err != nil:
		return candidates[0]
	}
	return ds.behind(fileKey{dev: st.Dev, ino: st.Ino})
}

// behind returns the door with that socket file.
func (ds *doors) behind(file fileKey) *door {
	for _, d := range ds.list {
		if d.file != file {
			_ = ds.refreshOne(d) // it may be a new one; the next chore reports why not
		}
		if d.file == file {
			return d
		}
	}
	return nil
}

// ownMountNS is the number of the sensor's own mount namespace.
func ownMountNS() uint32 {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/mnt", &st) != nil {
		return 0
	}
	return uint32(st.Ino)
}
