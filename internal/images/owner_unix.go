//go:build unix

package images

import (
	"io/fs"
	"os"
	"syscall"
)

// ours reports whether a directory is ours and nobody else may write to it.
func ours(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == uint32(os.Geteuid()) && info.Mode().Perm()&0o022 == 0
}
