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
// follow depends on, for a processor. It downloads and unpacks the kernel unless it is in the
// cache; without the archive's package lists the newest one in the cache has to
// do.
func Fetch(ctx context.Context, arch Arch, series, follow string) (Kernel, error) {
	failed := func(what string, err error) (Kernel, error) {
		return Kernel{}, fmt.Errorf("fetch kernel %s for %s: %w", what, arch.Name, err)
	}
	d, err := archiveOf(ctx, arch)
	if err != nil {
		return failed(series, err)
	}
	name, err := d.newest(ctx, series, follow)
	if err != nil {
		name, err = cached(d.cache, series, err)
	}
	if err != nil {
		return failed(series, err)
	}
	dir, err := d.fetch(ctx, name, keepKernel)
	if err != nil {
		return failed(name, err)
	}
	return Kernel{Name: name, Image: filepath.Join(dir, "vmlinuz"), Overlay: filepath.Join(dir, "overlay.ko")}, nil
}

// newest asks the package lists which kernel is meant.
func (d *debian) newest(ctx context.Context, series, follow string) (string, error) {
	out, err := testbed.Output(d.command(ctx, "apt-cache", "depends", follow))
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

// keepKernel moves what is wanted of an unpacked kernel to dir.
func keepKernel(ctx context.Context, root, dir string) error {
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
