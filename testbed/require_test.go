package testbed

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// observer stands in for a test and keeps how it was left.
type observer struct {
	testing.TB
	skipped, failed string
}

func (o *observer) Helper()                        {}
func (o *observer) Skipf(format string, a ...any)  { o.skipped = fmt.Sprintf(format, a...); panic(o) }
func (o *observer) Fatalf(format string, a ...any) { o.failed = fmt.Sprintf(format, a...); panic(o) }

// require calls Require as a test would and returns how that test was left.
func require(t *testing.T, caps ...string) (o *observer) {
	o = &observer{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(o) {
			panic(r)
		}
	}()
	Require(o, caps...)
	return o
}

func TestRequire(t *testing.T) {
	t.Setenv(EnvRequire, "root,docker")
	if o := require(t, "teleport"); !strings.Contains(o.skipped, "capability teleport is missing: ") || o.failed != "" {
		t.Errorf("missing capability: %+v", o)
	}
	t.Setenv(EnvRequire, "root,teleport")
	if o := require(t, "teleport"); !strings.Contains(o.failed, "capability teleport is required") || o.skipped != "" {
		t.Errorf("missing and required: %+v", o)
	}
	if o := require(t); o.skipped != "" || o.failed != "" {
		t.Errorf("nothing required: %+v", o)
	}
}

// TestEngine: what is in the directory of the engine comes before the machine's.
func TestEngine(t *testing.T) {
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("the capability needs root on Linux")
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

func TestMissingWithoutRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("runs as an ordinary user")
	}
	for _, c := range []string{Root, Docker, Containerd, Podman, Kube, BPF} {
		if why := Missing(c); !strings.Contains(why, "root") {
			t.Errorf("%s: %q does not say to become root", c, why)
		}
	}
}
