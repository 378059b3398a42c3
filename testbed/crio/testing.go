//go:build linux

package crio

import (
	"testing"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/daemon"
)

// New starts a CRI-O for one test. It skips the test without the capability crio.
func New(t testing.TB) *Runtime {
	t.Helper()
	testbed.Require(t, testbed.CRIO)
	r, err := Start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("CRI-O's log: %s", daemon.Tail(r.path("log")))
		}
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// RunPodT is RunPod.
func (r *Runtime) RunPodT(t testing.TB, namespace, name string, argv ...string) Pod {
	t.Helper()
	p, err := r.RunPod(t.Context(), namespace, name, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
