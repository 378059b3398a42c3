// Package rootfs reads files of a machine, a container or a process by the paths
// that they have there.
package rootfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Under are the files below a root directory, "/" for those of this machine. Links
// that lead out of any other are errors: where they lead is another file there. done
// lets go of the directory.
func Under(root string) (files fs.FS, done func(), err error) {
	if root == "/" {
		return os.DirFS(root), func() {}, nil
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, nil, err
	}
	return r.FS(), func() { _ = r.Close() }, nil
}

// Inside is the name that an absolute path has within files: without the slash
// before it, "." for the root.
func Inside(name string) string {
	return cmp.Or(strings.TrimPrefix(path.Join("/", name), "/"), ".")
}

// Read reads a file of at most most bytes, by its absolute path. What is no regular
// file is refused: a pipe would be waited for. Errors name the path.
func Read(files fs.FS, name string, most int) ([]byte, error) {
	name = path.Join("/", name)
	fail := func(err error) ([]byte, error) {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	info, err := fs.Stat(files, Inside(name))
	if err != nil {
		return fail(err)
	}
	if !info.Mode().IsRegular() {
		return fail(errNoFile)
	}
	f, err := files.Open(Inside(name))
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return fail(err)
	}
	if len(b) > most {
		return fail(fmt.Errorf("longer than %d bytes", most))
	}
	return b, nil
}

// errNoFile says that something is no regular file.
var errNoFile = errors.New("it is no file")
