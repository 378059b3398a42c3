//go:build linux

// Package built makes programs from a Go module of their own, once, and finds them
// again: in a directory of the user's cache that is named for what they were made of.
package built

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/mod/modfile"
)

// Release is programs that belong together.
type Release struct {
	Name string // what its directory's name begins with
	// Module is the directory of the module, from the root of this one. It is one of
	// its own so that nothing of what it needs is in ours.
	Module string
	Of     string // the required module whose version the directory's name has
	// Compile makes the programs, by go build in the module, and whatever belongs to
	// them in an empty directory.
	Compile func(ctx context.Context, b *Build) error
}

// ErrNot says that Make has to run first.
var ErrNot = errors.New("it is not built yet")

// Find returns the directory with the programs, or ErrNot. It works anywhere in the
// repository.
func (r *Release) Find(ctx context.Context) (string, error) {
	p, err := r.plan(ctx)
	if err == nil && !p.done() {
		err = ErrNot
	}
	if err != nil {
		return "", fmt.Errorf("find %s: %w", r.Name, err)
	}
	return p.dir, nil
}

// Make makes the programs unless they are there, and returns their directory. Two at
// once do it once. What the compiler says goes to log.
func (r *Release) Make(ctx context.Context, log io.Writer) (string, error) {
	p, err := r.plan(ctx)
	if err == nil && !p.done() {
		err = p.make(ctx, log)
	}
	if err != nil {
		return "", fmt.Errorf("build %s: %w", r.Name, err)
	}
	return p.dir, nil
}

// plan is what is to be built and where it goes.
type plan struct {
	*Release
	version string // of Release.Of, without "v"
	module  string
	dir     string
}

func (r *Release) plan(ctx context.Context) (plan, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD", "GOVERSION").Output()
	if err != nil {
		return plan{}, fmt.Errorf("run go env: %w", err)
	}
	mod, goVersion, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	p := plan{Release: r, module: filepath.Join(filepath.Dir(mod), r.Module)}
	if p.version, err = p.required(); err != nil {
		return plan{}, err
	}
	sum, err := p.sum()
	if err != nil {
		return plan{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return plan{}, err
	}
	key := fmt.Sprintf("%s-%s-%s-%s-%.4x", r.Name, p.version, goVersion, runtime.GOARCH, sum)
	p.dir = filepath.Join(cache, "sallyport", key)
	return p, nil
}

// required returns the version of what the release is of.
func (p plan) required() (string, error) {
	file := filepath.Join(p.module, "go.mod")
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	mod, err := modfile.ParseLax(file, b, nil)
	if err != nil {
		return "", err
	}
	for _, r := range mod.Require {
		if r.Mod.Path == p.Of {
			return strings.TrimPrefix(r.Mod.Version, "v"), nil
		}
	}
	return "", fmt.Errorf("%s requires no %s", file, p.Of)
}

// sum is of all that is in the module.
func (p plan) sum() ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(p.module, "*"))
	sum := sha256.New()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		sum.Write(b)
	}
	return sum.Sum(nil), err
}

func (p plan) done() bool {
	_, err := os.Stat(p.dir)
	return err == nil
}

// make makes p.dir, which appears whole or not at all.
func (p plan) make(ctx context.Context, log io.Writer) (err error) {
	parent := filepath.Dir(p.dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, filepath.Join(parent, p.Name+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if p.done() {
		return nil // another process has been at it
	}
	tmp, err := os.MkdirTemp(parent, ".new-"+p.Name+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := p.Compile(ctx, &Build{Version: p.version, Dir: tmp, module: p.module, log: log}); err != nil {
		return err
	}
	return errors.Join(os.Chmod(tmp, 0o755), os.Rename(tmp, p.dir))
}

// Build is a release that is being made.
type Build struct {
	Version string // of Release.Of, without "v"
	Dir     string // where the programs go

	module string
	log    io.Writer
}

// Say tells whoever waits what is being done.
func (b *Build) Say(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }

// Program is one to compile.
type Program struct {
	Name    string // below Build.Dir
	Package string // by its import path, or "."
	Tags    string
	Set     []string // of variables at linking: PACKAGE.NAME=VALUE
	Cgo     bool
	Lang    string // of a package whose module has no go.mod, and so says no version of Go's
}

// Go compiles a program. It yields to whoever else wants the processor: tests run
// meanwhile. DWARF would take a third of linking.
func (b *Build) Go(ctx context.Context, p Program) error {
	flags := []string{"-s", "-w"}
	for _, s := range p.Set {
		flags = append(flags, "-X "+s)
	}
	args := []string{"-n", "10", "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-tags", p.Tags,
		"-gcflags=all=-dwarf=false", "-ldflags", strings.Join(flags, " "), "-o", filepath.Join(b.Dir, p.Name)}
	if p.Lang != "" {
		args = append(args, "-gcflags="+p.Package+"=-dwarf=false -lang="+p.Lang)
	}
	cmd := exec.CommandContext(ctx, "nice", append(args, p.Package)...)
	cmd.Dir = b.module
	cgo := "CGO_ENABLED=0"
	if p.Cgo {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(os.Environ(), cgo, "GOWORK=off")
	cmd.Stdout, cmd.Stderr = b.log, b.log
	// A group, so that a cancelled build ends with its compilers.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile %s in %s: %w", p.Package, b.module, cmp.Or(ctx.Err(), err))
	}
	return nil
}

// ModuleVersion returns the version of the module that a package is in.
func (b *Build) ModuleVersion(ctx context.Context, pkg string) (string, error) {
	return b.list(ctx, pkg, "{{.Module.Version}}")
}

// ModuleDir returns where the source of the module is that a package is in.
func (b *Build) ModuleDir(ctx context.Context, pkg string) (string, error) {
	return b.list(ctx, pkg, "{{.Module.Dir}}")
}

func (b *Build) list(ctx context.Context, pkg, format string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-f", format, pkg)
	cmd.Dir = b.module
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stderr = b.log
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("list %s: %w", pkg, err)
	}
	return strings.TrimSpace(string(out)), nil
}
