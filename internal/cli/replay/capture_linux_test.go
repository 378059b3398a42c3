package replay

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

// TestCaptureOnDocker keeps what real witnesses say, and replays it twice to
// the same bytes.
func TestCaptureOnDocker(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	e, bin := docker.New(t, docker.Options{}), program.New(t)
	file := filepath.Join(t.TempDir(), "c.capture")
	e.RunT(t, "--name", "box", docker.Image)
	cmd := exec.Command(bin, "capture", "-o", file, "--docker", e.Address)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	// Nothing outside tells when the witnesses are up: they need less than a
	// second, or on a busy machine some commands, and whatever runs after that is
	// captured.
	n, began := 0, time.Now()
	testbed.Eventually(t, time.Minute, "execs for some seconds", func() bool {
		n++
		e.ExecT(t, 4321, "box", "/bin/busybox", "echo", fmt.Sprintf("try %d", n))
		return n >= 12 && time.Since(began) > 4*time.Second
	})
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("capture: %v\n%s", err, &stderr)
	}
	first, second := program.Run(t, bin, "replay", file, "--json"), program.Run(t, bin, "replay", file, "--json")
	if first != second {
		t.Errorf("two replays differ:\n%s\n%s", first, second)
	}
	if !strings.Contains(first, fmt.Sprintf("try %d", n)) {
		t.Errorf("the replay shows %s", first)
	}
}
