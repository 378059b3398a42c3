package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/sallyport/sallyport/testbed"
)

// Guest is the initial RAM disk's content but for the kernel's module.
type Guest struct {
	arch Arch
	dir  string
	// files are paths on this machine by path in the guest.
	files map[string]string
}

// BuildGuest builds the guest's programs for a processor into dir and finds the others.
func BuildGuest(ctx context.Context, arch Arch, dir string) (*Guest, error) {
	g := &Guest{arch: arch, dir: dir, files: map[string]string{}}
	for name, pkg := range map[string]string{"init": "vm/guest", "images/bin/actor": "actor"} {
		file := filepath.Join(dir, filepath.Base(pkg))
		build := command(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", file,
			"github.com/sallyport/sallyport/testbed/"+pkg)
		build.Env = append(build.Env, "CGO_ENABLED=0", "GOARCH="+arch.Name)
		if _, err := testbed.Output(build); err != nil {
			return nil, fmt.Errorf("build guest: %w", err)
		}
		g.files[name] = file
	}
	find := g.addOwn
	if arch.Name != runtime.GOARCH {
		find = g.addForeign
	}
	if err := find(ctx); err != nil {
		return nil, fmt.Errorf("build guest: %w", err)
	}
	return g, nil
}

// addOwn adds programs of this machine.
func (g *Guest) addOwn(ctx context.Context) error {
	for name, program := range map[string]string{"images/bin/busybox": "busybox", "bin/busybox": "busybox", "usr/sbin/runc": "runc"} {
		file, err := testbed.LookPath(program)
		if err != nil {
			return err
		}
		g.files[name] = file
	}
	return g.addLibraries(ctx, g.files["usr/sbin/runc"])
}

// addForeign adds the same programs, of another processor, from Debian's archive.
func (g *Guest) addForeign(ctx context.Context) error {
	d, err := archiveOf(ctx, g.arch)
	if err != nil {
		return err
	}
	for name, files := range map[string]map[string]string{
		"busybox-static": {"images/bin/busybox": "bin/busybox", "bin/busybox": "bin/busybox"},
		"runc":           {"usr/sbin/runc": "usr/sbin/runc"},
		"libseccomp2":    {"lib/libseccomp.so.2": "usr/lib/*/libseccomp.so.2"},
		"libc6":          {"lib/libc.so.6": "lib/*/libc.so.6", "lib/ld-linux-aarch64.so.1": "lib/*/ld-linux-aarch64.so.1"},
	} {
		dir, err := d.fetch(ctx, name, keepAll)
		if err != nil {
			return err
		}
		for in, pattern := range files {
			if g.files[in], err = one(dir, pattern); err != nil {
				return err
			}
		}
	}
	return nil
}

// command is a program of this machine, in PATH or where only root looks.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if path, err := testbed.LookPath(program); err == nil {
		program = path
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = testbed.Environ()
	return cmd
}

// addLibraries adds what a program is linked with.
func (g *Guest) addLibraries(ctx context.Context, program string) error {
	out, err := testbed.Output(command(ctx, "ldd", program))
	if err != nil && !strings.Contains(err.Error(), "not a dynamic executable") {
		return fmt.Errorf("find libraries: %w", err)
	}
	for _, word := range strings.Fields(out) {
		if filepath.IsAbs(word) {
			g.files[strings.TrimPrefix(word, "/")] = word
		}
	}
	return nil
}

// applets are the programs that busybox is in the guest and in its containers.
var applets = []string{"bin/chroot", "bin/nsenter", "images/bin/echo", "images/bin/sleep"}

// writeInitrd writes the initial RAM disk for k into a new file.
func (g *Guest) writeInitrd(k Kernel) (file string, err error) {
	f, err := os.CreateTemp(g.dir, "initrd-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a := newArchive(f)
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "images/dev", "images/proc", "images/run", "images/tmp"} {
		a.addDir(dir)
	}
	for name, file := range g.files {
		a.addFile(name, file)
	}
	for _, name := range applets {
		a.addLink(name, "busybox")
	}
	a.addFile("overlay.ko", k.Overlay)
	return f.Name(), a.close()
}

// Boot boots k with further kernel parameters and returns the guest's report.
// The error holds the end of the console's output. QEMU is killed when ctx ends.
func (g *Guest) Boot(ctx context.Context, k Kernel, params string) (*Report, error) {
	initrd, err := g.writeInitrd(k)
	if err != nil {
		return nil, fmt.Errorf("write initial RAM disk: %w", err)
	}
	defer os.Remove(initrd)
	var console bytes.Buffer
	// One processor: with more the emulation of patched kernel text is broken.
	cmd := command(ctx, g.arch.QEMU[0], append(g.arch.QEMU[1:len(g.arch.QEMU):len(g.arch.QEMU)], "-accel", "tcg", "-smp", "1", "-m", "768",
		"-nographic", "-no-reboot", "-nic", "none", "-monitor", "none", "-serial", "stdio",
		"-kernel", k.Image, "-initrd", initrd,
		"-append", "console="+g.arch.Console+" panic=-1 quiet loglevel=2 rdinit=/init "+params)...)
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("boot %s: %w: %s", k.Name, errors.Join(err, ctx.Err()), tail(console.Bytes()))
	}
	r, err := parseReport(console.Bytes())
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w: %s", k.Name, err, tail(console.Bytes()))
	}
	return r, nil
}

func parseReport(console []byte) (*Report, error) {
	_, rest, ok := bytes.Cut(console, []byte(BeginReport))
	doc, _, whole := bytes.Cut(rest, []byte(EndReport))
	if !ok || !whole {
		return nil, errors.New("no report on the console")
	}
	r := new(Report)
	if err := json.Unmarshal(doc, r); err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	return r, nil
}

func tail(b []byte) string { return strings.TrimSpace(string(b[max(0, len(b)-4000):])) }
