//go:build linux

package crio_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/crio"
)

// TestCRIO: pods run, commands run in them by both of CRI's ways, and of a CRI-O
// that was stopped nothing is left.
func TestCRIO(t *testing.T) {
	testbed.Require(t, testbed.CRIO)
	r, err := crio.Start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.RunPod(t.Context(), "shop", "web-0")
	if err != nil {
		t.Error(err)
	}
	if out, err := testbed.Output(r.ExecSync(t.Context(), p.Container, "/bin/echo", "hello")); err != nil || out != "hello" {
		t.Errorf("ExecSync: %q, %v", out, err)
	}
	if out, err := testbed.Output(crio.As(r.Exec(t.Context(), p.Container, "/bin/echo", "hello"), 4321)); err != nil || out != "hello" {
		t.Errorf("Exec: %q, %v", out, err)
	}
	if got := traces(t, r.Dir); len(got) < 10 {
		t.Errorf("traces of a running CRI-O are looked for in the wrong places: %q", got)
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	if got := traces(t, r.Dir); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

// traces finds what names the runtime: processes, mounts, cgroups, files.
func traces(t *testing.T, dir string) []string {
	t.Helper()
	name := []byte(filepath.Base(dir))
	var found []string
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/cgroup", "/proc/self/mountinfo"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, name) {
				found = append(found, f)
			}
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/" + string(name), "/sys/fs/cgroup/*/" + string(name), dir} {
		paths, _ := filepath.Glob(pattern)
		found = append(found, paths...)
	}
	return found
}
