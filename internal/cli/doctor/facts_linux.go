package doctor

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// spaceIn reports whether dir can be written by this user, and how much space
// such a user has in it.
func spaceIn(dir string) (writable bool, free uint64) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil {
		free = st.Bavail * uint64(st.Bsize)
	}
	return unix.Access(dir, unix.W_OK|unix.X_OK) == nil, free
}

// holderOf returns the pid of the process that holds the lock on a file, 0 when
// none does. It reads the kernel's list and does not try the lock: a test must
// not get in the way of a start.
func holderOf(file string) int {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	inode := strconv.FormatUint(info.Sys().(*syscall.Stat_t).Ino, 10)
	locks, err := readSmall("/proc/locks")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(locks) {
		// 1: FLOCK  ADVISORY  WRITE 708 00:19:1234 0 EOF
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], ":"+inode) {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil {
			return pid
		}
	}
	return 0
}

// clockSynced reports whether the kernel believes its clock to be synchronised.
func clockSynced() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state != unix.TIME_ERROR, err
}
