// Package program builds the sallyport that tests run as users would.
package program

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is the sallyport that a package's tests run, made by the first that asks:
// linking it takes longer than most of them.
var built struct {
	mu  sync.Mutex
	dir string // guarded by mu; "" until somebody asked
	err error  // guarded by mu
}

// Main runs a package's tests and then removes what was built for them. m is a
// testing.M.
func Main(m interface{ Run() int }) int {
	code := m.Run()
	built.mu.Lock()
	defer built.mu.Unlock()
	if built.dir == "" {
		return code
	}
	if err := os.RemoveAll(built.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// build makes the program, once, and returns where it is.
func build() (string, error) {
	built.mu.Lock()
	defer built.mu.Unlock()
	if built.dir == "" && built.err == nil {
		built.dir, built.err = os.MkdirTemp("", "sallyport-built-")
		if built.err == nil {
			out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "sallyport"), "github.com/sallyport/sallyport/cmd/sallyport").CombinedOutput()
			if err != nil {
				built.err = fmt.Errorf("build: %w\n%s", err, out)
			}
		}
	}
	return filepath.Join(built.dir, "sallyport"), built.err
}

// New returns a sallyport that any user can run, alone in a directory that is the
// test's own. The package needs a TestMain with Main.
func New(t testing.TB) string {
	t.Helper()
	made, err := build()
	dir := t.TempDir()
	bin := filepath.Join(dir, "sallyport")
	for _, d := range []string{dir, filepath.Dir(dir)} { // private to us by default
		err = errors.Join(err, os.Chmod(d, 0o755))
	}
	if err == nil {
		err = os.Link(made, bin)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Run runs a program and returns what it printed; that it fails is an error of the
// test.
func Run(t testing.TB, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v: %v\n%s", args, err, &stderr)
	}
	return string(out)
}
