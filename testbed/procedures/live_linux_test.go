package procedures_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/procedures"
	"github.com/sallyport/sallyport/testbed/up"
)

// found is what rules find in the recordings; it is to be found in what happens,
// too.
const found = "../../rules/testdata/procedures/findings.txt"

// TestDocker plays Kinsing and TeamTNT on a real engine beside `sallyport up`
// with the shipped pack.
func TestDocker(t *testing.T) {
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	t.Parallel()
	d, err := procedures.StartDocker(t.Context(), directory(t))
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, d.Stop)
	l := watch(t, exec.Command, d.Watch(), d.Canary)
	l.play(t, d.Acts())
	ids, err := d.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.mine = func(target finding.Target) bool { return slices.Contains(ids, string(target.ContainerID)) }
	l.await(t, d.Acts())
}

// TestKube plays Hildegard, Peirates and Siloscape on a real cluster.
func TestKube(t *testing.T) {
	testbed.Require(t, testbed.Kube, testbed.BPF)
	t.Parallel()
	k, err := procedures.StartKube(t.Context(), directory(t))
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, k.Stop)
	l := watch(t, k.Inside(t.Context()), k.Watch(), k.Canary)
	l.play(t, k.Acts())
	l.mine = func(target finding.Target) bool {
		return target.Namespace == procedures.Namespace || target.ContainerID == ""
	}
	l.await(t, k.Acts())
}

// directory is one that containers' users can pass through.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sallyport-procedures-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func stop(t *testing.T, end func() error) {
	t.Helper()
	if err := end(); err != nil {
		t.Error(err)
	}
}

// live is a running up.
type live struct {
	*up.Process
	mine func(finding.Target) bool // whether a finding is about this test's
}

// programs is where sallyport is built, once for all tests.
var programs string

var program = sync.OnceValues(func() (string, error) {
	file := filepath.Join(programs, "sallyport")
	return file, run(exec.Command("go", "build", "-buildvcs=false", "-o", file, "github.com/sallyport/sallyport/cmd/sallyport"))
})

func run(cmd *exec.Cmd) error {
	_, err := testbed.Output(cmd)
	return err
}

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "sallyport-procedures-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(programs)
	os.Exit(code)
}

// watch starts up with the shipped pack, and returns when it knows who runs the
// canary.
func watch(t *testing.T, command func(string, ...string) *exec.Cmd, flags []string, canary func(context.Context) error) *live {
	t.Helper()
	sallyport, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pack := filepath.Join(dir, "rules")
	if err := run(exec.Command(sallyport, "rules", "copy", pack)); err != nil {
		t.Fatal(err)
	}
	p, err := up.Run(sallyport, dir, command, append(flags, "--rules", pack)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p.Stop) })
	for deadline := time.Now().Add(time.Minute); ; {
		if err := canary(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		sessions, err := p.Sessions(t.Context())
		if failed := p.Failed(); failed != nil {
			t.Fatal(failed)
		}
		if err == nil && slices.ContainsFunc(sessions, knownCanary) {
			return &live{Process: p}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no session of the canary within a minute: %v", err)
		}
	}
}

func knownCanary(s session.Session) bool {
	return s.Actor.Address != "" && len(s.Processes) > 0 && strings.Join(s.Argv, " ") == "/bin/busybox true" &&
		(s.Attribution.Level == session.LevelExact || s.Attribution.Level == session.LevelStrong)
}

func (l *live) play(t *testing.T, acts []procedures.Act) {
	t.Helper()
	for _, act := range acts {
		began := time.Now()
		if err := act.Play(t.Context()); err != nil {
			t.Fatalf("%s: %v", act.Procedure, err)
		}
		t.Logf("%s played in %.1fs", act.Procedure, time.Since(began).Seconds())
	}
}

// await waits until `sallyport findings` names each procedure as the recordings
// do, and demands that it says nothing of the neighbours.
func (l *live) await(t *testing.T, acts []procedures.Act) {
	t.Helper()
	table, err := procedures.ReadTable(found)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(time.Second) {
		findings, err := l.Findings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, f := range findings {
			if f.Target != nil && !l.mine(*f.Target) {
				continue // the sensor sees the containers of other daemons, too
			}
			ids = append(ids, f.Rule)
			if procedures.OfOne(f.Rule) && procedures.AboutNeighbour(f, map[event.ContainerID]string{}) {
				t.Errorf("%s is said of a neighbour: %s", f.Rule, f.Message)
			}
		}
		var missing []string
		for _, act := range acts {
			for _, id := range procedures.Named(act.Procedure, table[act.Procedure][procedures.Both]) {
				if !slices.Contains(ids, id) {
					missing = append(missing, id)
				}
			}
		}
		if len(missing) == 0 || t.Failed() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not found: %q; found: %q", missing, slices.Compact(slices.Sorted(slices.Values(ids))))
		}
	}
}
