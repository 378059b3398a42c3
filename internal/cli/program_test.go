package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is the sallyport that the package's tests run, made by the first that asks:
// linking it takes longer than most of them.
var built struct {
	mu  sync.Mutex
	dir string // guarded by mu; "" until somebody asked
	err error  // guarded by mu
}

// tests runs the package's tests and then removes what was built for them.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	code := t.m.Run()
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

// buildProgram makes the program, once, and returns where it is.
func buildProgram() (string, error) {
	built.mu.Lock()
	defer built.mu.Unlock()
	if built.dir == "" && built.err == nil {
		built.dir, built.err = os.MkdirTemp("", "sallyport-built-")
		if built.err == nil {
			out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "sallyport"), "../../cmd/sallyport").CombinedOutput()
			if err != nil {
				built.err = fmt.Errorf("build: %w\n%s", err, out)
			}
		}
	}
	return filepath.Join(built.dir, "sallyport"), built.err
}

// program returns a sallyport that any user can run, alone in a directory that is the
// test's own.
func program(t *testing.T) string {
	t.Helper()
	made, err := buildProgram()
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
