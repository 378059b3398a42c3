package doctor

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// TestDoctorOnACluster asks doctor about a real API server: with up running beside
// it, with the webhook out of reach, and without either.
func TestDoctorOnACluster(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Kube, testbed.BPF)
	c := kube.New(t, kube.Options{AuditPolicy: string(audit.MinimalPolicy)})
	bin, dir, address := program.New(t), t.TempDir(), c.Nodes[0].Address+":9443"
	watcher := c.UserT(t, "watcher")
	flags := []string{
		"--docker", "unix:///nonexistent.sock", "--containerd", c.Nodes[0].Socket,
		"--audit-log", c.Audit, "--kubeconfig", watcher.Kubeconfig, "--admission", address,
	}
	doctor := func() examination {
		return consult(t, c.Command(t.Context(), bin, append([]string{"doctor", "--json", "--state", filepath.Join(dir, "state")}, flags...)...))
	}
	expect := func(x examination, check string, want grade, says string) {
		t.Helper()
		d := x.checks[check]
		if d.Grade != want || !strings.Contains(d.Found+d.Effect, says) {
			t.Errorf("%s: %s, want %s: %+v", check, d.Grade, want, d)
		}
		if (d.Grade == gradeDegraded || d.Grade == gradeMissing) && len(d.Remedy) == 0 {
			t.Errorf("%s has no remedy", check)
		}
	}

	x := doctor() // before anything is set up
	expect(x, "API server", gradeOK, "")
	expect(x, "pods", gradeDegraded, "403")
	expect(x, "admission", gradeNote, "403")
	expect(x, "audit canary", gradeOK, "was in the log within")

	if err := c.Apply(t.Context(), api.RBAC+`---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: watcher},
subjects: [{kind: User, name: watcher}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sallyport-watch}}`); err != nil {
		t.Fatal(err)
	}
	x = doctor()
	expect(x, "pods", gradeOK, "listed and watched")
	expect(x, "admission", gradeDegraded, "not told")

	p, err := up.Run(bin, dir, func(name string, args ...string) *exec.Cmd { return c.Command(t.Context(), name, args...) }, flags...)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	testbed.Eventually(t, 30*time.Second, "the webhook is served", func() bool {
		conn, err := c.Dial(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if err := c.Apply(t.Context(), program.Run(t, bin, "kube", "webhook-config", "--state", p.State, "--url", "https://"+address)); err != nil {
		t.Fatal(err)
	}
	ns := c.NamespaceT(t)
	c.RunPodT(t, ns, "web", "")
	testbed.Eventually(t, 30*time.Second, "the webhook is called", func() bool {
		c.KubectlT(t, c.Admin, "exec", "-n", ns, "web", "--", "true")
		return doctor().checks["admission calls"].Grade == gradeOK
	})
	x = doctor()
	for _, check := range []string{"API server", "pods", "admission", "admission webhook", "admission calls", "audit canary", "kubernetes audit"} {
		expect(x, check, gradeOK, "")
	}
	if !x.has(attack.NeedAudit) || !x.has(attack.NeedAdmission) || !x.has(attack.NeedPods) {
		t.Errorf("has %v", x.have)
	}

	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	c.KubectlT(t, c.Admin, "exec", "-n", ns, "web", "--", "true") // it goes on without
	x = doctor()
	expect(x, "admission webhook", gradeDegraded, "nobody answers")
	expect(x, "admission calls", gradeNote, "went on without")
	expect(x, "audit canary", gradeOK, "was in the log within")
}
