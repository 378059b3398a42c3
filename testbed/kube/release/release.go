//go:build linux

// Package release makes the Kubernetes programs of the test bed from their Go
// modules, once, and finds them again: a control plane, a kubelet, a client and
// etcd, as links to one binary in a directory of the user's cache.
package release

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
)

// Programs are what a release holds.
var Programs = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet"}

// source is the module of the binary, from the root of this one. It is a module
// of its own so that nothing of Kubernetes is in ours.
const source = "testbed/kube/build"

// ErrNotBuilt says that Build has to run first.
var ErrNotBuilt = errors.New("Kubernetes is not built yet: make testbed-kube (some 10 minutes)")

// plan is what is to be built and where it goes.
type plan struct {
	version string // of Kubernetes, without "v"
	source  string
	dir     string
}

// Find returns the directory with Programs, or ErrNotBuilt. It works anywhere
// in the repository.
func Find(ctx context.Context) (string, error) {
	p, err := newPlan(ctx)
	if err != nil {
		return "", fmt.Errorf("find Kubernetes: %w", err)
	}
	if !p.done() {
		return "", ErrNotBuilt
	}
	return p.dir, nil
}

// Build builds Programs unless they are there, and returns their directory. Two
// at once do it once. What the compiler says goes to log.
func Build(ctx context.Context, log io.Writer) (string, error) {
	p, err := newPlan(ctx)
	if err == nil && !p.done() {
		err = p.build(ctx, log)
	}
	if err != nil {
		return "", fmt.Errorf("build Kubernetes: %w", err)
	}
	return p.dir, nil
}

func newPlan(ctx context.Context) (plan, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD", "GOVERSION").Output()
	if err != nil {
		return plan{}, fmt.Errorf("run go env: %w", err)
	}
	mod, goVersion, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	p := plan{source: filepath.Join(filepath.Dir(mod), source)}
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		b, err := os.ReadFile(filepath.Join(p.source, name))
		if err != nil {
			return plan{}, err
		}
		sum.Write(b)
		if name == "go.mod" {
			p.version = versionOf(b)
		}
	}
	if p.version == "" {
		return plan{}, fmt.Errorf("%s requires no k8s.io/kubernetes", p.source)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return plan{}, err
	}
	key := fmt.Sprintf("kube-%s-%s-%s-%.4x", p.version, goVersion, runtime.GOARCH, sum.Sum(nil))
	p.dir = filepath.Join(cache, "sallyport", key)
	return p, nil
}

var required = regexp.MustCompile(`(?m)^(?:require)?\s*k8s\.io/kubernetes v(\S+)`)

func versionOf(mod []byte) string {
	if m := required.FindSubmatch(mod); m != nil {
		return string(m[1])
	}
	return ""
}

func (p plan) done() bool {
	_, err := os.Stat(p.dir)
	return err == nil
}

// build makes p.dir, which appears whole or not at all.
func (p plan) build(ctx context.Context, log io.Writer) (err error) {
	parent := filepath.Dir(p.dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, filepath.Join(parent, "kube.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if p.done() {
		return nil // another process has been at it
	}
	tmp, err := os.MkdirTemp(parent, ".new-kube-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := p.compile(ctx, filepath.Join(tmp, "kube"), log); err != nil {
		return err
	}
	for _, name := range Programs {
		if err := os.Symlink("kube", filepath.Join(tmp, name)); err != nil {
			return err
		}
	}
	return errors.Join(os.Chmod(tmp, 0o755), os.Rename(tmp, p.dir))
}

// compile yields to whoever else wants the processor: tests run meanwhile.
// Without its version a server calls itself v0.0.0 and refuses its own
// compatibility checks. DWARF would take a third of linking.
func (p plan) compile(ctx context.Context, out string, log io.Writer) error {
	major, rest, _ := strings.Cut(p.version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags, fmt.Sprintf("-X %[1]s.gitVersion=v%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s -X %[1]s.gitTreeState=clean",
			pkg, p.version, major, minor))
	}
	cmd := exec.CommandContext(ctx, "nice", "-n", "10", "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-gcflags=all=-dwarf=false", "-ldflags", strings.Join(flags, " "), "-o", out, ".")
	cmd.Dir = p.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = log, log
	// A group, so that a cancelled build ends with its compilers.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile %s: %w", p.source, cmp.Or(ctx.Err(), err))
	}
	return nil
}

// lock waits for the lock on a file; it goes with the process.
func lock(ctx context.Context, path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	got := make(chan error, 1)
	go func() { got <- flock(f) }()
	select {
	case err = <-got:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	return f.Close, nil
}

func flock(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
