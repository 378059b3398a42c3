package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/testbed"
)

// Kernel is a kernel that can be booted.
type Kernel struct {
	// Name is the package that it came from.
	Name string
	// Image is the compressed kernel; Overlay its module for overlay file
	// systems.
	Image, Overlay string
}

// Fetch returns the newest kernel of a series ("6.1") that the package named by
// follow depends on. It downloads and unpacks the kernel unless it is in the
// cache; without the archive's package lists the newest one in the cache has to
// do.
func Fetch(ctx context.Context, series, follow string) (Kernel, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Kernel{}, fmt.Errorf("fetch kernel %s: %w", series, err)
	}
	cache = filepath.Join(cache, "sallyport", "vm")
	name, err := newest(ctx, series, follow)
	if err != nil {
		name, err = cached(cache, series, err)
	}
	if err != nil {
		return Kernel{}, fmt.Errorf("fetch kernel %s: %w", series, err)
	}
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := download(ctx, name, dir); err != nil {
			return Kernel{}, fmt.Errorf("fetch kernel %s: %w", name, err)
		}
	}
	return Kernel{Name: name, Image: filepath.Join(dir, "vmlinuz"), Overlay: filepath.Join(dir, "overlay.ko")}, nil
}

// newest asks the package lists which kernel is meant.
func newest(ctx context.Context, series, follow string) (string, error) {
	out, err := testbed.Output(command(ctx, "apt-cache", "depends", follow))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		if ok && strings.HasPrefix(name, "linux-image-"+series+".") {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s of this archive follows another series than %s", follow, series)
}

// cached returns the newest kernel of a series in the cache, and cause when
// there is none. Names sort well enough: they differ in the last number only.
func cached(cache, series string, cause error) (string, error) {
	dirs, _ := filepath.Glob(filepath.Join(cache, "linux-image-"+series+".*"))
	if len(dirs) == 0 {
		return "", cause
	}
	return filepath.Base(dirs[len(dirs)-1]), nil
}

// download makes dir, with the two files of the kernel that are wanted. It
// appears whole or not at all.
func download(ctx context.Context, name, dir string) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	get := command(ctx, "apt-get", "-q", "-o", "Acquire::Retries=2", "download", name)
	get.Dir = tmp
	if _, err := testbed.Output(get); err != nil {
		return err
	}
	deb, err := one(tmp, "*.deb")
	if err != nil {
		return err
	}
	root := filepath.Join(tmp, "root")
	if _, err := testbed.Output(command(ctx, "dpkg-deb", "-x", deb, root)); err != nil {
		return err
	}
	done := filepath.Join(tmp, "done")
	if err := keep(ctx, root, done); err != nil {
		return err
	}
	if err := os.Rename(done, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err // another test program may have been faster
	}
	return nil
}

// keep moves what is wanted of an unpacked package to dir.
func keep(ctx context.Context, root, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	image, err := one(root, "boot/vmlinuz-*")
	if err != nil {
		return err
	}
	module, err := one(root, "lib/modules/*/kernel/fs/overlayfs/overlay.ko*")
	if err != nil {
		return err
	}
	if strings.HasSuffix(module, ".xz") {
		if _, err := testbed.Output(command(ctx, "xz", "-d", module)); err != nil {
			return err
		}
		module = strings.TrimSuffix(module, ".xz")
	}
	return errors.Join(
		os.Rename(image, filepath.Join(dir, "vmlinuz")),
		os.Rename(module, filepath.Join(dir, "overlay.ko")),
	)
}

func one(dir, pattern string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err == nil && len(files) != 1 {
		err = fmt.Errorf("found %d files %s, want one", len(files), pattern)
	}
	if err != nil {
		return "", err
	}
	return files[0], nil
}
