package objects_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/objects"
)

const apiServerPod = `apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver-%, namespace: kube-system}
spec:
  nodeName: "%"
  containers:
  - {name: a, command: [kube-apiserver, "--authorization-mode=Node,RBAC", --feature-gates=X=true], args: [ARGS]}
`

func readAll(t *testing.T, docs ...string) (*inventory.Cluster, []inventory.Unread, []inventory.Skipped, []inventory.Host) {
	t.Helper()
	l := objects.New(objects.Options{})
	for i, d := range docs {
		if err := l.Read("file"+string(rune('1'+i)), strings.NewReader(d)); err != nil {
			t.Fatal(err)
		}
	}
	c, unread, skipped := l.Finish()
	return c, unread, skipped, l.Hosts()
}

func podOf(node, args string) string {
	return strings.ReplaceAll(strings.ReplaceAll(apiServerPod, "%", node), "ARGS", args)
}

func TestAPIServerOfItsPod(t *testing.T) {
	const policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"
	const args = `--audit-policy-file=/p, --audit-log-path=/l`
	c, unread, skipped, _ := readAll(t, podOf("a", args))
	a := c.APIServer
	if a == nil || strings.Join(a.Authorization, ",") != "Node,RBAC" || a.AuditPolicy != nil || a.Origin.Line != 1 || !c.Gates["X"] {
		t.Fatalf("%+v", a)
	}
	if len(unread) != 1 || unread[0].What != inventory.PartAudit || len(skipped) != 0 {
		t.Errorf("unread %v, skipped %v", unread, skipped)
	}
	// The file that the flag names, given beside it, fills the gap.
	c, unread, skipped, _ = readAll(t, podOf("a", args), policy)
	if c.APIServer.AuditPolicy == nil || c.APIServer.AuditPolicy.Exec != "Metadata" || len(unread)+len(skipped) != 0 {
		t.Errorf("%+v, unread %v, skipped %v", c.APIServer, unread, skipped)
	}
	// A server that has no audit policy does not get one from a file.
	c, _, skipped, _ = readAll(t, podOf("a", ""), policy)
	if c.APIServer.AuditPolicy.Exec != "None" || len(skipped) != 1 {
		t.Errorf("%+v, skipped %v", c.APIServer.AuditPolicy, skipped)
	}
}

func TestAPIServersThatDiffer(t *testing.T) {
	_, unread, _, _ := readAll(t, podOf("a", ""), podOf("b", ""))
	if len(unread) != 0 {
		t.Errorf("two alike: %v", unread)
	}
	c, unread, _, _ := readAll(t, podOf("a", ""), podOf("b", "--anonymous-auth=false"))
	if len(unread) != 1 || !strings.Contains(unread[0].Why, "set otherwise than kube-apiserver-a") || c.APIServer.Anonymous != inventory.Yes {
		t.Errorf("%v, %+v", unread, c.APIServer)
	}
}

func TestSettingsFiles(t *testing.T) {
	c, unread, skipped, hosts := readAll(t,
		"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthorization: {mode: AlwaysAllow}\n",
		`{"kubeletconfig":{"port":10250,"authentication":{"webhook":{"enabled":true},"anonymous":{"enabled":true}},"authorization":{"mode":"Webhook"}}}`)
	if c != nil {
		t.Error("files of kubelets were taken for a cluster")
	}
	if len(hosts) != 2 || hosts[0].Name != "file1" || hosts[0].Kubelet.Authorization != "AlwaysAllow" || hosts[1].Kubelet.Anonymous != inventory.Yes {
		t.Errorf("hosts %+v", hosts)
	}
	if len(unread) != 1 || unread[0].What != inventory.PartKubelet || len(skipped) != 0 {
		t.Errorf("unread %v, skipped %v", unread, skipped)
	}

	_, _, _, hosts = readAll(t, "# of a node\n---\n\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthorization:\n  mode: AlwaysAllow\n")
	if want := []inventory.Setting{{Name: "authorization.mode", Value: "AlwaysAllow", Origin: inventory.Origin{Source: "file1", Line: 7}}}; !slices.Equal(hosts[0].Kubelet.Set, want) {
		t.Errorf("%+v, want %+v", hosts[0].Kubelet.Set, want)
	}

	c, _, skipped, _ = readAll(t, `{"cluster":{"resourcesVpcConfig":{"endpointPublicAccess":true,"publicAccessCidrs":["0.0.0.0/0"]}}}`,
		"apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\nanonymous: {enabled: false}\n")
	if c == nil || c.APIServer.Public != inventory.Yes || c.APIServer.Anonymous != inventory.No || len(skipped) != 0 {
		t.Errorf("%+v, skipped %v", c, skipped)
	}

	_, _, skipped, hosts = readAll(t, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nport: yes\n", `{"kubeletconfig":{}}`,
		"apiVersion: audit.k8s.io/v1\nkind: Policy\n", `{"a":1}`)
	if len(skipped) != 4 || len(hosts) != 0 {
		t.Errorf("skipped %v, hosts %v", skipped, hosts)
	}
}

// TestSettingsBesideASnapshot: a file of a kubelet does not hide the manifests that a
// snapshot was made of.
func TestSettingsBesideASnapshot(t *testing.T) {
	l := objects.New(objects.Options{})
	if err := l.Include(&inventory.Cluster{Partial: true, Namespaces: []inventory.Namespace{{Object: inventory.Object{Name: "shop"}}}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Read("k", strings.NewReader("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n")); err != nil {
		t.Fatal(err)
	}
	if c, _, _ := l.Finish(); c == nil || len(c.Namespaces) != 1 {
		t.Errorf("cluster %+v", c)
	}
}
