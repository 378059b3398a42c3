package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/settings"
)

func write(t *testing.T, root, name, text string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// manifest is an API server that has one of its files from its machine.
const manifest = `apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, namespace: kube-system}
spec:
  containers:
  - name: kube-apiserver
    command: [kube-apiserver, "--authorization-mode=Node,RBAC", --audit-log-path=/var/log/a, --audit-policy-file=/conf/policy.yaml, --authentication-config=/image/a.yaml]
    volumeMounts: [{name: conf, mountPath: /conf}]
  volumes:
  - {name: conf, hostPath: {path: /etc/conf}}
`

// TestHost reads a machine on which nothing runs.
func TestHost(t *testing.T) {
	root := t.TempDir()
	write(t, root, "etc/kubernetes/manifests/kube-apiserver.yaml", manifest, 0o600)
	write(t, root, "etc/conf/policy.yaml", policy("- {level: Request}\n"), 0o600)
	write(t, root, "etc/kubernetes/admin.conf", "kind: Config\n", 0o644)
	write(t, root, "etc/kubernetes/pki/ca.key", "", 0o600)
	write(t, root, "etc/kubernetes/pki/ca.crt", "", 0o644)
	write(t, root, "var/lib/kubelet/config.yaml", head+"staticPodPath: /srv/pods\n", 0o644)
	write(t, root, "srv/pods/a", "", 0o644)
	p := settings.Host(root, "n1", 0, 0)
	if p.Kubelet == nil || p.Kubelet.Node != "n1" || p.Kubelet.Anonymous != inventory.No {
		t.Errorf("kubelet %+v", p.Kubelet)
	}
	a := p.APIServer
	if a == nil || a.AuditPolicy == nil || a.AuditPolicy.Exec != "Request" || a.Anonymous != inventory.Unknown {
		t.Errorf("API server %+v", a)
	}
	var files []string
	for _, f := range p.Files {
		files = append(files, f.What+" "+f.Path+" "+os.FileMode(f.Mode).String())
	}
	want := []string{
		"kubeconfig /etc/kubernetes/admin.conf -rw-r--r--", "private key /etc/kubernetes/pki/ca.key -rw-------",
		"static pods /etc/kubernetes/manifests -rwxr-xr-x", "static pods /etc/kubernetes/manifests/kube-apiserver.yaml -rw-------",
		"settings /var/lib/kubelet/config.yaml -rw-r--r--", "static pods /srv/pods -rwxr-xr-x",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	var unread []string
	for _, u := range p.Unread {
		unread = append(unread, string(u.What)+": "+u.Why)
	}
	if len(unread) != 2 || !strings.Contains(unread[0], "no kubelet runs") || !strings.Contains(unread[1], "authentication-config") {
		t.Errorf("unread %q", unread)
	}
}

// TestNothingThere: a machine that has no part in a cluster is no gap.
func TestNothingThere(t *testing.T) {
	p := settings.Host(t.TempDir(), "n1", 0, 0)
	if diff := cmp.Diff(&settings.Part{}, p); diff != "" {
		t.Error(diff)
	}
}

// TestGone: a process that has ended is unknown, and no kubelet without settings.
func TestGone(t *testing.T) {
	p := settings.Host(t.TempDir(), "n1", 7, 8)
	if p.Kubelet != nil || p.APIServer != nil || len(p.Unread) != 2 {
		t.Errorf("%+v", p)
	}
}
