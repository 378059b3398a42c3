package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

// examination is what `doctor --json` printed.
type examination struct {
	checks map[string]diagnosis
	exit   int
	have   []attack.Need
}

func (x examination) has(n attack.Need) bool { return slices.Contains(x.have, n) }

// consult runs the program as an unprivileged or privileged user would.
func consult(t *testing.T, cmd *exec.Cmd) examination {
	t.Helper()
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if complaint.Len() > 0 {
		t.Errorf("standard error: %s", complaint.Bytes())
	}
	x := examination{checks: map[string]diagnosis{}}
	for line := range strings.Lines(out.String()) {
		var d struct {
			diagnosis
			Exit int           `json:"exit"`
			Have []attack.Need `json:"have"`
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		x.checks[d.Check] = d.diagnosis
		if d.Check == "verdict" {
			x.exit, x.have = d.Exit, d.Have
		}
	}
	if code := cmd.ProcessState.ExitCode(); code != x.exit {
		t.Errorf("exit status %d, verdict %d", code, x.exit)
	}
	t.Logf("%s", out.Bytes())
	return x
}

// TestDoctorOnARealHost asks the kernel of this machine and a real Docker
// engine: as root, as a member of Docker's group, and as nobody.
func TestDoctorOnARealHost(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Docker)
	engine := docker.New(t, docker.Options{})
	bin := program.New(t)
	doctor := func(t *testing.T, args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), bin, append([]string{"doctor", "--json", "--docker", engine.Address}, args...)...)
	}
	t.Run("root", func(t *testing.T) {
		x := consult(t, doctor(t, "--state", filepath.Join(t.TempDir(), "state")))
		if !x.has(attack.NeedDocker) || !x.has(attack.NeedContainerd) {
			t.Errorf("does not see Docker and containerd: %v", x.have)
		}
		if d := x.checks["containerd"]; !strings.Contains(d.Found, engine.ContainerdSocket) {
			t.Errorf("containerd is at %s, got %q", engine.ContainerdSocket, d.Found)
		}
		if testbed.Missing(testbed.BPF) == "" && !x.has(attack.NeedKernel) {
			t.Errorf("BTF tracepoints load here, and doctor does not see it: %+v", x.checks["kernel sensor"])
		}
		if x.exit == exit.Usage {
			t.Error("nothing is seen")
		}
	})
	t.Run("group", func(t *testing.T) {
		cmd := docker.As(doctor(t, "--state", "/nonexistent/state"), 65534)
		x := consult(t, cmd)
		if !x.has(attack.NeedDocker) || x.has(attack.NeedKernel) || x.exit != exit.Findings {
			t.Errorf("exit %d, has %v, want Docker alone", x.exit, x.have)
		}
		if d := x.checks["privileges"]; len(d.Remedy) == 0 || !strings.Contains(d.Remedy[0], "sudo") {
			t.Errorf("no remedy: %+v", d)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		cmd := doctor(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		x := consult(t, cmd)
		if x.exit != exit.Usage || len(x.have) > 0 {
			t.Errorf("exit %d, has %v, want nothing", x.exit, x.have)
		}
		for _, check := range []string{"privileges", "docker", "containerd"} {
			if len(x.checks[check].Remedy) == 0 {
				t.Errorf("%s has no remedy: %+v", check, x.checks[check])
			}
		}
	})
}

// TestDoctorKnowsWhoHoldsTheStore: another `up` is found by its lock, without
// touching it.
func TestDoctorKnowsWhoHoldsTheStore(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if facts, err := lookAtDir(dir); err != nil || facts.Holder != 0 {
		t.Errorf("before: %+v, %v", facts, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	facts, err := lookAtDir(dir)
	if err != nil || facts.Holder != os.Getpid() {
		t.Errorf("locked by %d: %+v, %v", os.Getpid(), facts, err)
	}
}
