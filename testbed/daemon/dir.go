//go:build linux

// Package daemon is what private daemons have in common: a run-unique
// directory for everything of theirs, start and stop, and a clean-up that
// leaves nothing behind, even for programs that died without cleaning up.
package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// prefix begins the name of every directory made here.
const prefix = "sp-"

// base is where the directories are: the system's temporary directory
// unless its name is long. A unix socket's path may not exceed 107 bytes, and
// containerd's is the longest here.
func base() string {
	if dir := os.TempDir(); len(dir) <= 40 {
		return dir
	}
	return "/tmp"
}

// NewDir makes a directory for one daemon and notes whose it is. Other users must be
// able to pass through
// it to the socket.
func NewDir(name string) (string, error) {
	dir, err := os.MkdirTemp(base(), prefix+name+"-")
	if err != nil {
		return "", err
	}
	owner := fmt.Sprintf("%d %s %s\n", os.Getpid(), startTime(os.Getpid()), pidNamespace())
	return dir, errors.Join(
		os.Chmod(dir, 0o711),
		os.WriteFile(filepath.Join(dir, "owner"), []byte(owner), 0o644),
	)
}

// Sweep removes daemons whose owners are gone: a test program that panicked or
// was killed could not stop them. Owners that it cannot judge, because they
// live in another pid namespace, it leaves alone.
func Sweep(log *slog.Logger) {
	dirs, _ := filepath.Glob(filepath.Join(base(), prefix+"*"))
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "owner"))
		if err != nil {
			continue // being made or being removed
		}
		var pid int
		var start, ns string
		n, _ := fmt.Sscan(string(b), &pid, &start, &ns)
		if n != 3 || ns != pidNamespace() || startTime(pid) == start {
			continue
		}
		if err := Clean(dir); err != nil {
			log.Warn("clean up after a dead owner", "dir", dir, "error", err)
		}
	}
}

func pidNamespace() string {
	ns, _ := os.Readlink("/proc/self/ns/pid")
	return ns
}

// startTime is the start time of a process in clock ticks since boot, "" when
// there is none.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ") // after the name, which may hold blanks
	if f := strings.Fields(rest); len(f) > 19 {
		return f[19]
	}
	return ""
}
