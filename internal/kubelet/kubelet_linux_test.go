package kubelet_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/kubelet"
	"github.com/sallyport/sallyport/testbed"
)

// TestMain makes the test program a server on any port when it is called kubelet.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "kubelet" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	os.Stdout.WriteString("ready\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestNobodysKubelet: a process that is called so and is not root's is watched
// and not believed.
func TestNobodysKubelet(t *testing.T) {
	testbed.Require(t, testbed.Root)
	dir := t.TempDir()
	program := filepath.Join(dir, "kubelet")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} { // private to us by default
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
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
	nodes := kubelet.Find()
	i := slices.IndexFunc(nodes, func(n kubelet.Node) bool { return n.PID == uint32(cmd.Process.Pid) })
	if i < 0 || nodes[i].Believed {
		t.Errorf("found %+v", nodes)
	}
}
