//go:build linux

package docker

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/daemon"
)

var shared testbed.Shared[*Engine]

// Main runs a package's tests and then stops the engine that Shared started:
//
//	func TestMain(m *testing.M) { os.Exit(docker.Main(m)) }
func Main(m *testing.M) int { return shared.Main(m) }

// Shared returns the engine of the test program, for tests that leave it as
// they found it. It skips the test without the
// capability docker. The package needs a TestMain with Main.
func Shared(t testing.TB) *Engine {
	t.Helper()
	testbed.Require(t, testbed.Docker)
	return shared.Get(t, func() (*Engine, error) { return Start(context.Background(), Options{}) })
}

// New starts an engine for one test, for tests that restart or freeze it. It
// skips the test without the capability docker.
func New(t testing.TB, opts Options) *Engine {
	t.Helper()
	testbed.Require(t, testbed.Docker)
	e, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("dockerd's log: %s", daemon.Tail(e.Log))
		}
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// RunT is Run; the container is removed at the end of the test.
func (e *Engine) RunT(t testing.TB, args ...string) string {
	t.Helper()
	id, err := e.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := e.Remove(ctx, id); err != nil {
			t.Log(err) // Stop removes what is left
		}
	})
	return id
}

// ExecT runs "docker exec ARGS…" as the user uid and returns what it prints.
func (e *Engine) ExecT(t testing.TB, uid uint32, args ...string) string {
	t.Helper()
	out, err := Output(As(e.CLI(t.Context(), append([]string{"exec"}, args...)...), uid))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// HostPIDT is HostPID.
func (e *Engine) HostPIDT(t testing.TB, container string) int {
	t.Helper()
	pid, err := e.HostPID(t.Context(), container)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// RestartT is Restart.
func (e *Engine) RestartT(t testing.TB) {
	t.Helper()
	if err := e.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}
