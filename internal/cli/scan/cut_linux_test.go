package scan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

// ownEtc is a copy of /etc, which commands have for theirs in a mount namespace of their own.
type ownEtc string

func newEtc(t *testing.T) ownEtc {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "etc")
	if out, err := exec.Command("cp", "-a", "/etc", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, line := range map[string]string{
		"passwd":  "spjane:x:4242:4242::/:/bin/sh\n",
		"group":   fmt.Sprintf("spjane:x:4242:\nspdocker:x:%d:spjane\n", docker.ClientGID),
		"sudoers": "", // the machine's own
	} {
		old, _ := os.ReadFile(filepath.Join(dir, name))
		if name == "sudoers" {
			old = nil
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(old, line...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return ownEtc(dir)
}

// command is a command that has it.
func (etc ownEtc) command(t *testing.T, e *docker.Engine, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"-m", "sh", "-c", `mount --bind "$0" /etc && exec "$@"`, string(etc)}, args...)...)
	like := e.CLI(t.Context())
	cmd.Env = append(os.Environ(), like.Env[len(like.Env)-2:]...)
	return cmd
}

// TestCutOnAHost does on a real host what cut says first, asks again, and has those try who
// are said to be kept out.
func TestCutOnAHost(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	e := docker.New(t, docker.Options{})
	bin, etc := program.New(t), newEtc(t)
	dir := filepath.Dir(e.Socket)
	e.RunT(t, "--name", "box", docker.Image)
	e.RunT(t, "--name", "ci", "-v", dir+":/x", docker.Image)
	if err := os.Chmod(e.Socket, 0o666); err != nil {
		t.Fatal(err)
	}
	client := e.CLI(t.Context()).Path
	gets := func(user ...string) bool {
		args := append(append([]string{"setpriv"}, user...), client, "-H", e.Address, "exec", "box", "/bin/busybox", "true")
		return etc.command(t, e, args...).Run() == nil
	}
	nobody := func() bool { return gets("--reuid", "4243", "--regid", "4243", "--clear-groups") }
	jane := func() bool { return gets("--reuid", "spjane", "--regid", "spjane", "--init-groups") }
	ci := func() bool {
		_, err := docker.Output(e.CLI(t.Context(), "exec", "ci", "/bin/busybox", "test", "-S", "/x/"+filepath.Base(e.Socket)))
		return err == nil
	}
	left := -1
	for _, step := range []struct {
		patch            string
		nobody, jane, ci bool // who gets in before it
	}{
		{"chmod o-w " + e.Socket, true, true, true},
		{"gpasswd -d spjane spdocker", false, true, true},
		{"docker -H " + e.Address + " stop ci  # and run it again without -v " + dir + ":/x", false, false, true},
		{"", false, false, false},
	} {
		if n, j, c := nobody(), jane(), ci(); n != step.nobody || j != step.jane || c != step.ci {
			t.Errorf("before %q: nobody %t, jane %t, ci %t", step.patch, n, j, c)
		}
		var stderr bytes.Buffer
		ask := etc.command(t, e, bin, "scan", "cut", "--from", "host", "--most", "1", "--json")
		ask.Stderr = &stderr
		out, err := ask.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, stderr.Bytes())
		}
		if step.patch == "" {
			if len(out) > 0 {
				t.Errorf("something is left: %s", out)
			}
			break
		}
		var r exposure.Removal
		if err := json.Unmarshal(out, &r); err != nil || !strings.HasPrefix(r.Patch, step.patch) || r.Closes != 2 || left >= 0 && r.Left != left-2 {
			t.Fatalf("%v: %s, want %s and to leave two less than %d", err, out, step.patch, left)
		}
		left = r.Left
		if out, err := docker.Output(etc.command(t, e, "sh", "-c", strings.Replace(r.Patch, "docker ", client+" ", 1))); err != nil {
			t.Fatalf("%s: %v: %s", r.Patch, err, out)
		}
		if strings.Contains(step.patch, " stop ci") {
			if err := e.Remove(t.Context(), "ci"); err != nil {
				t.Fatal(err)
			}
			e.RunT(t, "--name", "ci", docker.Image)
		}
	}
}

// TestCutOfAPort: a daemon that answers whoever comes is first, for no other setting helps
// before that.
func TestCutOfAPort(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	address := "tcp://" + testbed.FreeAddress(t)
	e := docker.New(t, docker.Options{Flags: []string{"-H", address}})
	bin, etc := program.New(t), newEtc(t)
	e.RunT(t, "--name", "box", docker.Image)
	out, err := docker.Output(etc.command(t, e, bin, "scan", "cut", "--from", "host", "--target", "box"))
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	port, group := strings.Index(out, "# take -H "+address+" out of the flags of dockerd"), strings.Index(out, "gpasswd -d spjane spdocker")
	if !strings.Contains(out, "2 pairs of an actor and a container.") || port < 0 || group < port || !strings.Contains(out, fmt.Sprintf("flags of process %d", e.PID())) {
		t.Error(out)
	}
}
