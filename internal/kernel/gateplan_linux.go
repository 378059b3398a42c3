//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// gatePlan is a configuration as the kernel is told of it.
type gatePlan struct {
	setup     gateSetup
	listeners map[gateListener]uint32
	files     map[gateFileId]uint32
	exes      []gateExeId
	uids      []uint32
	cgroups   []uint64
	absent    []string
}

// planGate looks up everything that a configuration names.
func planGate(c GateConfig, sockets *listeners) (*gatePlan, error) {
	plan := &gatePlan{listeners: map[gateListener]uint32{}, files: map[gateFileId]uint32{}, uids: c.UIDs}
	if c.Enforce {
		plan.setup.Enforce = 1
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return nil, fmt.Errorf("look at own pid namespace: %w", err)
	}
	plan.setup.PidNs = uint32(st.Ino)
	for i, path := range c.Sockets {
		if err := plan.socket(path, uint32(i+1), sockets); err != nil {
			return nil, err
		}
	}
	for _, e := range c.Exes {
		f, err := fileAt(e.Path)
		if err != nil {
			return nil, fmt.Errorf("allow executable %s: %w", e.Path, err)
		}
		plan.exes = append(plan.exes, gateExeId{Inode: f.inode, Device: f.device, Uid: e.UID})
	}
	for _, path := range c.Cgroups {
		id, err := cgroupID(path)
		if err != nil {
			return nil, err
		}
		plan.cgroups = append(plan.cgroups, id)
	}
	return plan, nil
}

// socket plans for one socket: for whoever listens at it now, and for those who
// will bind one of the same name.
func (p *gatePlan) socket(path string, number uint32, sockets *listeners) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("guard socket %s: the path is not absolute", path)
	}
	at, found, err := sockets.at(path)
	if err != nil {
		return fmt.Errorf("guard socket %s: %w", path, err)
	}
	if found {
		p.listeners[at.At], p.files[at.File] = number, number
	} else {
		p.absent = append(p.absent, path)
	}
	dir, err := fileAt(filepath.Dir(path))
	switch {
	case errors.Is(err, unix.ENOENT) && !found:
		return fmt.Errorf("guard socket %s: its directory is not there", path)
	case err != nil:
		return fmt.Errorf("guard socket %s: %w", path, err)
	}
	for _, name := range aliases(path) {
		key := gateListener{Device: dir.device}
		if copy(key.Path[:len(key.Path)-1], name) == len(name) {
			p.listeners[key] = number
		}
	}
	return nil
}

// fill tells the kernel.
func (p *gatePlan) fill(objs *ebpf.Collection) error {
	one := uint8(1)
	errs := []error{objs.Maps[gateMapSettings].Put(uint32(0), p.setup)}
	for k, v := range p.listeners {
		errs = append(errs, objs.Maps[gateMapListeners].Put(k, v))
	}
	for k, v := range p.files {
		errs = append(errs, objs.Maps[gateMapFiles].Put(k, v))
	}
	for _, k := range p.exes {
		errs = append(errs, objs.Maps[gateMapExes].Put(k, one))
	}
	for _, k := range p.uids {
		errs = append(errs, objs.Maps[gateMapUids].Put(k, one))
	}
	for _, k := range p.cgroups {
		errs = append(errs, objs.Maps[gateMapCgroups].Put(k, one))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("tell the gate whom to let through: %w", err)
	}
	return nil
}

// listeners lists the sockets that listen at a path, in this network namespace.
type listeners struct {
	program *ebpf.Program
	it      *link.Iter
}

// loadListeners loads the gate's programs, and into the kernel the one that lists.
func loadListeners() (*ebpf.CollectionSpec, *listeners, error) {
	spec, err := loadGate()
	if err != nil {
		return nil, nil, fmt.Errorf("read gate programs: %w", err)
	}
	l, err := newListeners(spec)
	if err != nil {
		return nil, nil, &GateUnavailableError{Tried: []GateAttempt{{gateListing, err}}}
	}
	return spec, l, nil
}

// Listening says which of the sockets at some paths somebody listens at, and who
// began to. The error is a *GateUnavailableError when the kernel does not tell.
func Listening(paths []string) (map[string]uint32, error) {
	_, sockets, err := loadListeners()
	if err != nil {
		return nil, err
	}
	defer sockets.close()
	pids := map[string]uint32{}
	for _, path := range paths {
		s, ok, err := sockets.at(path)
		if err != nil {
			return nil, fmt.Errorf("look at socket %s: %w", path, err)
		}
		if ok {
			pids[path] = s.Pid
		}
	}
	return pids, nil
}

func newListeners(spec *ebpf.CollectionSpec) (*listeners, error) {
	var objs struct {
		Find *ebpf.Program `ebpf:"find_listeners"`
	}
	if err := spec.LoadAndAssign(&objs, nil); err != nil {
		return nil, loadError(err)
	}
	it, err := link.AttachIter(link.IterOptions{Program: objs.Find})
	if err != nil {
		objs.Find.Close()
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	return &listeners{objs.Find, it}, nil
}

func (l *listeners) close() {
	l.it.Close()
	l.program.Close()
}

func (l *listeners) list() ([]gateOpenListener, error) {
	f, err := l.it.Open()
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	defer f.Close()
	var b bytes.Buffer
	b.Grow(1 << 16) // the fewer reads, the fewer sockets that come and go between them
	if _, err := b.ReadFrom(f); err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	list := make([]gateOpenListener, b.Len()/int(unsafe.Sizeof(gateOpenListener{})))
	if err := binary.Read(&b, binary.NativeEndian, list); err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	return list, nil
}

// at finds what the kernel knows of the socket that listens at a path; false
// when nobody does. Sockets that come and go may hide one from one look.
func (l *listeners) at(path string) (found gateOpenListener, ok bool, err error) {
	f, err := fileAt(path)
	if errors.Is(err, unix.ENOENT) {
		return found, false, nil
	}
	if err != nil {
		return found, false, err
	}
	for range 3 {
		open, err := l.list()
		if err != nil {
			return found, false, err
		}
		for _, o := range open {
			if o.File.Inode == f.inode && o.File.Device == f.device {
				return o, true, nil
			}
		}
	}
	return found, false, nil
}

// kernelFile is a file as programs in the kernel see it.
type kernelFile struct {
	inode  uint64
	device uint32 // of its file system: stat's is another with btrfs
}

// fileAt finds the file behind a path.
func fileAt(path string) (kernelFile, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return kernelFile{}, err
	}
	device := unix.Mkdev(st.Dev_major, st.Dev_minor)
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		if d, ok := mountDevice(string(mounts), st.Mnt_id); ok {
			device = d
		}
	}
	return kernelFile{inode: st.Ino, device: kernelDevice(device)}, nil
}

// mountDevice finds the device of a mount's file system in mountinfo.
func mountDevice(mountinfo string, id uint64) (uint64, bool) {
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 || f[0] != strconv.FormatUint(id, 10) {
			continue
		}
		major, minor, _ := strings.Cut(f[2], ":")
		a, err1 := strconv.ParseUint(major, 10, 32)
		b, err2 := strconv.ParseUint(minor, 10, 32)
		return unix.Mkdev(uint32(a), uint32(b)), err1 == nil && err2 == nil
	}
	return 0, false
}

// cgroupID returns the number of a cgroup in the hierarchy that own_cgroup of
// the programs looks at: the one that counts processes, else the unified one.
func cgroupID(path string) (uint64, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return 0, fmt.Errorf("allow cgroup %s: %w", path, err)
	}
	root := cgroupMount(string(mounts))
	if root == "" {
		return 0, fmt.Errorf("allow cgroup %s: no hierarchy is mounted that counts processes, or a cgroup2 one", path)
	}
	if path != root && !strings.HasPrefix(path, root+"/") {
		path = filepath.Join(root, path)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("allow cgroup %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, fmt.Errorf("allow cgroup %s: it is no directory", path)
	}
	return st.Ino, nil
}

// cgroupMount finds where that hierarchy is mounted.
func cgroupMount(mountinfo string) (root string) {
	for line := range strings.Lines(mountinfo) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 5 || len(r) < 3 || l[3] != "/" {
			continue
		}
		switch {
		case r[0] == "cgroup" && slices.Contains(strings.Split(r[2], ","), "pids"):
			return l[4]
		case r[0] == "cgroup2" && root == "":
			root = l[4]
		}
	}
	return root
}

// tryGate lets the gate refuse a connect to a socket of our own, which it
// refuses to everybody, whatever else it was told.
func tryGate(objs *ebpf.Collection, hook GateHook, sockets *listeners) error {
	dir, err := os.MkdirTemp("", "sallyport-gate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "probe")
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("try the gate: %w", err)
	}
	defer l.Close()
	own, ok, err := sockets.at(path)
	if err == nil && !ok {
		err = errNotListed
	}
	if err != nil {
		return fmt.Errorf("try the gate: %w", err)
	}
	key, file := own.At, own.File
	listeners, files := objs.Maps[gateMapListeners], objs.Maps[gateMapFiles]
	probe := uint32(gateLimitGATE_PROBE)
	if err := errors.Join(listeners.Put(key, probe), files.Put(file, probe)); err != nil {
		return fmt.Errorf("try the gate: %w", err)
	}
	defer files.Delete(file)
	defer listeners.Delete(key)
	if err := dialOnce(path); !errors.Is(err, unix.EPERM) {
		return errGateNotHit
	}
	if hook == GateAtAddress {
		return tryArrival(objs, dir)
	}
	return nil
}

const errNotListed constError = "its own socket is not among those that listen"

// tryArrival connects by a path that cannot be followed beforehand.
func tryArrival(objs *ebpf.Collection, dir string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("try the gate: %w", err)
	}
	defer unix.Close(fd)
	before, err := probed(objs)
	if err != nil {
		return err
	}
	if err := dialOnce("/proc/self/fd/" + strconv.Itoa(fd) + "/probe"); err != nil {
		return fmt.Errorf("try the gate: %w", err)
	}
	after, err := probed(objs)
	if err != nil {
		return err
	}
	if after == before {
		return errGateNotHit
	}
	return nil
}

func probed(objs *ebpf.Collection) (n uint64, err error) {
	err = objs.Maps[gateMapCounts].Lookup(uint32(gateVerdictVERDICT_PROBED), &n)
	return n, err
}

func dialOnce(path string) error {
	c, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}
