package vm

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// archive writes an initial RAM disk: a cpio archive in the "newc" format
// (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w     *bufio.Writer
	inode int
	dirs  []string
	err   error
}

// Modes as in stat(2).
const (
	modeDir  = 0o040755
	modeFile = 0o100755
	modeLink = 0o120777
)

func newArchive(w io.Writer) *archive { return &archive{w: bufio.NewWriterSize(w, 1<<20)} }

// addFile adds a file of this machine, executable, and the directories above it.
func (a *archive) addFile(name, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		a.fail(err)
		return
	}
	a.addDir(path.Dir(name))
	a.add(name, modeFile, b)
}

// addLink adds a symbolic link.
func (a *archive) addLink(name, target string) {
	a.addDir(path.Dir(name))
	a.add(name, modeLink, []byte(target))
}

// addDir adds a directory and those above it, each once.
func (a *archive) addDir(name string) {
	name = strings.Trim(name, "/")
	if name == "" || name == "." || slices.Contains(a.dirs, name) {
		return
	}
	a.addDir(path.Dir(name))
	a.dirs = append(a.dirs, name)
	a.add(name, modeDir, nil)
}

func (a *archive) add(name string, mode int, data []byte) {
	name = strings.TrimPrefix(name, "/")
	a.inode++
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	a.write([]byte(head), 4)
	a.write(data, 4)
}

// write pads what it writes with zeros: everything in the archive is aligned.
func (a *archive) write(b []byte, align int) {
	if a.err != nil {
		return
	}
	if _, err := a.w.Write(b); err != nil {
		a.fail(err)
		return
	}
	_, err := a.w.Write(make([]byte, (align-len(b)%align)%align))
	a.fail(err)
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// close ends the archive and returns the first error of all.
func (a *archive) close() error {
	a.add("TRAILER!!!", 0, nil)
	a.fail(a.w.Flush())
	return a.err
}
