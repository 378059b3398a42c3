//go:build linux

package containerd_test

import (
	"os"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/containerd"
)

func TestRun(t *testing.T) {
	r := containerd.New(t)
	id := r.RunT(t, "/bin/sleep", "1000")
	out, err := testbed.Output(r.Ctr(t.Context(), "task", "exec", "--exec-id", "e1", id, "/bin/actor", "fork", "print"))
	if err != nil || !strings.HasSuffix(out, " 0") {
		t.Errorf("exec: %q, %v", out, err)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	testbed.Require(t, testbed.Containerd)
	r, err := containerd.Start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.Run(t.Context(), "/bin/sleep", "1000")
	if err != nil {
		t.Error(err)
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{r.Dir, "/sys/fs/cgroup/pids/" + containerd.Namespace + "/" + id} {
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
}
