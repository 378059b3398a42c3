//go:build linux

package podman

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
)

var shared testbed.Shared[*Service]

// Main runs a package's tests and then stops the service that Shared started:
//
//	func TestMain(m *testing.M) { os.Exit(podman.Main(m)) }
func Main(m interface{ Run() int }) int { return shared.Main(m) }

// Shared returns the service of the test program, for tests that leave it as they
// found it. It skips the test without the capability podman. The package needs a
// TestMain with Main.
func Shared(t testing.TB) *Service {
	t.Helper()
	testbed.Require(t, testbed.Podman)
	return shared.Get(t, func() (*Service, error) { return Start(context.Background(), nil) })
}

// RunT is Run; the container is removed at the end of the test.
func (s *Service) RunT(t testing.TB, args ...string) string {
	t.Helper()
	id, err := s.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Remove(ctx, id); err != nil {
			t.Log(err) // Stop removes what is left
		}
	})
	return id
}

// HostPIDT is HostPID.
func (s *Service) HostPIDT(t testing.TB, container string) int {
	t.Helper()
	pid, err := s.HostPID(t.Context(), container)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
