package testbed

import (
	"fmt"
	"os"
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
