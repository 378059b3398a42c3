//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
)

// procInfo is what /proc adds to what the kernel reported of a process.
type procInfo struct {
	exe  event.Executable
	argv event.Argv
}

const tick = uint64(time.Second / 100) // unit of times in /proc/PID/stat

// readProc reads a running process. It makes sure before and after that the
// process is the one that started at id.Start: a pid may have been reused. A
// zero start is not checked.
func readProc(id event.ProcessID) (procInfo, error) {
	var p procInfo
	dir := procDir(id)
	if err := unchanged(dir, id); err != nil {
		return p, err
	}
	p.argv = readCmdline(dir)
	if exe, err := os.Readlink(dir + "/exe"); err == nil {
		exe, gone := strings.CutSuffix(exe, " (deleted)")
		p.exe.Path, p.exe.Memfd = event.Text(exe), gone
	}
	var st unix.Stat_t
	if unix.Stat(dir+"/exe", &st) == nil {
		p.exe.Device, p.exe.Inode = st.Dev, st.Ino
	}
	if err := unchanged(dir, id); err != nil {
		return procInfo{}, err
	}
	return p, nil
}

func procDir(id event.ProcessID) string { return "/proc/" + strconv.FormatUint(uint64(id.PID), 10) }

// readCmdline reads an argument list up to the bound of those that the kernel
// side reads itself.
func readCmdline(dir string) event.Argv {
	b, err := readProcFile(dir+"/cmdline", int(sensorBoundMAX_ARGV_HASHED))
	if err != nil || len(b) == 0 {
		return event.Argv{}
	}
	total := uint32(len(b))
	if len(b) > int(sensorBoundMAX_ARGV) {
		return argvOf(b[:sensorBoundMAX_ARGV], total, fnv1a(b))
	}
	return argvOf(b, total, 0)
}

// procFileMax bounds what is read of a file that says little.
const procFileMax = 64 << 10

// readProcFile reads a file of /proc, at most so many bytes of it. os.ReadFile makes
// nine system calls of that, most of them to find out whether it is a file that is
// waited for; this makes four.
func readProcFile(path string, most int) ([]byte, error) {
	fd, err := ignoringEINTR(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := make([]byte, 0, min(2<<10, most))
	for len(b) < most {
		b = slices.Grow(b, 1)
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, b[len(b):min(cap(b), most)]) })
		if err != nil {
			return b, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			break
		}
		b = b[:len(b)+n]
	}
	return b, nil
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

func fnv1a(b []byte) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, c := range b {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return h
}

// ProcessOf names the process that has a pid now, as exactly as /proc tells when it
// began (10 ms); Start is 0 when it is gone.
func ProcessOf(pid uint32) event.ProcessID {
	id := event.ProcessID{PID: pid}
	if ticks, err := startTicks(procDir(id)); err == nil {
		id.Start = ticks * tick
	}
	return id
}

// unchanged reports that a process is not the one that is meant; of one whose start
// nobody knows it says nothing.
func unchanged(dir string, id event.ProcessID) error {
	if id.Start == 0 {
		return nil
	}
	return sameProcess(dir, id)
}

func sameProcess(dir string, id event.ProcessID) error {
	start, err := startTicks(dir)
	if err != nil {
		return err
	}
	if id.Start != 0 && start != id.Start/tick {
		return fmt.Errorf("process %s: its pid was reused", id)
	}
	return nil
}

// startTicks reads when a process started, in ticks since boot: field 22.
func startTicks(dir string) (uint64, error) {
	b, err := readProcFile(dir+"/stat", procFileMax)
	if err != nil {
		return 0, fmt.Errorf("read process: %w", err)
	}
	// The second field is the name, in parentheses; it may hold any byte.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, fmt.Errorf("read %s/stat: no name", dir)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return 0, fmt.Errorf("read %s/stat: %d fields", dir, len(f)+2)
	}
	n, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s/stat: %w", dir, err)
	}
	return n, nil
}

// readCgroup reads the names of a process's cgroup and its parents, the
// deepest first: of the pids hierarchy, else of the unified one.
func readCgroup(id event.ProcessID) []string {
	dir := procDir(id)
	b, err := readProcFile(dir+"/cgroup", procFileMax)
	if err != nil || unchanged(dir, id) != nil {
		return nil
	}
	return cgroupNames(string(b))
}

// cgroupNames parses /proc/PID/cgroup.
func cgroupNames(s string) []string {
	var path string
	for line := range strings.Lines(s) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		if f[1] == "pids" || f[0] == "0" && (path == "" || path == "/") {
			path = f[2]
		}
		if f[1] == "pids" && path != "/" {
			break
		}
	}
	var out []string
	for path != "" && path != "/" && len(out) < int(sensorBoundMAX_CGROUPS) {
		i := strings.LastIndexByte(path, '/')
		out = append(out, path[i+1:])
		path = path[:max(i, 0)]
	}
	return out
}

// holdsSocket reports whether the process has the socket with that inode open.
func holdsSocket(pid uint32, inode uint64) bool {
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/fd"
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	want := "socket:[" + strconv.FormatUint(inode, 10) + "]"
	for _, fd := range fds {
		if to, err := os.Readlink(dir + "/" + fd.Name()); err == nil && to == want {
			return true
		}
	}
	return false
}

const errNoFile constError = "no such file"

// statIn finds the file behind a path as the process sees it. The error
// is errNoFile when there is none, and another when the process is gone.
func statIn(pid uint32, path string) (unix.Stat_t, error) {
	var st unix.Stat_t
	from := "/root"
	if !strings.HasPrefix(path, "/") {
		from = "/cwd"
	}
	dir, err := unix.Open("/proc/"+strconv.FormatUint(uint64(pid), 10)+from, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return st, fmt.Errorf("open root of process %d: %w", pid, err)
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	switch {
	case errors.Is(err, unix.ENOENT):
		return st, errNoFile
	case err != nil:
		return st, fmt.Errorf("open %q of process %d: %w", path, pid, err)
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return st, fmt.Errorf("stat %q of process %d: %w", path, pid, err)
	}
	return st, nil
}

// onlyHolder returns the process that has the socket with that inode open; 0
// when none is found or several share it.
func onlyHolder(inode uint64) uint32 {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	var holder uint32
	for _, p := range procs {
		pid, err := strconv.ParseUint(p.Name(), 10, 32)
		if err != nil || !holdsSocket(uint32(pid), inode) {
			continue
		}
		if holder != 0 {
			return 0
		}
		holder = uint32(pid)
	}
	return holder
}

// foundPeer describes a client that was there before the sensor, as far as /proc
// can tell.
func foundPeer(pid uint32) event.Peer {
	id := event.ProcessID{PID: pid}
	dir := procDir(id)
	b, err := readProcFile(dir+"/status", procFileMax)
	if err != nil {
		return event.Peer{}
	}
	p := event.Peer{ID: id, Cred: credOf(string(b))}
	addProgram(&p)
	return p
}

// addProgram adds what /proc tells of a client besides its user: his login, and the
// program.
func addProgram(p *event.Peer) {
	dir := procDir(p.ID)
	p.Cred.LoginUID = auditID(dir + "/loginuid")
	p.Cred.AuditSession = auditID(dir + "/sessionid")
	p.Exe, p.Argv = programOf(p.ID)
}

// credOf reads the effective ids out of /proc/PID/status.
func credOf(status string) event.Cred {
	var c event.Cred
	for line := range strings.Lines(status) {
		f := strings.Fields(line)
		if len(f) != 5 {
			continue
		}
		n, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		switch f[0] {
		case "Uid:":
			c.UID = uint32(n)
		case "Gid:":
			c.GID = uint32(n)
		}
	}
	return c
}

// auditID reads one of audit's numbers; nil when there is none.
func auditID(file string) *uint32 {
	b, err := readProcFile(file, procFileMax)
	if err != nil {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil || uint32(n) == unset {
		return nil
	}
	v := uint32(n)
	return &v
}
