//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
)

// record is one decoded record of the ring buffer: exactly one of the typed
// pointers below, by kind.
type record struct {
	head    sensorHead
	entry   *entryRecord
	exec    *execRecord
	fork    *sensorForkRecord
	exit    *sensorExitRecord // also of a client that is gone
	found   *foundRecord
	connect *connectRecord
	wake    *sensorWakeRecord
	segment *segmentRecord
	accept  *sensorAcceptRecord
	closed  *sensorCloseRecord
}

type entryRecord struct {
	sensorEntryRecord
	argv   event.Argv
	cgroup []string // own name first, then its parents'
}

type execRecord struct {
	sensorExecRecord
	filename string
	path     string
	argv     event.Argv
	cgroup   []string
}

type foundRecord struct {
	sensorFoundRecord
	cgroup []string
}

type connectRecord struct {
	sensorConnectRecord
	path string
	exe  string
	argv event.Argv
}

type segmentRecord struct {
	sensorSegmentRecord
	data []byte // lies in the decoded buffer
}

// fixed copies a record's fixed part off the front of b.
func fixed[T any](b []byte) (v T, rest []byte, err error) {
	n := int(unsafe.Sizeof(v))
	if len(b) < n {
		return v, nil, fmt.Errorf("%d bytes, want at least %d", len(b), n)
	}
	// The types are bpf2go's: plain numbers in the kernel's layout.
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&v)), n), b)
	return v, b[n:], nil
}

// decode parses one record. It keeps references into b only for a segment's
// data.
func decode(b []byte) (record, error) {
	head, _, err := fixed[sensorHead](b)
	if err != nil {
		return record{}, fmt.Errorf("record head: %w", err)
	}
	r := record{head: head}
	switch kind := sensorKind(head.Kind); kind {
	case sensorKindKIND_ENTRY:
		r.entry, err = decodeEntry(b)
	case sensorKindKIND_EXEC:
		r.exec, err = decodeExec(b)
	case sensorKindKIND_FORK:
		r.fork, err = decodePlain[sensorForkRecord](b)
	case sensorKindKIND_EXIT, sensorKindKIND_CLIENT_EXIT:
		r.exit, err = decodePlain[sensorExitRecord](b)
	case sensorKindKIND_FOUND:
		r.found, err = decodeFound(b)
	case sensorKindKIND_CONNECT:
		r.connect, err = decodeConnect(b)
	case sensorKindKIND_WAKE:
		r.wake, err = decodePlain[sensorWakeRecord](b)
	case sensorKindKIND_SEGMENT:
		r.segment, err = decodeSegment(b)
	case sensorKindKIND_ACCEPT:
		r.accept, err = decodePlain[sensorAcceptRecord](b)
	case sensorKindKIND_CLOSE:
		r.closed, err = decodePlain[sensorCloseRecord](b)
	default:
		err = fmt.Errorf("unknown kind")
	}
	if err != nil {
		return record{}, fmt.Errorf("record of kind %d: %w", head.Kind, err)
	}
	return r, nil
}

func decodePlain[T any](b []byte) (*T, error) {
	v, _, err := fixed[T](b)
	return &v, err
}

func decodeEntry(b []byte) (*entryRecord, error) {
	v, data, err := fixed[sensorEntryRecord](b)
	if err != nil {
		return nil, err
	}
	if int(v.AncestorCount) > len(v.Ancestors) {
		return nil, fmt.Errorf("%d ancestors", v.AncestorCount)
	}
	parts, err := split(data, v.ArgvLen, v.CgroupLen)
	if err != nil {
		return nil, err
	}
	return &entryRecord{v, argvOf(parts[0], v.ArgvTotal, v.ArgvHash), names(parts[1])}, nil
}

func decodeExec(b []byte) (*execRecord, error) {
	v, data, err := fixed[sensorExecRecord](b)
	if err != nil {
		return nil, err
	}
	parts, err := split(data, v.FilenameLen, v.PathLen, v.ArgvLen, v.CgroupLen)
	if err != nil {
		return nil, err
	}
	return &execRecord{
		sensorExecRecord: v,
		filename:         text(parts[0]),
		path:             path(parts[1], v.Head.Flags),
		argv:             argvOf(parts[2], v.ArgvTotal, v.ArgvHash),
		cgroup:           names(parts[3]),
	}, nil
}

func decodeFound(b []byte) (*foundRecord, error) {
	v, data, err := fixed[sensorFoundRecord](b)
	if err != nil {
		return nil, err
	}
	parts, err := split(data, v.CgroupLen)
	if err != nil {
		return nil, err
	}
	return &foundRecord{v, names(parts[0])}, nil
}

func decodeConnect(b []byte) (*connectRecord, error) {
	v, _, err := fixed[sensorConnectRecord](b)
	if err != nil {
		return nil, err
	}
	if int(v.ArgvLen) > len(v.Argv) || int(v.ExeLen) > len(v.Exe) {
		return nil, fmt.Errorf("argv of %d bytes, exe of %d", v.ArgvLen, v.ExeLen)
	}
	return &connectRecord{
		sensorConnectRecord: v,
		path:                text(v.Path[:]),
		exe:                 path(v.Exe[:v.ExeLen], v.Head.Flags),
		argv:                argvOf(v.Argv[:v.ArgvLen], v.ArgvTotal, v.ArgvHash),
	}, nil
}

func decodeSegment(b []byte) (*segmentRecord, error) {
	v, data, err := fixed[sensorSegmentRecord](b)
	if err != nil {
		return nil, err
	}
	parts, err := split(data, v.DataLen)
	if err != nil {
		return nil, err
	}
	if v.DataLen > v.Length {
		return nil, fmt.Errorf("%d bytes of a piece of %d", v.DataLen, v.Length)
	}
	return &segmentRecord{v, parts[0]}, nil
}

// split cuts data into pieces of the given lengths. What follows the last one
// is padding of the ring buffer.
func split(data []byte, lens ...uint32) ([][]byte, error) {
	parts := make([][]byte, len(lens))
	for i, n := range lens {
		if uint64(n) > uint64(len(data)) {
			return nil, fmt.Errorf("part %d: %d bytes, have %d", i, n, len(data))
		}
		parts[i], data = data[:n], data[n:]
	}
	return parts, nil
}

// text is b up to the first NUL.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// names splits NUL-terminated strings.
func names(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// path puts an executable's path together from its components, the last one
// first. A file without a directory (memfd) has only a name. "" when not all of
// it was read.
func path(b []byte, flags uint16) string {
	parts := names(b)
	if flags&uint16(sensorFlagFLAG_PATH_WHOLE) == 0 {
		if len(parts) == 1 && flags&uint16(sensorFlagFLAG_NAMELESS) != 0 {
			return parts[0]
		}
		return ""
	}
	slices.Reverse(parts)
	return "/" + strings.Join(parts, "/")
}

// argvOf splits an argument list as it lies in a process's memory. A NUL ends
// each argument; the last one may be cut.
func argvOf(b []byte, total uint32, hash uint64) event.Argv {
	a := event.Argv{Bytes: total}
	if len(b) > 0 {
		a.Args = names(b)
	}
	if int(total) > len(b) {
		a.Truncated, a.Hash = true, hash
	}
	return a
}

func (id sensorProcessId) event() event.ProcessID {
	return event.ProcessID{PID: id.Pid, Start: id.Start}
}

const unset = ^uint32(0) // audit's "nobody logged in"

func (i sensorIdentity) event() event.Cred {
	c := event.Cred{UID: i.Uid, GID: i.Gid}
	if i.Loginuid != unset {
		c.LoginUID = &i.Loginuid
	}
	if i.Session != unset {
		c.AuditSession = &i.Session
	}
	return c
}

func (e sensorEndpoint) event() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.Addr).Unmap(), e.Port)
}

func (p sensorPlace) place() place { return place{mnt: p.MntId, pid: p.PidNs} }

func (a sensorAncestor) event() event.Ancestor {
	return event.Ancestor{
		ID:   event.ProcessID{PID: a.Pid, Start: a.Start},
		Comm: event.Text(text(a.Comm[:])),
		Cred: a.Who.event(),
		TTY:  ttyName(text(a.Tty[:])),
	}
}

// ttyName turns the kernel's name of a terminal into the one below /dev.
func ttyName(name string) string {
	if n, ok := strings.CutPrefix(name, "pts"); ok && n != "" && n[0] != '/' {
		return "pts/" + n
	}
	return name
}

// userDevice turns a kernel device number into the one that stat reports.
func userDevice(dev uint32) uint64 {
	return unix.Mkdev(dev>>20, dev&(1<<20-1))
}

// kernelDevice is the inverse of userDevice.
func kernelDevice(dev uint64) uint32 {
	return unix.Major(dev)<<20 | unix.Minor(dev)
}

func (r *execRecord) executable() event.Executable {
	return event.Executable{
		Path:       event.Text(r.path),
		Device:     userDevice(r.Device),
		Inode:      r.Inode,
		UpperLayer: r.Head.Flags&uint16(sensorFlagFLAG_UPPER) != 0,
		Memfd:      r.Head.Flags&uint16(sensorFlagFLAG_NAMELESS) != 0,
	}
}

// exitStatus reads a status as wait(2) encodes it.
func exitStatus(status uint32) (code, signal int) {
	if sig := int(status & 0x7f); sig != 0 {
		return 128 + sig, sig
	}
	return int(status >> 8 & 0xff), 0
}
