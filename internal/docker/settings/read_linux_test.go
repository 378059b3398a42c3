package settings

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// idleVariable makes the test program wait until its input ends.
const idleVariable = "SETTINGS_TEST_IDLE"

func TestMain(m *testing.M) {
	if os.Getenv(idleVariable) == "" {
		os.Exit(m.Run())
	}
	_, _ = os.Stdout.WriteString("ready\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestRootless: a daemon that RootlessKit has started has its daemon.json and its socket
// with its user's.
func TestRootless(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, ".config/docker/daemon.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(`{"tlsverify": true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "--debug")
	cmd.Env = []string{idleVariable + "=1", "HOME=" + home, "XDG_RUNTIME_DIR=/run/user/7", "ROOTLESSKIT_STATE_DIR=/run/user/7/dockerd-rootless"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	var d inventory.Docker
	if _, failed := Read(cmd.Process.Pid, &d); failed != nil {
		t.Fatal(failed)
	}
	if d.TLSVerify != inventory.Yes || len(d.Hosts) != 1 || d.Hosts[0].Value != "unix:///run/user/7/docker.sock" {
		t.Errorf("%+v", d)
	}
}
