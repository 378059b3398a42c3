package scan

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan"
	"github.com/sallyport/sallyport/testbed/crio"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

// TestScanOfAHostWithCRIO: the socket of a CRI-O that no distribution put there is found
// by who listens, with who may use it; that its containers are not listed is said.
func TestScanOfAHostWithCRIO(t *testing.T) {
	t.Parallel()
	r, bin, file := crio.New(t), program.New(t), filepath.Join(t.TempDir(), "h.scan")
	none := &docker.Engine{Address: "unix:///nonexistent.sock"}
	hostScan(t, bin, none, "collect", "--from", "host", "-o", file)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	i, _, err := scan.Read(f)
	if err != nil || len(i.Hosts) != 1 {
		t.Fatalf("%+v, %v", i, err)
	}
	at := slices.IndexFunc(i.Hosts[0].Sockets, func(s inventory.Socket) bool { return s.Path == r.Socket })
	if at < 0 {
		t.Fatalf("%s is not among %+v", r.Socket, i.Hosts[0].Sockets)
	}
	if s := i.Hosts[0].Sockets[at]; s.Service != inventory.ServiceCRIO || int(s.PID) != r.Daemon().PID() || s.UID != 0 || s.GID != crio.ClientGID {
		t.Errorf("%+v, want CRI-O %d, group %d", s, r.Daemon().PID(), crio.ClientGID)
	}
	report := hostScan(t, bin, none, "--from", file, "--fail-on", "never", "--format", "json")
	if !strings.Contains(report, "containers of cri-o are not listed") {
		t.Errorf("the report says\n%s", report)
	}
}
