//go:build linux

package kube_test

import (
	"bufio"
	"bytes"
	"context"
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
		return e.ObjectRef.Resource == "subjectaccessreviews" && strings.Contains(string(e.RequestObject), `"proxy"`)
	})
	if e.User.Username != "system:node:node1" || !strings.Contains(string(e.RequestObject), `"admin"`) {
		t.Errorf("event: %+v", e)
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
	pod := c.RunPodT(t, ns, "web", "nodeName: node2\n"+kube.DefaultPodSpec)
	if pod.Node != "node2" {
		t.Errorf("pod: %+v", pod)
	}
	if out := c.KubectlT(t, c.Admin, "exec", "-n", ns, "web", "--", "wget", "-q", "-O-", "--no-check-certificate", c.Server+"/livez"); out != "ok" {
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
	for name, again := range map[string]func() error{
		"API server": func() error { return c.RestartAPIServer(t.Context(), nil) },
		"containerd": func() error { return n.RestartContainerd(t.Context()) },
		"kubelet": func() error {
			return n.RestartKubelet(t.Context(), func(o *kube.NodeOptions) { *o = kube.NodeOptions{} })
		},
	} {
		if err := again(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if status, _ := kubeletRun(t, c, n, kube.User{}, ns); status != http.StatusUnauthorized {
		t.Errorf("anonymous run after the restart: %d, want 401", status)
	}
	if after, err := c.AwaitPod(t.Context(), ns, "web"); err != nil || after.Containers["app"] != before.Containers["app"] {
		t.Errorf("pod before %+v, after %+v, %v", before, after, err)
	}
}

// TestStopLeavesNothing stops a cluster with pods in it.
func TestStopLeavesNothing(t *testing.T) {
	testbed.Require(t, testbed.Kube)
	before := traces(t, "")
	c, err := kube.Start(t.Context(), kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.RunPodT(t, "default", "web", "")
	if got := traces(t, filepath.Base(c.Dir)); len(got) == 0 {
		t.Error("no traces of a running cluster: they are looked for in the wrong places")
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if got := traces(t, filepath.Base(c.Dir)); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	if after := traces(t, ""); after["sysctl"] != before["sysctl"] {
		t.Errorf("settings before %q, after %q", before["sysctl"], after["sysctl"])
	}
}

// TestStartInterrupted cancels a start at its middle.
func TestStartInterrupted(t *testing.T) {
	testbed.Require(t, testbed.Kube)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if c, err := kube.Start(ctx, kube.Options{}); err == nil {
		c.Stop()
		t.Skip("the start was faster")
	} else if left, _ := filepath.Glob(os.TempDir() + "/sp-kube-*"); len(left) > 1 { // Shared's
		t.Errorf("left: %q", left)
	}
}

// traces finds what names a cluster: processes, mounts, cgroups, links, results
// of network plugins. "sysctl" is what a kubelet changes.
func traces(t *testing.T, name string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	grep := func(file string) {
		if b, err := os.ReadFile(file); err == nil && name != "" && bytes.Contains(b, []byte(name)) {
			found[file] = name
		}
	}
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/cgroup", "/proc/self/mountinfo"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			grep(f)
		}
	}
	for _, pattern := range []string{
		"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name, "/var/lib/cni/results/" + name + "*", os.TempDir() + "/" + name,
	} {
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			if name != "" {
				found[p] = name
			}
		}
	}
	links, _ := filepath.Glob("/var/log/containers/*")
	for _, l := range links {
		if to, _ := os.Readlink(l); name != "" && strings.Contains(to, name) {
			found[l] = to
		}
	}
	for _, s := range []string{"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"} {
		b, _ := os.ReadFile("/proc/sys/" + s)
		if name == "" {
			found["sysctl"] += s + " " + string(b)
		}
	}
	return found
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
