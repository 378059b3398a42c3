package statedir

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Writer returns the pid of the process that writes to a state directory, 0 when none
// does, and whether that can be told. It reads the kernel's list and does not try the
// lock: a look must not get in the way of a start.
func Writer(dir string) (pid int, known bool) {
	info, err := os.Stat(filepath.Join(dir, "lock"))
	if err != nil {
		return 0, os.IsNotExist(err)
	}
	inode := strconv.FormatUint(info.Sys().(*syscall.Stat_t).Ino, 10)
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 708 00:19:1234 0 EOF
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], ":"+inode) {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil {
			return pid, true
		}
	}
	return 0, true
}
