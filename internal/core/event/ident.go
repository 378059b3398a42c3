package event

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// ContainerID is a container's full id as its runtime knows it (64 hex digits
// for Docker and CRI; any name for plain containerd).
type ContainerID string

// Short returns the first 12 characters, the form people are used to.
func (id ContainerID) Short() string { return string(id[:min(12, len(id))]) }

// ExecID is the runtime's id of one exec in one container. Docker's execID is
// containerd's exec_id; with ctr the caller chooses it, so it is unique only
// together with the container.
type ExecID string

// ConnID identifies one client connection to a service socket: the kernel's
// socket cookie of the client's end. Unique per boot, never zero.
type ConnID uint64

// BootID is the kernel's random id of one boot of one host
// (/proc/sys/kernel/random/boot_id).
type BootID string

// ProcessID names one process for ever on one boot: pids are reused, the pair
// with the start time is not. PID is in the host's pid namespace; Start is in
// nanoseconds since boot (CLOCK_BOOTTIME), as in task_struct.start_boottime. Of
// a process that only a log tells of, see LoggedProcess.
type ProcessID struct {
	PID   uint32 `json:"pid"`
	Start uint64 `json:"start"`
}

// logged is where Start leaves off to be a time since boot: no host is up for
// 36 years, and every log is younger than 2006.
const logged = 1 << 60

// LoggedProcess names a process of which a log tells, and not when it began by
// the kernel's clock: Start is then the log's own time of its first record, in
// nanoseconds since 1970. pid is 0 where the log has none.
func LoggedProcess(pid uint32, first time.Time) ProcessID {
	return ProcessID{PID: pid, Start: max(logged, uint64(max(0, first.UnixNano())))}
}

// Logged reports whether p was made by LoggedProcess.
func (p ProcessID) Logged() bool { return p.Start >= logged }

// IsZero reports whether p names no process.
func (p ProcessID) IsZero() bool { return p == ProcessID{} }

// String returns "PID@START".
func (p ProcessID) String() string {
	return strconv.FormatUint(uint64(p.PID), 10) + "@" + strconv.FormatUint(p.Start, 10)
}

// Compare orders by start time, then pid.
func (p ProcessID) Compare(q ProcessID) int {
	return cmp.Or(cmp.Compare(p.Start, q.Start), cmp.Compare(p.PID, q.PID))
}

// Cred is the identity of a process in the host's user namespace.
type Cred struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// LoginUID is the uid that logged in (audit's loginuid); absent when the
	// kernel says "unset", as for everything daemons start.
	LoginUID *uint32 `json:"login_uid,omitempty"`
	// AuditSession is audit's session number; absent when unset.
	AuditSession *uint32 `json:"audit_session,omitempty"`
	// NoUID and NoGID say that UID and GID are not known, and not 0. User is
	// then the name that the source has instead, if any.
	NoUID bool   `json:"no_uid,omitempty"`
	NoGID bool   `json:"no_gid,omitempty"`
	User  string `json:"user,omitempty"`
}

// Executable identifies the file that a process runs, by what the kernel
// executes rather than by what was typed.
type Executable struct {
	// Path is the file's path in its own mount namespace, read from the
	// kernel's directory entries; absent when it could not be read whole.
	Path   Text   `json:"path,omitempty"`
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
	// UpperLayer says that the file was written after the container started:
	// it lives in the upper layer of an overlay file system.
	UpperLayer bool `json:"upper_layer,omitempty"`
	// Memfd says that the file has no name in any file system (memfd, deleted).
	Memfd bool `json:"memfd,omitempty"`
}

// Argv is an argument list, byte-exact up to a bound.
type Argv struct {
	Args []string `json:"args,omitempty"`
	// Bytes is the length of the whole list in the process's memory, NULs
	// included, when the kernel measured it; 0 when it did not.
	Bytes uint32 `json:"bytes,omitempty"`
	// Truncated says that Args holds only the beginning: Bytes is the true
	// length and Hash covers all of it.
	Truncated bool `json:"truncated,omitempty"`
	// Hash is the FNV-1a 64 of the whole list, present when Truncated.
	Hash uint64 `json:"hash,omitempty"`
	// Joined says that the source has no list: Args holds one string, the
	// command as the source joined it. Where one argument ends is lost, and the
	// first may be the program's path instead.
	Joined bool `json:"joined,omitempty"`
}

// String joins the arguments with blanks, as Docker's events do. It is for
// comparison with such joined forms only: the quoting is lost.
func (a Argv) String() string { return strings.Join(a.Args, " ") }

// Duration marshals as Go's duration text ("30s").
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}
