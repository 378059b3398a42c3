package exposure_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// TestOtherMakers: kinds of other controllers make pods where the cluster has them.
func TestOtherMakers(t *testing.T) {
	const all = "dev/other dev/run shop/db-0 shop/web-1"
	open := func(c *inventory.Cluster) { c.Namespaces[0].Enforce = "" }
	has := func(kind string) func(*testing.T, *inventory.Cluster) {
		return func(_ *testing.T, c *inventory.Cluster) { open(c); c.PodMakers = []string{kind} }
	}
	by := func(kind, account string) func(*testing.T, *inventory.Cluster) {
		return func(t *testing.T, c *inventory.Cluster) {
			c.PodMakers = []string{kind}
			namespace, name, _ := strings.Cut(account, "/")
			c.ServiceAccounts = append(c.ServiceAccounts, inventory.ServiceAccount{Object: inventory.Object{Namespace: namespace, Name: name}})
			give(t, c, "dev", "ServiceAccount", account, "create pods/exec")
		}
	}
	for _, tt := range []struct {
		name, text string
		change     func(*testing.T, *inventory.Cluster)
		want       string
	}{
		{"a workflow", "create argoproj.io:workflows", has("workflows.argoproj.io"), all},
		{"which the cluster does not have", "create argoproj.io:workflows", has("applications.argoproj.io"), ""},
		{"of another group", "create example.com:workflows", has("workflows.argoproj.io"), ""},
		{"by change", "patch argoproj.io:workflows x", has("workflows.argoproj.io"), all},
		{"one to be made has no name", "create argoproj.io:workflows x", has("workflows.argoproj.io"), ""},
		{"where Pod Security forbids more", "create argoproj.io:workflows", func(_ *testing.T, c *inventory.Cluster) { c.PodMakers = []string{"workflows.argoproj.io"} }, ""},
		{"as a service account of the namespace", "create tekton.dev:taskruns", by("taskruns.tekton.dev", "shop/web"), "dev/other dev/run"},
		{"a machine is bounded", "create kubevirt.io:virtualmachines", has("virtualmachines.kubevirt.io"), ""},
		{"and has a service account", "create kubevirt.io:virtualmachines", by("virtualmachines.kubevirt.io", "shop/web"), "dev/other dev/run"},
		{"what a controller applies", "create kustomize.toolkit.fluxcd.io:kustomizations", by("kustomizations.kustomize.toolkit.fluxcd.io", "flux-system/kustomize-controller"), "dev/other dev/run"},
		{"what nobody applies", "create kustomize.toolkit.fluxcd.io:kustomizations", by("kustomizations.kustomize.toolkit.fluxcd.io", "flux-system/other"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			give(t, c, "shop", "User", "ann", tt.text)
			tt.change(t, c)
			if got := reached(t, c, exposure.Actor("user:ann")); got != tt.want {
				t.Errorf("reaches %q, want %q", got, tt.want)
			}
		})
	}
}
