package scan

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/kube"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

const widely = `
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: everything},
rules: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: wide},
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: everything}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: idle},
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ben}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}}
`

// TestScanUsedOnACluster: somebody with a wide role runs two commands in one namespace,
// while `up` watches. What is proposed is applied, what can go is removed: the same
// command still works, and one elsewhere, and another way, do not.
func TestScanUsedOnACluster(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Kube)
	b := kube.New(t, kube.Options{AuditPolicy: string(audit.MinimalPolicy)})
	bin, state := program.New(t), filepath.Join(t.TempDir(), "state")
	if err := b.Apply(t.Context(), widely); err != nil {
		t.Fatal(err)
	}
	here, there := b.NamespaceT(t), b.NamespaceT(t)
	b.RunPodT(t, here, "web", "")
	b.RunPodT(t, there, "web", "")
	ann := b.UserT(t, "ann")
	// Without containerd's events the audit log alone says who: that is sure at once.
	p := up.Print(t, bin, state, &docker.Engine{Address: "unix:///nonexistent.sock"}, "--audit-log", b.Audit)
	up.Await(t, state, "audit")
	for _, word := range []string{"one", "two"} {
		b.KubectlT(t, ann, "exec", "-n", here, "web", "--", "echo", word)
	}
	testbed.Eventually(t, 30*time.Second, "both commands are known", func() bool { w := p.Echoed(); return w["one"] && w["two"] })
	scan := func(args ...string) string {
		t.Helper()
		cmd := b.Command(t.Context(), bin, append([]string{"scan", "used", "--state", state, "--kubeconfig", b.Admin.Kubeconfig}, args...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr.Bytes())
		}
		return string(out)
	}
	testbed.Eventually(t, 2*time.Minute, "both are ann's", func() bool {
		time.Sleep(time.Second)
		return strings.Contains(scan("--json"), `"by":[{"actor":"user:ann","uses":2,`)
	})
	table := scan()
	t.Log("\n" + table)
	for _, want := range []string{"ClusterRoleBinding wide", "user:ann", "ClusterRoleBinding idle"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table does not have %q", want)
		}
	}
	plan := scan("--propose")
	t.Log("\n" + plan)
	follow(t, b, plan)
	try := func(ns string, args ...string) error {
		return b.Kubectl(t.Context(), ann, append([]string{"exec", "-n", ns, "web"}, args...)...).Run()
	}
	testbed.Eventually(t, 20*time.Second, "what nobody did is forbidden", func() bool {
		return try(there, "--", "true") != nil && b.Kubectl(t.Context(), ann, "attach", "-n", here, "web").Run() != nil
	})
	if err := try(here, "--", "echo", "three"); err != nil {
		t.Errorf("the same is no longer allowed: %v", err)
	}
	out, err := b.Kubectl(t.Context(), ann, "exec", "-n", there, "web", "--", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "forbidden") {
		t.Errorf("elsewhere it says %v: %s", err, out)
	}
	if again := scan("--propose"); !strings.Contains(again, "# No role to propose.") || strings.Contains(again, "kubectl delete") {
		t.Errorf("when it is done, it proposes\n%s", again)
	}
}

// follow applies a plan, and removes what it says can go then.
func follow(t *testing.T, b *kube.Cluster, plan string) {
	t.Helper()
	apply := b.Kubectl(t.Context(), b.Admin, "apply", "-f", "-")
	apply.Stdin = strings.NewReader(plan)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	removed := 0
	for line := range strings.Lines(plan) {
		text, ok := strings.CutPrefix(line, "#   kubectl ")
		if !ok {
			continue
		}
		command, _, _ := strings.Cut(text, "  #")
		if out, err := b.Kubectl(t.Context(), b.Admin, strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		removed++
	}
	if removed != 2 {
		t.Errorf("%d bindings are removed", removed)
	}
}
