//go:build linux

package kube

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/daemon"
)

var shared testbed.Shared[*Cluster]

// Main runs a package's tests and then stops the cluster that Shared started:
//
//	func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }
func Main(m *testing.M) int { return shared.Main(m) }

// Shared returns the cluster of the test program, for tests that leave it as
// they found it, each in a namespace of its own. It skips the test without the
// capability kube. The package needs a TestMain with Main.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	testbed.Require(t, testbed.Kube)
	return shared.Get(t, func() (*Cluster, error) { return Start(context.Background(), Options{}) })
}

// New starts a cluster for one test, for tests with options or that restart
// parts of it. It skips the test without the capability kube.
func New(t testing.TB, opts Options) *Cluster {
	t.Helper()
	testbed.Require(t, testbed.Kube)
	c, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kube-apiserver's log: %s", daemon.Tail(c.Log("kube-apiserver")))
			for _, n := range c.Nodes {
				t.Logf("kubelet's log: %s", daemon.Tail(n.KubeletLog))
			}
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

var namespaces atomic.Int32

// NamespaceT makes a namespace for one test and returns its name. It goes with
// the cluster, not with the test: deleting takes longer than most tests.
func (c *Cluster) NamespaceT(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test-%d", namespaces.Add(1))
	if err := c.Namespace(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	return name
}

// RunPodT is RunPod.
func (c *Cluster) RunPodT(t testing.TB, namespace, name, spec string) Pod {
	t.Helper()
	p, err := c.RunPod(t.Context(), namespace, name, spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// UserT is User.
func (c *Cluster) UserT(t testing.TB, name string, groups ...string) User {
	t.Helper()
	u, err := c.User(name, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// KubectlT runs Kubectl and returns what it prints.
func (c *Cluster) KubectlT(t testing.TB, user User, args ...string) string {
	t.Helper()
	out, err := testbed.Output(c.Kubectl(t.Context(), user, args...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}
