//go:build linux && (amd64 || arm64)

package kernel

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/testbed"
)

// TestSocketPeer: another process of another user, by its own program; once it is
// gone nothing but what the kernel kept.
func TestSocketPeer(t *testing.T) {
	testbed.Require(t, testbed.Root)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	client := connect(t, l.Addr().String())
	server := <-accepted
	defer server.Close()
	id, p := SocketPeer(server)
	if self, _ := os.Executable(); id == 0 || p.ID.PID != client.pid() || p.Cred.UID != 0 || string(p.Exe) != self || len(p.Argv.Args) < 2 {
		t.Errorf("%d %+v", id, p)
	}
	client.close()
	if again, p := SocketPeer(server); again != id || p.ID.PID != client.pid() || p.Exe != "" || p.Argv.Args != nil {
		t.Errorf("gone: %d %+v", again, p)
	}

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	c, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server, err = tcp.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, p := SocketPeer(server); !strings.HasPrefix(p.Address, "127.0.0.1:") || p.HasCred() {
		t.Errorf("tcp: %+v", p)
	}
}

// TestPeerGroups: all groups of another process, however many, and none of a peer
// that has no process here.
func TestPeerGroups(t *testing.T) {
	testbed.Require(t, testbed.Root)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, n := range []int{0, 1, 31, 32, 33, 500} {
		want := []uint32{77}
		for i := range n {
			want = append(want, uint32(1000+i))
		}
		cmd := exec.Command(os.Args[0], "client", mark())
		cmd.Env = append(os.Environ(), envClient+"="+l.Addr().String())
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Gid: want[0], Groups: want[1:]}}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, err := PeerGroups(server)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%d groups: %v, %v", n, got, err)
		}
		_ = server.Close()
		_ = in.Close()
		_ = cmd.Wait()
	}
	if got, err := PeerGroups(&net.TCPConn{}); err == nil {
		t.Errorf("of TCP: %v", got)
	}
}
