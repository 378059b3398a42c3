package host

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/internal/watch"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
)

// TestAdmissionOnACluster has all witnesses of a node run as `up` has them:
// users who run the same command in the same container at the same time are let
// go one by one, as the kernel sensor sees their processes start.
func TestAdmissionOnACluster(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.BPF)
	c := kube.New(t, kube.Options{})
	ns := c.NamespaceT(t)
	c.RunPodT(t, ns, "web", "")
	address := testbed.FreeAddress(t)
	if err := c.Expose(address); err != nil {
		t.Fatal(err)
	}
	conf := config.Config{
		State: t.TempDir(), Docker: filepath.Join(t.TempDir(), "none.sock"), Containerd: c.Nodes[0].Socket, ClientRequests: "off",
		AdmissionListen: address, AdmissionHold: 2900 * time.Millisecond,
	}
	h := Find(&terminal.Env{Getenv: func(string) string { return "" }}, conf, slog.New(slog.DiscardHandler))
	seen := captureAll(t, h)
	_, ca, err := admission.Certificate(filepath.Join(conf.State, statedir.Admission), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := admission.Manifest("https://"+address, ca)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), string(manifest)); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: trusted},
subjects: [{kind: Group, name: trusted}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}`); err != nil {
		t.Fatal(err)
	}
	ann := c.UserT(t, "ann", "trusted")
	for deadline := time.Now().Add(time.Minute); !h.starts.Covers(ns, "web") || len(seen.admissions("warm")) == 0; {
		c.KubectlT(t, ann, "exec", "-n", ns, "web", "--", "true", "warm")
		if time.Now().After(deadline) {
			t.Fatal("the webhook is not asked, or the pod not covered")
		}
	}
	var g errgroup.Group
	for _, name := range []string{"ben", "cem", "dee", "eli"} {
		u := c.UserT(t, name, "trusted")
		g.Go(func() error {
			_, err := testbed.Output(c.Kubectl(t.Context(), u, "exec", "-n", ns, "web", "--", "true", "same"))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	all := seen.admissions("same")
	if len(all) != 4 {
		t.Fatalf("%d admissions", len(all))
	}
	for _, a := range all {
		if !a.Alone {
			t.Errorf("%s was not alone: let go %v, held %v", a.User.Name, a.Time, a.Time.Sub(a.Arrived))
		}
	}
	testbed.Eventually(t, 20*time.Second, "the kubelet is known by its port", func() bool { return seen.believes(c.Nodes[0].Kubelet().PID()) })
	if s := h.AdmissionStatus(); s == nil || s.Passed < 5 || s.Held == 0 || s.HeldFor == 0 || s.Started < 4 || s.Reported < s.Passed || s.Late != 0 {
		t.Errorf("status: %+v", s)
	}
}

// captured is what the witnesses of a host have reported of the webhook.
type captured struct {
	mu       sync.Mutex
	all      []event.KubeAdmission // guarded by mu
	kubelets []uint32              // guarded by mu; as the kernel sensor told them last
}

// believes reports whether the kernel sensor takes a process for a kubelet.
func (c *captured) believes(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.kubelets, uint32(pid))
}

// admissions returns the execs whose last argument is word.
func (c *captured) admissions(word string) []event.KubeAdmission {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.all), func(a event.KubeAdmission) bool {
		return len(a.Argv) == 0 || a.Argv[len(a.Argv)-1] != word
	})
}

// captureAll runs the witnesses of h until the test ends.
func captureAll(t *testing.T, h *Host) *captured {
	ctx, cancel := context.WithCancel(t.Context())
	c, done := &captured{}, make(chan error, 1)
	go func() {
		done <- watch.Capture(ctx, watch.Options{Witnesses: h.Witnesses(nil)}, func(o event.Observation) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			switch o := o.(type) {
			case event.KubeAdmission:
				c.all = append(c.all, o)
			case event.WitnessState:
				if o.Witness == event.WitnessKernel {
					c.kubelets = o.Kubelets
				}
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}
