package settings_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/settings"
	"github.com/sallyport/sallyport/testbed/kube"
)

// told is what a kubelet says of itself, as soon as it listens.
func told(t *testing.T, c *kube.Cluster, node string) *inventory.Kubelet {
	t.Helper()
	b, err := c.Get(t.Context(), "/api/v1/nodes/"+node+"/proxy/configz")
	for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		b, err = c.Get(t.Context(), "/api/v1/nodes/"+node+"/proxy/configz")
	}
	if err != nil {
		t.Fatal(err)
	}
	k, err := settings.Configz("configz", 1, b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestKubeletsSayTheSame configures a kubelet each way and compares what is made of its
// command line and files with what it says of itself.
func TestKubeletsSayTheSame(t *testing.T) {
	t.Parallel()
	c := kube.New(t, kube.Options{APIServer: []string{"--anonymous-auth=false"}})
	dir := t.TempDir()
	write(t, dir, "10-open.conf", head+"authentication: {anonymous: {enabled: true}}\nenableDebuggingHandlers: false\nreadOnlyPort: 10255\n", 0o600)
	write(t, dir, "sub/20-close.conf", head+"authentication: {anonymous: {enabled: false}}\nenableDebuggingHandlers: null\neventRecordQPS: 7\n", 0o600)
	write(t, dir, "30.ignored", "nonsense", 0o600)
	n := c.Nodes[0]
	for name, o := range map[string]kube.NodeOptions{
		"closed":       {},
		"anonymous":    {Anonymous: true},
		"always allow": {Anonymous: true, Authorization: "AlwaysAllow"},
		"drop-ins":     {Anonymous: true, Kubelet: []string{"--config-dir=" + dir}},
		"flags win":    {Authorization: "AlwaysAllow", Kubelet: []string{"--config-dir", dir, "--anonymous_auth", "--authorization-mode=Webhook", "--event-qps=0", "--rotate-certificates", "--authentication-token-webhook=false"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := n.RestartKubelet(t.Context(), func(to *kube.NodeOptions) { *to = o }); err != nil {
				t.Fatal(err)
			}
			p := settings.Host("/", "this", n.Kubelet().PID(), c.APIServer().PID())
			if p.Kubelet == nil {
				t.Fatalf("unknown: %+v", p.Unread)
			}
			want := told(t, c, n.Name)
			if p.Kubelet.Node != n.Name {
				t.Errorf("node %q", p.Kubelet.Node)
			}
			if diff := cmp.Diff(want, p.Kubelet, cmpopts.IgnoreFields(inventory.Kubelet{}, "Node", "Set", "Origin", "SeccompDefault")); diff != "" {
				t.Errorf("(-kubelet's own word +read):\n%s", diff)
			}
		})
	}
}

// TestAPIServerAsItIs compares what an API server's command line says with what it does.
func TestAPIServerAsItIs(t *testing.T) {
	t.Parallel()
	c := kube.New(t, kube.Options{})
	authn := filepath.Join(t.TempDir(), "authn.yaml")
	if err := os.WriteFile(authn, []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{
		"default": nil, "off": {"--anonymous-auth=false"}, "paths": {"--authentication-config=" + authn},
		"always allow": {"--authorization-mode=AlwaysAllow"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.RestartAPIServer(t.Context(), func(o *kube.Options) { o.APIServer = flags }); err != nil {
				t.Fatal(err)
			}
			a := settings.Host("/", "this", 0, c.APIServer().PID()).APIServer
			if a == nil {
				t.Fatal("unknown")
			}
			if found, _ := settings.FindAPIServers(); !slices.Contains(found, c.APIServer().PID()) {
				t.Errorf("process %d is not found", c.APIServer().PID())
			}
			client, err := c.HTTPClient(kube.User{})
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()
			for _, path := range []string{"/livez", "/version"} {
				res, err := client.Get(c.Server + path)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				takes := a.Anonymous == inventory.Yes && (len(a.AnonymousPaths) == 0 || path == a.AnonymousPaths[0])
				if did := res.StatusCode != http.StatusUnauthorized; did != takes {
					t.Errorf("%s: status %d, read %v %v", path, res.StatusCode, a.Anonymous, a.AnonymousPaths)
				}
			}
			if a.KubeletCA != inventory.Yes || a.AuditPolicy == nil || a.AuditPolicy.Exec != "RequestResponse" || a.PodSecurity != "privileged" {
				t.Errorf("%+v", a)
			}
		})
	}
}
