package kubestorm

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/truth"
)

var small = Options{Rounds: 1, People: 8, Parallel: 8, Gap: 100 * time.Millisecond, Hold: 500 * time.Millisecond, Seed: 1}

// TestStorm is `make truth` on Kubernetes, small.
func TestStorm(t *testing.T) {
	testbed.Require(t, testbed.Kube, testbed.BPF)
	storms(t, small)
}

// TestStormOnCRIO is the same on a node whose runtime is CRI-O.
func TestStormOnCRIO(t *testing.T) {
	testbed.Require(t, testbed.Kube, testbed.BPF, testbed.CRIO)
	opts := small
	opts.CRIO = true
	storms(t, opts)
}

func storms(t *testing.T, opts Options) {
	t.Helper()
	if testing.Short() {
		t.Skip("a storm takes a minute; left out with -short")
	}
	opts.Keep, opts.Log = t.TempDir(), t.Output()
	opts.Modes = []truth.Mode{Audit}
	opts.Sallyport = filepath.Join(opts.Keep, "sallyport")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", opts.Sallyport, "github.com/sallyport/sallyport/cmd/sallyport")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build sallyport: %v\n%s", err, out)
	}
	results, err := Main(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		for _, q := range r.Requirements {
			if share := strings.HasPrefix(q.Name, "pods/exec exact"); !q.OK && share {
				t.Logf("%s: %s is %.4g%s", r.Mode, q.Name, q.Value, q.Unit) // of a few commands on a busy machine, no figure
			} else if !q.OK {
				t.Errorf("%s: %s is %.4g%s, required %s", r.Mode, q.Name, q.Value, q.Unit, q.Target)
			}
		}
		for i, f := range r.Failures {
			if i == 10 {
				t.Logf("%s: and %d more", r.Mode, len(r.Failures)-i)
				break
			}
			t.Logf("%s: %s", r.Mode, f)
		}
	}
}
