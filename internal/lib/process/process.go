// Package process says of a machine's processes, out of /proc, what several parts
// look for: who goes by a name, whose they are, and how they were started.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Table is a file system like /proc, by its directory.
type Table string

// Here are the processes that we see ourselves.
const Here Table = "/proc"

// commandLineMax bounds a command line, and an environment, in bytes.
const commandLineMax = 256 << 10

func (t Table) file(pid uint32, name string) string {
	return filepath.Join(string(t), strconv.FormatUint(uint64(pid), 10), name)
}

// All returns the processes. An error says that there is no such table.
func (t Table) All() ([]uint32, error) {
	d, err := os.Open(string(t))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []uint32
	for _, n := range names {
		if pid, err := strconv.ParseUint(n, 10, 31); err == nil {
			out = append(out, uint32(pid))
		}
	}
	slices.Sort(out)
	return out, nil
}

// Named returns the processes whose program has one of some names, which anybody can take. An
// error says that there may be more: the table, or one of its processes, could not be
// looked into.
func (t Table) Named(names ...string) ([]uint32, error) {
	all, err := t.All()
	if err != nil {
		return nil, err
	}
	var out []uint32
	var closed error
	for _, pid := range all {
		its, err := t.Name(pid)
		switch {
		case err != nil && !gone(err):
			closed = err
		case err == nil && slices.Contains(names, its):
			out = append(out, pid)
		}
	}
	return out, closed
}

// gone reports whether an error says that a process has ended.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// Name returns the name of a process's program, of which the kernel keeps 15 bytes.
func (t Table) Name(pid uint32) (string, error) {
	b, err := os.ReadFile(t.file(pid, "comm"))
	return strings.TrimSuffix(string(b), "\n"), err
}

// Parent returns the parent of a process, 0 when either is gone.
func (t Table) Parent(pid uint32) uint32 {
	b, err := os.ReadFile(t.file(pid, "stat"))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // a name may hold anything
	if len(f) < 2 {
		return 0
	}
	parent, _ := strconv.ParseUint(f[1], 10, 31)
	return uint32(parent)
}

// Program returns the path of a process's program.
func (t Table) Program(pid uint32) (string, error) {
	path, err := os.Readlink(t.file(pid, "exe"))
	return strings.TrimSuffix(path, " (deleted)"), err
}

// RootsOwn reports whether a process is root's, as we see it: by all four of its
// users. Whoever starts a program that root lends to all is the real one.
func (t Table) RootsOwn(pid uint32) (bool, error) {
	status, err := os.ReadFile(t.file(pid, "status"))
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok { // real, effective, saved, file system
			return slices.Equal(strings.Fields(ids), []string{"0", "0", "0", "0"}), nil
		}
	}
	return false, fmt.Errorf("%s: it names no user", t.file(pid, "status"))
}

// CommandLine returns the words with which a process was started, its program first;
// never none.
func (t Table) CommandLine(pid uint32) ([]string, error) {
	words, err := t.words(pid, "cmdline")
	if err == nil && len(words) == 0 {
		err = fmt.Errorf("process %d has no command line: it has ended", pid)
	}
	return words, err
}

// Variable returns a variable of the environment with which a process was started, ""
// where it has none of that name. It needs to be allowed to look into the process.
func (t Table) Variable(pid uint32, name string) (string, error) {
	words, err := t.words(pid, "environ")
	for _, w := range words {
		if v, ok := strings.CutPrefix(w, name+"="); ok {
			return v, err
		}
	}
	return "", err
}

// words reads a file of a process that is a list of words, each ended by a zero.
func (t Table) words(pid uint32, name string) ([]string, error) {
	f, err := os.Open(t.file(pid, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, commandLineMax+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > commandLineMax:
		return nil, fmt.Errorf("%s: longer than %d bytes", f.Name(), commandLineMax)
	case len(b) == 0:
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
}

// Shares reports whether a process is in the same namespace as we are, of a kind:
// "mnt", "net".
func (t Table) Shares(pid uint32, namespace string) (bool, error) {
	its, err := os.Readlink(t.file(pid, "ns/"+namespace))
	if err != nil {
		return false, err
	}
	own, err := os.Readlink("/proc/self/ns/" + namespace)
	return err == nil && own == its, err
}
