package doctor

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/testbed/crio"
	"github.com/sallyport/sallyport/testbed/program"
)

// TestDoctorOnCRIO: doctor finds a real CRI-O, and misses no containerd beside it.
func TestDoctorOnCRIO(t *testing.T) {
	r := crio.New(t)
	x := consult(t, exec.CommandContext(t.Context(), program.New(t), "doctor", "--json", "--docker", "unix:///nonexistent.sock", "--crio", r.Socket, "--state", t.TempDir()))
	if d := x.checks["CRI-O"]; d.Grade != gradeOK || !strings.Contains(d.Found, "version 1.") || !strings.Contains(d.Found, r.Socket) {
		t.Errorf("CRI-O: %+v", d)
	}
	if d, ok := x.checks["containerd"]; ok && d.Grade == gradeMissing {
		t.Errorf("containerd: %+v", d)
	}
}
