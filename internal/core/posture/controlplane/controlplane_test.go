package controlplane_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/controlplane"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// lines writes what was found and what is open, one a line.
func lines(i *inventory.Inventory) string {
	found, open := controlplane.Check(i)
	var b strings.Builder
	for _, f := range found {
		b.WriteString(f.Rule + " " + f.Severity.String() + " " + f.Subject + "\n")
	}
	for _, o := range open {
		b.WriteString("? " + o.Rule + " " + o.Subject + "\n")
	}
	return b.String()
}

func number(n int) *int { return &n }

// closed is a kubelet about which there is nothing to say.
func closed() inventory.Kubelet {
	return inventory.Kubelet{
		Node: "n", Anonymous: inventory.No, Webhook: inventory.Yes, Authorization: "Webhook", ClientCA: "/ca", ReadOnlyPort: number(0),
		Debugging: inventory.Yes, RotateCerts: inventory.Yes, SeccompDefault: inventory.Yes,
	}
}

func TestKubelet(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*inventory.Kubelet)
		want   string
	}{
		"closed":       {func(*inventory.Kubelet) {}, ""},
		"anonymous":    {func(k *inventory.Kubelet) { k.Anonymous = inventory.Yes }, "SP-KLT-001 medium node:n authentication.anonymous.enabled\n"},
		"always allow": {func(k *inventory.Kubelet) { k.Authorization = "AlwaysAllow" }, "SP-KLT-002 high node:n authorization.mode\n"},
		"both": {func(k *inventory.Kubelet) { k.Anonymous, k.Authorization = inventory.Yes, "AlwaysAllow" },
			"SP-KLT-001 critical node:n authentication.anonymous.enabled\nSP-KLT-002 critical node:n authorization.mode\n"},
		"both, no commands": {func(k *inventory.Kubelet) {
			k.Anonymous, k.Authorization, k.Debugging = inventory.Yes, "AlwaysAllow", inventory.No
		}, "SP-KLT-001 medium node:n authentication.anonymous.enabled\nSP-KLT-002 high node:n authorization.mode\n"},
		"little": {func(k *inventory.Kubelet) {
			k.ClientCA, k.ReadOnlyPort, k.RotateCerts, k.SeccompDefault = "", number(10255), inventory.No, inventory.No
		}, "SP-KLT-003 medium node:n authentication.x509.clientCAFile\nSP-KLT-004 medium node:n readOnlyPort\nSP-KLT-005 low node:n rotateCertificates\nSP-KLT-006 low node:n seccompDefault\n"},
		"unknown": {func(k *inventory.Kubelet) { *k = inventory.Kubelet{Node: "n", ClientCA: "/ca"} },
			"? SP-KLT-001 node:n authentication.anonymous.enabled\n? SP-KLT-002 node:n authorization.mode\n? SP-KLT-004 node:n readOnlyPort\n? SP-KLT-005 node:n rotateCertificates\n? SP-KLT-006 node:n seccompDefault\n"},
	} {
		t.Run(name, func(t *testing.T) {
			k := closed()
			c.change(&k)
			node := inventory.Node{Object: inventory.Object{Name: "n"}, Kubelet: &k}
			// The same kubelet by its host and by its node is one.
			i := inventory.Inventory{Hosts: []inventory.Host{{Name: "n", Kubelet: &k}}, Cluster: &inventory.Cluster{Nodes: []inventory.Node{node}}}
			if diff := cmp.Diff(c.want, lines(&i)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// guarded is an API server about which there is nothing to say.
func guarded() inventory.APIServer {
	return inventory.APIServer{
		Anonymous: inventory.No, TokenFile: inventory.No, Authorization: []string{"Node", "RBAC"}, Admission: []string{"NodeRestriction"},
		AuditPolicy: &inventory.Audit{Exec: "Metadata"}, KubeletCA: inventory.Yes, Profiling: inventory.No, PodSecurity: "privileged", Public: inventory.No,
	}
}

func TestAPIServer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*inventory.APIServer)
		want   string
	}{
		"guarded":             {func(*inventory.APIServer) {}, ""},
		"anonymous":           {func(s *inventory.APIServer) { s.Anonymous = inventory.Yes }, "SP-K8S-901 low cluster anonymous-auth\n"},
		"health checks alone": {func(s *inventory.APIServer) { s.Anonymous, s.AnonymousPaths = inventory.Yes, []string{"/livez"} }, ""},
		"open": {func(s *inventory.APIServer) {
			s.Authorization, s.Admission, s.AdmissionOff = []string{"AlwaysAllow"}, []string{"AlwaysAdmit"}, []string{"PodSecurity"}
			s.TokenFile, s.KubeletCA, s.Profiling, s.Public = inventory.Yes, inventory.No, inventory.Yes, inventory.Yes
		}, "SP-K8S-902 high cluster token-auth-file\nSP-K8S-903 medium cluster kubelet-certificate-authority\nSP-K8S-904 critical cluster authorization-mode\n" +
			"SP-K8S-907 medium cluster enable-admission-plugins\nSP-K8S-908 medium cluster enable-admission-plugins\nSP-K8S-909 high cluster disable-admission-plugins\n" +
			"SP-K8S-910 low cluster profiling\nSP-K8S-913 medium cluster public endpoint\n"},
		"a webhook alone": {func(s *inventory.APIServer) { s.Authorization = []string{"Webhook"} }, "SP-K8S-905 medium cluster authorization-mode\nSP-K8S-906 medium cluster authorization-mode\n"},
		"no audit": {func(s *inventory.APIServer) {
			s.AuditPolicy = &inventory.Audit{Exec: "None", Silent: []string{"everything"}}
		}, "SP-K8S-911 high cluster audit-policy-file\n"},
		"some silence": {func(s *inventory.APIServer) { s.AuditPolicy.Silent = []string{"get pods/exec by bob"} }, "SP-K8S-912 medium cluster audit-policy-file\n"},
		"only its address is known": {func(s *inventory.APIServer) { *s = inventory.APIServer{Public: inventory.No} },
			"? SP-K8S-901 cluster anonymous-auth\n? SP-K8S-902 cluster token-auth-file\n? SP-K8S-903 cluster kubelet-certificate-authority\n" +
				"? SP-K8S-904 cluster authorization-mode\n? SP-K8S-905 cluster authorization-mode\n? SP-K8S-906 cluster authorization-mode\n" +
				"? SP-K8S-907 cluster enable-admission-plugins\n? SP-K8S-908 cluster enable-admission-plugins\n? SP-K8S-909 cluster enable-admission-plugins\n" +
				"? SP-K8S-910 cluster profiling\n? SP-K8S-911 cluster audit-policy-file\n? SP-K8S-912 cluster audit-policy-file\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := guarded()
			c.change(&s)
			i := inventory.Inventory{Cluster: &inventory.Cluster{APIServer: &s}}
			if diff := cmp.Diff(c.want, lines(&i)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			own := s // the same by its host and by its cluster is one
			i.Hosts = []inventory.Host{{Name: "n", APIServer: &own}}
			if diff := cmp.Diff(c.want, lines(&i)); diff != "" {
				t.Errorf("by its host, too (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	h := inventory.Host{Name: "h", Files: []inventory.File{
		{What: "kubeconfig", Path: "/a", Mode: 0o600},
		{What: "kubeconfig", Path: "/b", Mode: 0o644, Actor: "user:kubernetes-admin"},
		{What: "private key", Path: "/c", Mode: 0o640},
		{What: "settings", Path: "/d", Mode: 0o644},
		{What: "static pods", Path: "/it's", Mode: 0o775},
		{What: "kubeconfig", Path: "/e", Mode: 0o600, UID: 7},
		{What: "kubeconfig", Path: "/home/bob/.kube/config", Mode: 0o600, UID: 1000},
	}}
	const want = "SP-K8S-920 high host:h /b\nSP-K8S-920 medium host:h /c\nSP-K8S-921 high host:h /it's\nSP-K8S-922 medium host:h /e\n"
	i := inventory.Inventory{Hosts: []inventory.Host{h}}
	if diff := cmp.Diff(want, lines(&i)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	found, _ := controlplane.Check(&i)
	if f := found[0]; f.Remedy != "chmod 600 '/b'" || !strings.Contains(f.Message, "user:kubernetes-admin") {
		t.Errorf("%+v", f)
	}
	if f := found[2]; f.Remedy != `chmod go-w '/it'\''s'` {
		t.Errorf("%+v", f)
	}
}

// TestEvidence: a finding names where the setting stands, or that it has its default.
func TestEvidence(t *testing.T) {
	k := closed()
	k.Anonymous, k.SeccompDefault = inventory.Yes, inventory.No
	k.Origin = inventory.Origin{Source: "process 7"}
	k.Set = []inventory.Setting{{Name: "authentication.anonymous.enabled", Value: "true", Origin: inventory.Origin{Source: "/k.yaml", Line: 4}}}
	found, _ := controlplane.Check(&inventory.Inventory{Hosts: []inventory.Host{{Name: "h", Kubelet: &k}}})
	if len(found) != 2 {
		t.Fatalf("%+v", found)
	}
	if e := found[0].Evidence[0]; e.Source != "/k.yaml:4" || e.What != "authentication.anonymous.enabled: true" {
		t.Errorf("%+v", e)
	}
	if e := found[1].Evidence[0]; e.Source != "process 7" || e.What != "seccompDefault is not set: the default counts" {
		t.Errorf("%+v", e)
	}
}
