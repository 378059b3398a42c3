package testbed

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEngine: what is in the directory of the engine comes before the machine's.
func TestEngine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the capability needs root")
	}
	t.Setenv(EnvEngine, "")
	if why := Missing(Engine); !strings.Contains(why, "make test-engine") {
		t.Errorf("without the engine: %q", why)
	}
	dir := t.TempDir()
	t.Setenv(EnvEngine, dir)
	if why := Missing(Engine); why == "" {
		t.Error("an empty directory is an engine")
	}
	mine := filepath.Join(dir, "sh")
	if err := os.WriteFile(mine, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := LookPath("sh"); err != nil || got != mine {
		t.Errorf("sh is %s, %v", got, err)
	}
	if got, err := LookPath("ls"); err != nil || filepath.Dir(got) == dir {
		t.Errorf("ls is %s, %v", got, err)
	}
	if !slices.ContainsFunc(Environ(), func(v string) bool { return strings.HasPrefix(v, "PATH="+dir+":") }) {
		t.Errorf("daemons have %q", Environ())
	}
}
