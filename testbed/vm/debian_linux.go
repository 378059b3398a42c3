package vm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/sallyport/sallyport/testbed"
)

// Arch is a processor that QEMU emulates.
type Arch struct {
	Name    string // as Go and Debian call it
	QEMU    []string
	Console string
}

// The processors that machines can have. Signing pointers, which a program does at
// each call, would take an emulated ARM a third of its time.
var (
	AMD64 = Arch{Name: "amd64", QEMU: []string{"qemu-system-x86_64", "-cpu", "max"}, Console: "ttyS0"}
	ARM64 = Arch{Name: "arm64", QEMU: []string{"qemu-system-aarch64", "-machine", "virt", "-cpu", "max,pauth-impdef=on"}, Console: "ttyAMA0"}
)

// debian is Debian's archive for a processor: this machine's own package lists, or
// lists apart where that is another.
type debian struct {
	options []string // of apt's programs
	cache   string   // what was unpacked
}

// lists guards the lists of foreign processors, which are fetched once for a process.
var lists = struct {
	sync.Mutex
	of map[string]*debian
}{of: map[string]*debian{}}

func archiveOf(ctx context.Context, arch Arch) (*debian, error) {
	lists.Lock()
	defer lists.Unlock()
	if d := lists.of[arch.Name]; d != nil {
		return d, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	d := &debian{cache: filepath.Join(cache, "sallyport", "vm")}
	if arch.Name != runtime.GOARCH {
		d.cache = filepath.Join(d.cache, arch.Name)
		if err := d.apart(ctx, arch); err != nil {
			return nil, err
		}
	}
	lists.of[arch.Name] = d
	return d, nil
}

// apart has apt use lists of its own: this machine's packages stay as they are.
func (d *debian) apart(ctx context.Context, arch Arch) error {
	dir := filepath.Join(d.cache, "apt")
	for _, sub := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	installed := filepath.Join(dir, "status") // nothing is
	for _, o := range []string{
		"APT::Architecture=" + arch.Name, "APT::Architectures=" + arch.Name, "APT::Sandbox::User=root",
		"Dir::State=" + filepath.Join(dir, "state"), "Dir::State::status=" + installed, "Dir::Cache=" + filepath.Join(dir, "cache"),
	} {
		d.options = append(d.options, "-o", o)
	}
	if err := os.WriteFile(installed, nil, 0o644); err != nil {
		return err
	}
	_, err := testbed.Output(d.command(ctx, "apt-get", "-q", "update"))
	return err
}

func (d *debian) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return command(ctx, program, append(append([]string{}, d.options...), args...)...)
}

// fetch returns the directory with what keep takes of a package, in the cache. It
// appears whole or not at all.
func (d *debian) fetch(ctx context.Context, name string, keep func(ctx context.Context, root, dir string) error) (dir string, err error) {
	dir = filepath.Join(d.cache, name)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return dir, err
	}
	if err := os.MkdirAll(d.cache, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(d.cache, ".new-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	get := d.command(ctx, "apt-get", "-q", "-o", "Acquire::Retries=2", "download", name)
	get.Dir = tmp
	if _, err := testbed.Output(get); err != nil {
		return "", err
	}
	deb, err := one(tmp, "*.deb")
	if err != nil {
		return "", err
	}
	root := filepath.Join(tmp, "root")
	if _, err := testbed.Output(command(ctx, "dpkg-deb", "-x", deb, root)); err != nil {
		return "", err
	}
	done := filepath.Join(tmp, "done")
	if err := keep(ctx, root, done); err != nil {
		return "", err
	}
	if err := os.Rename(done, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err // another test program may have been faster
	}
	return dir, nil
}

// keepAll moves all of an unpacked package to dir.
func keepAll(_ context.Context, root, dir string) error { return os.Rename(root, dir) }
