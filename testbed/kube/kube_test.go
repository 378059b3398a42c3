//go:build linux

package kube_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
)

func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }

// reader may do what a user needs to enter containers.
const reader = `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: mia},
subjects: [{kind: User, name: mia}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}}`

// TestExec enters a container as a named user and finds that in the audit log.
func TestExec(t *testing.T) {
	c := kube.Shared(t)
	ns := c.NamespaceT(t)
	pod := c.RunPodT(t, ns, "web", "")
	if pod.UID == "" || pod.IP == "" || pod.Node != "node1" || len(pod.Containers["app"]) != 64 {
		t.Errorf("pod: %+v", pod)
	}
	mia := c.UserT(t, "mia", "dev")
	if err := c.Apply(t.Context(), reader); err != nil {
		t.Fatal(err)
	}
	if out := c.KubectlT(t, mia, "exec", "-n", ns, "web", "--", "echo", "hello"); out != "hello" {
		t.Errorf("exec prints %q", out)
	}
	e := awaitEvent(t, c, func(e event) bool {
		return e.Stage == "ResponseComplete" && e.ObjectRef.Subresource == "exec" && e.ObjectRef.Namespace == ns
	})
	if e.User.Username != "mia" || e.Verb != "get" || !strings.Contains(e.RequestURI, "command=echo&command=hello") {
		t.Errorf("event: %+v", e)
	}
}

// TestKubeletDirect runs a command through the kubelet alone: the API server
// hears of it in an access review and in nothing else.
func TestKubeletDirect(t *testing.T) {
	c := kube.Shared(t)
	ns := c.NamespaceT(t)
	c.RunPodT(t, ns, "web", "")
	status, body := kubeletRun(t, c, c.Nodes[0], c.Admin, ns)
	if status != http.StatusOK || body != "hello\n" {
		t.Errorf("run: %d %q", status, body)
	}
	e := awaitEvent(t, c, func(e event) bool {
		return e.ObjectRef.Resource == "subjectaccessreviews" && strings.Contains(string(e.RequestObject), `"user":"admin"`)
	})
	if e.User.Username != "system:node:node1" || !strings.Contains(string(e.RequestObject), `"subresource":"proxy"`) {
		t.Errorf("event: %+v %s", e, e.RequestObject)
	}
	if status, _ := kubeletRun(t, c, c.Nodes[0], kube.User{}, ns); status != http.StatusUnauthorized {
		t.Errorf("anonymous run: %d, want 401", status)
	}
}

// kubeletRun runs "echo hello" in pod web by asking the node's kubelet.
func kubeletRun(t *testing.T, c *kube.Cluster, n *kube.Node, user kube.User, ns string) (int, string) {
	t.Helper()
	client, err := c.HTTPClient(user)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	res, err := client.Post("https://"+n.Address+":10250/run/"+ns+"/web/app?cmd="+url.QueryEscape("echo hello"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// TestOptions has two nodes, one that lets everybody in, and sends audit events
// out of the cluster to a server of this machine.
func TestOptions(t *testing.T) {
	testbed.Require(t, testbed.Kube)
	events := make(chan []byte, 1000)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		select {
		case events <- b:
		default:
		}
	}))
	defer receiver.Close()
	webhook := filepath.Join(t.TempDir(), "webhook")
	config := `{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: "` + receiver.URL + `"}}],
contexts: [{name: x, context: {cluster: c}}], current-context: x}`
	if err := os.WriteFile(webhook, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c := kube.New(t, kube.Options{
		AuditWebhook:   webhook,
		AuditBatchWait: 100 * time.Millisecond,
		Expose:         []string{strings.TrimPrefix(receiver.URL, "http://")},
		Nodes:          []kube.NodeOptions{{}, {Anonymous: true, Authorization: "AlwaysAllow"}},
	})
	ns := c.NamespaceT(t)
	pod := c.RunPodT(t, ns, "web", `nodeName: node2
terminationGracePeriodSeconds: 0
volumes: [{name: programs, hostPath: {path: `+c.Programs+`}}]
containers: [{name: app, image: "`+kube.Image+`", volumeMounts: [{name: programs, mountPath: /kube, readOnly: true}]}]`)
	if pod.Node != "node2" {
		t.Errorf("pod: %+v", pod)
	}
	if out := c.KubectlT(t, c.Admin, "exec", "-n", ns, "web", "--", "/kube/kubectl", "get", "--raw", "/livez"); out != "ok" {
		t.Errorf("a pod of node2 does not reach the API server: %q", out)
	}
	if status, body := kubeletRun(t, c, c.Nodes[1], kube.User{}, ns); status != http.StatusOK || body != "hello\n" {
		t.Errorf("anonymous run: %d %q", status, body)
	}
	await(t, func() bool {
		select {
		case b := <-events:
			return bytes.Contains(b, []byte(ns+"/pods/web/exec"))
		default:
			return false
		}
	})
	restart(t, c, ns)
}

// restart restarts each part that can be; the pod lives on.
func restart(t *testing.T, c *kube.Cluster, ns string) {
	before, err := c.AwaitPod(t.Context(), ns, "web")
	if err != nil {
		t.Fatal(err)
	}
	n := c.Nodes[1]
	for _, again := range []func() error{
		func() error { return c.RestartAPIServer(t.Context(), nil) },
		func() error { return n.RestartContainerd(t.Context()) },
		func() error {
			return n.RestartKubelet(t.Context(), func(o *kube.NodeOptions) { *o = kube.NodeOptions{} })
		},
	} {
		if err := again(); err != nil {
			t.Fatal(err)
		}
	}
	if status, _ := kubeletRun(t, c, n, kube.User{}, ns); status != http.StatusUnauthorized {
		t.Errorf("anonymous run after the restart: %d, want 401", status)
	}
	if after, err := c.AwaitPod(t.Context(), ns, "web"); err != nil || after.Containers["app"] != before.Containers["app"] {
		t.Errorf("pod before %+v, after %+v, %v", before, after, err)
	}
}

// TestDial reaches an exposed server of this machine from inside the cluster's
// network, where nothing else of the machine is.
func TestDial(t *testing.T) {
	c := kube.Shared(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	if conn, err := c.Dial(t.Context(), "tcp", addr); err == nil {
		conn.Close()
		t.Error("the cluster reaches this machine's loopback")
	}
	if err := c.Expose(addr); err != nil {
		t.Fatal(err)
	}
	go func() {
		conn, err := l.Accept()
		if err == nil {
			io.Copy(conn, conn)
			conn.Close()
		}
	}()
	conn, err := c.Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "ping")
	conn.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(conn); err != nil || string(b) != "ping" {
		t.Errorf("echo: %q, %v", b, err)
	}
}

type event struct {
	Stage, Verb, RequestURI string
	User                    struct{ Username string }
	ObjectRef               struct{ Resource, Subresource, Namespace, Name string }
	RequestObject           json.RawMessage
}

// awaitEvent waits for an event in the audit log.
func awaitEvent(t *testing.T, c *kube.Cluster, want func(event) bool) (found event) {
	t.Helper()
	await(t, func() bool {
		f, err := os.Open(c.Audit)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Buffer(nil, 1<<20); lines.Scan(); {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil && want(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// await waits until a condition holds; half a minute.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("it does not come")
		}
	}
}
