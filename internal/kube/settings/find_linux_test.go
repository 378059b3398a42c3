package settings_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/settings"
	"github.com/sallyport/sallyport/testbed"
)

// idle are the names by which the test program waits until its input ends.
var idle = []string{"kube-apiserver", "k3s-server"}

func TestMain(m *testing.M) {
	if !slices.Contains(idle, filepath.Base(os.Args[0])) {
		os.Exit(m.Run())
	}
	_, _ = os.Stdout.WriteString("ready\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// called starts a process of that name as a user, from a file of root's that gives
// root's power to whoever starts it: its effective user is root.
func called(t *testing.T, name string, uid uint32) (pid int) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} { // private to us by default
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file)
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
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
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// TestNobodysAPIServer: a process that is called so and that somebody else started is
// no API server, though its directory in /proc is root's.
func TestNobodysAPIServer(t *testing.T) {
	testbed.Require(t, testbed.Root)
	nobodys, own := called(t, "kube-apiserver", 65534), called(t, "kube-apiserver", 0)
	if info, err := os.Stat("/proc/" + strconv.Itoa(nobodys)); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Fatalf("it does not look like root's: %+v, %v", info, err)
	}
	roots, others := settings.FindAPIServers()
	if slices.Contains(roots, nobodys) || !slices.Contains(others, nobodys) || !slices.Contains(roots, own) {
		t.Errorf("nobody's %d, root's %d: found %v and %v", nobodys, own, roots, others)
	}
}

// TestCombined: a program that has an API server and a kubelet inside is not passed
// over in silence.
func TestCombined(t *testing.T) {
	testbed.Require(t, testbed.Root)
	own, nobodys := called(t, "k3s-server", 0), called(t, "k3s-server", 65534)
	said := map[inventory.Part]bool{}
	for _, u := range settings.Combined("n1") {
		if u.From != "n1" || strings.Contains(u.Why, "process "+strconv.Itoa(nobodys)+" ") {
			t.Errorf("%+v", u)
		}
		if strings.Contains(u.Why, "process "+strconv.Itoa(own)+" (k3s-server)") {
			said[u.What] = true
		}
	}
	if !said[inventory.PartAPIServer] || !said[inventory.PartKubelet] {
		t.Errorf("said of %v only", said)
	}
}
