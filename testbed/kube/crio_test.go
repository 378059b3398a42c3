//go:build linux

package kube_test

import (
	"testing"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
)

// TestCRIO: a node runs pods on CRI-O, and nothing of it is left.
func TestCRIO(t *testing.T) {
	testbed.Require(t, testbed.Kube, testbed.CRIO)
	c, err := kube.Start(t.Context(), kube.Options{Nodes: []kube.NodeOptions{{CRIO: true}}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.RunPod(t.Context(), "default", "web", "")
	if err != nil {
		t.Error(err)
	} else if out := c.KubectlT(t, c.Admin, "exec", p.Name, "--", "/bin/echo", "hello"); out != "hello" {
		t.Errorf("kubectl exec: %q", out)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if got := traces(t, c.Dir); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}
