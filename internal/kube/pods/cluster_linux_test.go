package pods_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/pods"
	"github.com/sallyport/sallyport/testbed/kube"
)

func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }

// reach makes the API server reachable from outside the cluster's network, and
// returns a kubeconfig of the user for that way.
func reach(t *testing.T, c *kube.Cluster, user kube.User) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	server := strings.TrimPrefix(c.Server, "https://")
	wg.Go(func() {
		for {
			out, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { join(ctx, c, out, server) })
		}
	})
	file := filepath.Join(t.TempDir(), "kubeconfig")
	config := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: it
contexts: [{name: it, context: {cluster: it, user: it}}]
clusters: [{name: it, cluster: {server: "https://%s", certificate-authority: %q, tls-server-name: kubernetes.default.svc}}]
users: [{name: it, user: {client-certificate: %q, client-key: %q}}]
`, l.Addr(), c.CA, user.Cert, user.Key)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// join copies both ways until either end is closed.
func join(ctx context.Context, c *kube.Cluster, out net.Conn, server string) {
	defer out.Close()
	in, err := c.Dial(ctx, "tcp", server)
	if err != nil {
		return
	}
	defer in.Close()
	stop := context.AfterFunc(ctx, func() { out.Close(); in.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(in, out)
		in.Close()
	}()
	io.Copy(out, in)
	out.Close()
	<-done
}

// recorder keeps what witnesses report.
type recorder struct {
	mu      sync.Mutex
	all     []event.Observation // guarded by mu
	changed chan struct{}       // guarded by mu; closed when all grows
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (r *recorder) add(o event.Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, o)
	close(r.changed)
	r.changed = make(chan struct{})
}

// await returns the first observation of type T that matches.
func await[T event.Observation](t *testing.T, r *recorder, what string, match func(T) bool) T {
	t.Helper()
	deadline := time.After(90 * time.Second)
	for {
		r.mu.Lock()
		all, changed := r.all, r.changed
		r.mu.Unlock()
		for _, o := range all {
			if v, ok := o.(T); ok && match(v) {
				return v
			}
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no %s among %d observations", what, len(all))
		}
	}
}

const probed = `terminationGracePeriodSeconds: 0
hostPID: true
volumes: [{name: log, hostPath: {path: /var/log}}]
initContainers: [{name: side, image: "` + kube.Image + `", restartPolicy: Always}]
containers:
- name: app
  image: "` + kube.Image + `"
  command: [sleep]
  args: ["1000"]
  stdin: true
  env: [{name: LD_PRELOAD, value: ""}, {name: TOKEN, value: x}]
  securityContext: {capabilities: {add: [SYS_PTRACE]}}
  volumeMounts: [{name: log, mountPath: /l}]
  livenessProbe: {exec: {command: [test, -d, /]}, periodSeconds: 30, timeoutSeconds: 4, initialDelaySeconds: 3}
  lifecycle: {postStart: {exec: {command: ["true"]}}}`

// TestCluster follows a real API server's pods with a kubeconfig, and compares
// them with what containerd knows of the same containers.
func TestCluster(t *testing.T) {
	c := kube.Shared(t)
	user := c.UserT(t, "watcher")
	client, err := api.Connect(reach(t, c, user))
	if err != nil {
		t.Fatal(err)
	}
	w := pods.New(pods.Options{Server: client})
	if err := w.Run(t.Context(), func(event.Observation) {}); err == nil || !api.IsStatus(err, 403) || !strings.Contains(err.Error(), "kube rbac") {
		t.Fatalf("without permission: %v", err)
	}
	if code, err := client.Probe(t.Context(), "/api/v1/pods?limit=1"); err != nil || code != 403 {
		t.Errorf("probe: %d, %v", code, err)
	}
	if err := c.Apply(t.Context(), api.RBAC+`---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: watcher},
subjects: [{kind: User, name: watcher}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sallyport-watch}}`); err != nil {
		t.Fatal(err)
	}
	ns := c.NamespaceT(t)
	early := c.RunPodT(t, ns, "early", "")
	r := newRecorder()
	stop := follow(t, c, w, r)
	await(t, r, "state", func(s event.WitnessState) bool { return s.Up && s.Witness == event.WitnessKube })
	late := c.RunPodT(t, ns, "late", probed)
	for _, p := range []kube.Pod{early, late} {
		compare(t, r, p)
	}
	hooks(t, r, late)
	c.KubectlT(t, c.Admin, "delete", "pod", "-n", ns, "late", "--wait=false", "--force")
	await(t, r, "end of the pod", func(p event.KubePod) bool { return p.UID == late.UID && p.Deleted })
	static(t, c, r)
	stop()
	restart(t, c, w, early)
}

// follow runs both witnesses until stop is called.
func follow(t *testing.T, c *kube.Cluster, w *pods.Witness, r *recorder) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx, r.add); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		_ = containerd.New(containerd.Options{Address: c.Nodes[0].Socket}).Run(ctx, r.add)
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// compare checks that the API server and containerd say the same of the pod's
// containers.
func compare(t *testing.T, r *recorder, p kube.Pod) {
	t.Helper()
	for name, id := range p.Containers {
		a := await(t, r, "pod with container "+name, func(o event.KubePod) bool {
			return slices.ContainsFunc(o.Containers, func(c event.KubeContainer) bool { return string(c.ID) == id && c.Name == name })
		})
		b := await(t, r, "container "+name, func(o event.RuntimeContainer) bool { return string(o.ID) == id })
		if a.UID != p.UID || a.Namespace != p.Namespace || a.Name != p.Name || a.NodeName != p.Node || !slices.Contains(a.Addresses, p.IP) || a.Started.IsZero() {
			t.Errorf("API server: %+v, want %+v", a, p)
		}
		if b.PodUID != p.UID || b.PodNamespace != p.Namespace || b.Pod != p.Name || b.Name != name || b.Sandbox || b.SandboxID == "" || len(b.Argv) == 0 || b.Namespace != "k8s.io" {
			t.Errorf("containerd: %+v, want %+v", b, p)
		}
		s := await(t, r, "sandbox", func(o event.RuntimeContainer) bool { return o.ID == b.SandboxID })
		if !s.Sandbox || s.PodUID != p.UID || s.Pod != p.Name {
			t.Errorf("sandbox: %+v", s)
		}
	}
}

func hooks(t *testing.T, r *recorder, p kube.Pod) {
	t.Helper()
	o := await(t, r, "pod with all ids", func(o event.KubePod) bool {
		return o.UID == p.UID && !slices.ContainsFunc(o.Containers, func(c event.KubeContainer) bool { return c.ID == "" })
	})
	side, app := o.Containers[0], o.Containers[1]
	if side.Kind != event.KubeSidecar || app.Kind != event.KubeApp || !slices.Equal(slices.Concat(app.Command, app.Args), []string{"sleep", "1000"}) || len(app.Hooks) != 2 {
		t.Fatalf("containers: %+v", o.Containers)
	}
	want := &event.HostAccess{Namespaces: []string{"pid"}, Capabilities: []string{"SYS_PTRACE"}, Paths: []string{"/var/log"}}
	if d := cmp.Diff(want, app.HostAccess); d != "" || !app.Stdin || len(app.Variables) != 1 || app.Variables[0].Name != "LD_PRELOAD" {
		t.Errorf("host access: %s, standard input %v, variables %v", d, app.Stdin, app.Variables)
	}
	if d := cmp.Diff(&event.HostAccess{Namespaces: []string{"pid"}}, side.HostAccess); d != "" {
		t.Errorf("host access of the other: %s", d)
	}
	k := await(t, r, "container", func(o event.RuntimeContainer) bool { return o.ID == app.ID })
	if d := cmp.Diff(want, k.HostAccess); d != "" {
		t.Errorf("host access, as CRI was asked: %s", d)
	}
	probe, hook := app.Hooks[0], app.Hooks[1]
	if probe.Kind != event.KubeLiveness || !slices.Equal(probe.Argv, []string{"test", "-d", "/"}) || time.Duration(probe.Period) != 30*time.Second ||
		time.Duration(probe.Timeout) != 4*time.Second || time.Duration(probe.InitialDelay) != 3*time.Second {
		t.Errorf("probe: %+v", probe)
	}
	if hook.Kind != event.KubePostStart || !slices.Equal(hook.Argv, []string{"true"}) {
		t.Errorf("hook: %+v", hook)
	}
}

// static makes a pod of a file on the node.
func static(t *testing.T, c *kube.Cluster, r *recorder) {
	t.Helper()
	file := filepath.Join(c.Nodes[0].StaticPods, "fixed.yaml")
	manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: fixed, namespace: default}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: \"" + kube.Image + "\"}]}\n"
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	p := await(t, r, "static pod", func(p event.KubePod) bool { return strings.HasPrefix(p.Name, "fixed-") })
	if !p.Static {
		t.Errorf("static pod: %+v", p)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	await(t, r, "end of the static pod", func(o event.KubePod) bool { return o.UID == p.UID && o.Deleted })
}

// restart follows the pods again: those that have not changed are not told of
// twice.
func restart(t *testing.T, c *kube.Cluster, w *pods.Witness, early kube.Pod) {
	t.Helper()
	r := newRecorder()
	follow(t, c, w, r)
	await(t, r, "state", func(s event.WitnessState) bool { return s.Up && s.Witness == event.WitnessKube })
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.all {
		if p, ok := o.(event.KubePod); ok && p.UID == early.UID {
			t.Errorf("told again: %+v", p)
		}
	}
}
