package truth

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/testbed"
)

func TestMain(m *testing.M) {
	ClientMain()
	os.Exit(m.Run())
}

// TestStorm is `make truth`, small: the same storm, and the same requirements.
func TestStorm(t *testing.T) {
	testbed.Require(t, testbed.Docker, testbed.BPF)
	if testing.Short() {
		t.Skip("a storm takes a minute; left out with -short")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "sallyport")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "github.com/sallyport/sallyport/cmd/sallyport")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build sallyport: %v\n%s", err, out)
	}
	results, err := Main(t.Context(), Options{
		Sallyport: program, Modes: []Mode{Always, Auto, Off}, Rounds: 2, Parallel: 12, Seed: 1, Keep: dir, Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		for _, q := range r.Requirements {
			if !q.OK {
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
