package scan

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/kube/objects"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
	"github.com/sallyport/sallyport/testbed/program"
)

const scanned = `
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: devs},
subjects: [{kind: Group, name: devs}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: guests},
subjects: [{kind: User, name: guest}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: scanner},
subjects: [{kind: User, name: scanner}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sallyport-scan}}
---
`

// TestScanOfACluster asks who can exec in a pod of a real cluster, with no more
// than the role that is shipped, and has those who can and those who cannot try.
func TestScanOfACluster(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Kube)
	c := kube.New(t, kube.Options{})
	bin, ns := program.New(t), c.NamespaceT(t)
	apply := c.Kubectl(t.Context(), c.Admin, "apply", "-n", ns, "-f", "-")
	apply.Stdin = bytes.NewReader([]byte(scanned + objects.Role))
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.RunPodT(t, ns, "web", "")
	scanner := c.UserT(t, "scanner").Kubeconfig
	snapshot := filepath.Join(t.TempDir(), "it.scan")
	ask := func(args ...string) string {
		t.Helper()
		cmd := c.Command(t.Context(), bin, append([]string{"scan"}, args...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("scan %q: %v\n%s", args, err, stderr.Bytes())
		}
		return string(out)
	}
	live := ask("who-can-exec", "--kubeconfig", scanner, "-n", ns, "web", "--json")
	ask("collect", "--kubeconfig", scanner, "-o", snapshot)
	if again := ask("who-can-exec", "--from", snapshot, "-n", ns, "web", "--json"); again != live {
		t.Errorf("the snapshot says\n%s\nand the cluster said\n%s", again, live)
	}
	plugins := t.TempDir()
	if err := os.Symlink(bin, filepath.Join(plugins, "kubectl-sallyport")); err != nil {
		t.Fatal(err)
	}
	plugin := c.Kubectl(t.Context(), c.UserT(t, "scanner"), "sallyport", "scan", "who-can-exec", "-n", ns, "web", "--json")
	plugin.Env = append(plugin.Env, "PATH="+plugins)
	if again, err := testbed.Output(plugin); err != nil || again != strings.TrimSpace(live) {
		t.Errorf("kubectl sallyport says %v\n%s\nand sallyport said\n%s", err, again, live)
	}
	can := canExec(t, live)
	for name, groups := range map[string][]string{"dev": {"devs"}, "guest": nil, "scanner": nil} {
		listed := slices.Contains(can, exposure.Actor("user:"+name))
		for _, g := range groups {
			listed = listed || slices.Contains(can, exposure.Actor("group:"+g))
		}
		err := c.Kubectl(t.Context(), c.UserT(t, name, groups...), "exec", "-n", ns, "web", "--", "true").Run()
		if _, refused := err.(*exec.ExitError); err != nil && !refused {
			t.Fatal(err)
		}
		if listed != (err == nil) {
			t.Errorf("%s of %v: listed %v, and the attempt says %v", name, groups, listed, err)
		}
	}
	closes(t, c, ns, snapshot, ask)
}

// closes removes what cut says is to be removed first, which is the binding that the
// report blames, and has the one who could exec try again.
func closes(t *testing.T, c *kube.Cluster, ns, snapshot string, ask func(...string) string) {
	report := ask("--from", snapshot, "--format", "json", "--fail-on", "never")
	if !strings.Contains(report, `"rule":"SP-K8S-002"`) || !strings.Contains(report, `"subject":"RoleBinding `+ns+`/devs"`) || strings.Contains(report, "/guests") {
		t.Errorf("the report says\n%s", report)
	}
	var first exposure.Removal
	if err := json.Unmarshal([]byte(ask("cut", "--from", snapshot, "--target", ns, "--most", "1", "--json")), &first); err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(first.Patch)
	if first.Binding != "RoleBinding "+ns+"/devs" || words[0] != "kubectl" {
		t.Fatalf("to cut is %+v", first)
	}
	if out, err := c.Kubectl(t.Context(), c.Admin, words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", first.Patch, err, out)
	}
	deadline := time.Now().Add(10 * time.Second) // until the API server's authorizer knows
	for c.Kubectl(t.Context(), c.UserT(t, "dev", "devs"), "exec", "-n", ns, "web", "--", "true").Run() == nil {
		if time.Now().After(deadline) {
			t.Fatal("the binding is gone, and exec still works")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if diff := ask("diff", snapshot, "cluster", "--kubeconfig", c.Admin.Kubeconfig); !strings.Contains(diff, "group:devs") || strings.Contains(diff, "opened") {
		t.Errorf("diff says\n%s", diff)
	}
}

// canExec lists who is said to be able to exec directly.
func canExec(t *testing.T, lines string) (out []exposure.Actor) {
	t.Helper()
	for d := json.NewDecoder(bytes.NewReader([]byte(lines))); d.More(); {
		var e exposure.Exposure
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e.Direct && len(e.Via) > 0 && e.Via[0].Edge == exposure.EdgeExec {
			out = append(out, e.Actor)
		}
	}
	return out
}
