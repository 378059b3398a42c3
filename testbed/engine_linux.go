package testbed

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// Lend puts programs of the engine (EnvEngine) into a directory in which every user
// may run them: the cache may lie where only its owner looks. Without an engine it
// does nothing.
func Lend(dir string, programs ...string) error {
	engine := os.Getenv(EnvEngine)
	if engine == "" {
		return nil
	}
	return LendFrom(engine, dir, programs...)
}

// LendFrom is Lend, with programs of any directory.
func LendFrom(source, dir string, programs ...string) error {
	var failed error
	for _, p := range programs {
		from, to := filepath.Join(source, p), filepath.Join(dir, p)
		if os.Link(from, to) == nil {
			continue
		}
		b, err := os.ReadFile(from) // another file system
		failed = errors.Join(failed, err, os.WriteFile(to, b, 0o755))
	}
	return failed
}

// LookPathIn is LookPath, which looks for what was lent to a directory first.
func LookPathIn(dir, program string) (string, error) {
	if p, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
		return p, nil
	}
	return LookPath(program)
}
