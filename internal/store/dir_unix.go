//go:build unix

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownedByUs refuses a directory that another user could swap under us.
func ownedByUs(info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to uid %d, not to uid %d", st.Uid, os.Geteuid())
	}
	return nil
}

func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// hasSpace reports whether the file's file system has a megabyte free; it says
// yes when it cannot tell.
func hasSpace(file string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(file), &st); err != nil {
		return true
	}
	return uint64(st.Bavail)*uint64(st.Bsize) >= 1<<20
}
