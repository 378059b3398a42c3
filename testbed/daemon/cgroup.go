//go:build linux

package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

const cgroups = "/sys/fs/cgroup"

// MakeCgroup makes a cgroup in every hierarchy, for what a daemon runs. Clean
// ends the processes in it and removes it when its path begins with the name of
// the daemon's directory.
func MakeCgroup(path string) error {
	if _, err := os.Stat(cgroups + "/cgroup.controllers"); err == nil {
		return makeUnified(path)
	}
	roots, err := hierarchies()
	for _, root := range roots {
		err = errors.Join(err, os.MkdirAll(filepath.Join(root, path), 0o755))
	}
	return err
}

// hierarchies lists the mounts of version 1, some of which may be links.
func hierarchies() ([]string, error) {
	files, err := filepath.Glob(cgroups + "/*/cgroup.procs")
	for i, f := range files {
		files[i] = filepath.Dir(f)
	}
	return files, err
}

// makeUnified hands every controller on to what is below; a kernel may lack
// some.
func makeUnified(path string) error {
	dir := cgroups
	for _, name := range append([]string{"."}, split(path)...) {
		dir = filepath.Join(dir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, c := range []string{"cpu", "cpuset", "hugetlb", "io", "memory", "pids"} {
			os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
		}
	}
	return nil
}

func split(path string) []string {
	dir, name := filepath.Split(filepath.Clean(path))
	if dir == "" || dir == "/" {
		return []string{name}
	}
	return append(split(dir), name)
}

// removeTree removes the cgroups that MakeCgroup made for a directory, and
// those below.
func removeTree(name string) {
	for _, pattern := range []string{cgroups + "/*/", cgroups + "/"} {
		roots, _ := filepath.Glob(pattern + name)
		for _, root := range roots {
			removeBelow(root)
		}
	}
}

func removeBelow(dir string) {
	var dirs []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		os.Remove(dirs[i])
	}
}
