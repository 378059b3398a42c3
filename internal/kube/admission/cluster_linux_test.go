package admission_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
)

func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }

// hook is the webhook of a real cluster.
type hook struct {
	*admission.Witness
	cluster *kube.Cluster
	gate    *admission.Gate
	address string
	ca      []byte
	stop    func()

	mu      sync.Mutex
	seen    []event.KubeAdmission // guarded by mu
	changed chan struct{}         // guarded by mu; closed when seen grows
}

// install serves the webhook and makes the cluster ask it.
func install(t *testing.T, c *kube.Cluster, o admission.GateOptions) *hook {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hook{cluster: c, gate: admission.NewGate(o), address: l.Addr().String(), changed: make(chan struct{})}
	cert, ca, err := admission.Certificate(t.TempDir(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	config, err := admission.ServerTLS(cert, "")
	if err != nil {
		t.Fatal(err)
	}
	h.ca = ca
	h.Witness = admission.New(admission.Options{TLS: config, Gate: h.gate})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, l, h.see) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.stop)
	if err := c.Expose(h.address); err != nil {
		t.Fatal(err)
	}
	h.configure(t)
	return h
}

// configure applies the manifest with a timeout that suits a busy machine, and
// returns when the API server goes by it.
func (h *hook) configure(t *testing.T) {
	t.Helper()
	manifest, err := admission.Manifest("https://"+h.address+"/", h.ca)
	if err != nil {
		t.Fatal(err)
	}
	patient := strings.Replace(string(manifest), "timeoutSeconds: 5", "timeoutSeconds: 30", 1)
	if err := h.cluster.Apply(t.Context(), patient); err != nil {
		t.Fatal(err)
	}
	ns := h.cluster.NamespaceT(t)
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := h.cluster.Create(t.Context(), "/api/v1/namespaces/"+ns+"/pods?dryRun=All", `{"apiVersion":"v1","kind":"Pod",
"metadata":{"generateName":"probe-"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
		if err != nil {
			t.Fatal(err)
		}
		if h.Stats().Reported > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the API server does not ask the webhook")
		}
	}
}

func (h *hook) see(o event.Observation) {
	a, ok := o.(event.KubeAdmission)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, a)
	close(h.changed)
	h.changed = make(chan struct{})
}

// await returns the first report that matches.
func (h *hook) await(t *testing.T, what string, match func(event.KubeAdmission) bool) event.KubeAdmission {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		h.mu.Lock()
		i, changed := slices.IndexFunc(h.seen, match), h.changed
		var a event.KubeAdmission
		if i >= 0 {
			a = h.seen[i]
		}
		h.mu.Unlock()
		if i >= 0 {
			return a
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no admission of %s", what)
		}
	}
}

// auditEvent is what matters here of an event in the audit log.
type auditEvent struct {
	Stage, RequestURI, Verb string
	User                    struct{ Username string }
	Annotations             map[string]string
}

// awaitAudit returns the event of the audit log that has the nonce.
func awaitAudit(t *testing.T, c *kube.Cluster, nonce string) auditEvent {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		b, err := os.ReadFile(c.Audit)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
			var e auditEvent
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Annotations[admission.Annotation] == nonce {
				return e
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("nonce %s is not in the audit log", nonce)
		}
		select {
		case <-t.Context().Done():
			t.FailNow()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// trustT makes users who may do anything.
func trustT(t *testing.T, c *kube.Cluster, names ...string) map[string]kube.User {
	t.Helper()
	users := map[string]kube.User{}
	for _, n := range names {
		users[n] = c.UserT(t, n, "trusted")
	}
	if err := c.Apply(t.Context(), `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: trusted},
subjects: [{kind: Group, name: trusted}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}`); err != nil {
		t.Fatal(err)
	}
	return users
}

// TestCluster has a real API server ask the webhook.
func TestCluster(t *testing.T) {
	c := kube.Shared(t)
	h := install(t, c, admission.GateOptions{Hold: 25 * time.Second, Patience: 30 * time.Second})
	users := trustT(t, c, "ann", "ben", "cem", "dee")
	ns := c.NamespaceT(t)
	pod := c.RunPodT(t, ns, "web", "")
	t.Run("requests", func(t *testing.T) { requests(t, h, users, pod) })
	t.Run("one by one", func(t *testing.T) { oneByOne(t, h, users, pod) })
	t.Run("fails open", func(t *testing.T) { failsOpen(t, h, users, pod) })
}

// requests makes each kind of request as some user, and finds it in what the
// webhook reports and, by the nonce, in the audit log.
func requests(t *testing.T, h *hook, users map[string]kube.User, pod kube.Pod) {
	node := "/api/v1/nodes/" + pod.Node + "/proxy"
	for _, tc := range []struct {
		user string
		args []string
		fail bool // kubectl may fail: it is the request that counts
		op   event.KubeOp
		uri  string
		ok   func(event.KubeAdmission) bool
	}{
		{user: "ann", args: []string{"exec", "-n", pod.Namespace, pod.Name, "--", "echo", "a b"}, op: event.KubeExec, uri: "/exec?", ok: func(a event.KubeAdmission) bool {
			return a.Container == "app" && slices.Equal(a.Argv, []string{"echo", "a b"}) && !a.TTY && a.Alone
		}},
		{user: "ben", args: []string{"debug", "-n", pod.Namespace, pod.Name, "--image", kube.Image, "--target", "app", "--", "sleep", "1"}, op: event.KubeEphemeral, uri: "/ephemeralcontainers", ok: func(a event.KubeAdmission) bool {
			return a.Object != nil && len(a.Object.Containers) == 1 && a.Object.Containers[0].Target == "app" && slices.Equal(a.Object.Containers[0].Command, []string{"sleep", "1"})
		}},
		{user: "cem", args: []string{"get", "--raw", node + "/healthz"}, op: event.KubeNodeProxy, uri: "/proxy/healthz", ok: func(a event.KubeAdmission) bool {
			return a.TargetNode == pod.Node && strings.Trim(a.Path, "/") == "healthz"
		}},
		{user: "dee", args: []string{"create", "--raw", node + "/run/" + pod.Namespace + "/web/app?cmd=id", "-f", "/dev/null"}, fail: true, op: event.KubeNodeRun, uri: "/run/", ok: func(a event.KubeAdmission) bool {
			return a.Namespace == pod.Namespace && a.Pod == "web" && a.Container == "app" && len(a.Argv) == 0
		}},
		{user: "ann", args: []string{"get", "--raw", "/api/v1/namespaces/" + pod.Namespace + "/pods/web:80/proxy/x"}, fail: true, op: event.KubePodProxy, uri: "web:80/proxy/x", ok: func(a event.KubeAdmission) bool {
			return a.Path == "/x"
		}},
		{user: "ben", args: []string{"create", "deployment", "-n", pod.Namespace, "d", "--image", kube.Image, "--replicas", "0", "--", "sleep", "7"}, op: event.KubeWorkload, ok: func(a event.KubeAdmission) bool {
			return a.Object.Kind == "Deployment" && slices.Equal(a.Object.Containers[0].Command, []string{"sleep", "7"})
		}},
	} {
		if out, err := testbed.Output(h.cluster.Kubectl(t.Context(), users[tc.user], tc.args...)); err != nil && !tc.fail {
			t.Errorf("%s: %v", tc.op, err)
			t.Log(out)
			continue
		}
		a := h.await(t, string(tc.op), func(a event.KubeAdmission) bool { return a.Op == tc.op && a.User.Name == tc.user })
		h.gate.Over(a.Nonce) // as up does when the audit log tells of its end
		if !tc.ok(a) || len(a.User.Groups) == 0 || a.Arrived.IsZero() {
			t.Errorf("%s: %+v", tc.op, a)
		}
		if tc.uri == "" {
			continue // the cluster's policy leaves it out of the log
		}
		if e := awaitAudit(t, h.cluster, a.Nonce); e.User.Username != tc.user || !strings.Contains(e.RequestURI, tc.uri) {
			t.Errorf("%s: the nonce is in %+v", tc.op, e)
		}
	}
	forwardAndAttach(t, h, users, pod)
}

// forwardAndAttach makes the requests that last until they are ended.
func forwardAndAttach(t *testing.T, h *hook, users map[string]kube.User, pod kube.Pod) {
	for op, args := range map[event.KubeOp][]string{
		event.KubeAttach:      {"attach", "-n", pod.Namespace, pod.Name, "-c", "app"},
		event.KubePortForward: {"port-forward", "-n", pod.Namespace, pod.Name, ":80", "--address", "127.0.0.1"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cmd := h.cluster.Kubectl(ctx, users["cem"], args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		a := h.await(t, string(op), func(a event.KubeAdmission) bool { return a.Op == op })
		if a.User.Name != "cem" || a.Pod != pod.Name || a.Namespace != pod.Namespace {
			t.Errorf("%s: %+v", op, a)
		}
		awaitAudit(t, h.cluster, a.Nonce)
		cancel()
		_ = cmd.Wait()
	}
}

// starter tells the gate of starts as containerd tells them.
type starter struct {
	mu     sync.Mutex
	starts []time.Time // guarded by mu
}

// watchStarts has the gate told of every start of argv in the pod's container.
func (h *hook) watchStarts(t *testing.T, pod kube.Pod, argv []string) *starter {
	t.Helper()
	s := &starter{}
	up := make(chan struct{})
	var once sync.Once
	w := containerd.New(containerd.Options{Address: h.cluster.Nodes[0].Socket})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- w.Run(ctx, func(o event.Observation) {
			switch o := o.(type) {
			case event.WitnessState:
				once.Do(func() { close(up) })
			case event.RuntimeEvent:
				if o.Action == event.RuntimeExecStarted && string(o.Container) == pod.Containers["app"] && runs(o.PID, argv) {
					s.mu.Lock()
					s.starts = append(s.starts, time.Now())
					s.mu.Unlock()
					h.gate.Started(admission.Command{Namespace: pod.Namespace, Pod: pod.Name, Container: "app", Argv: argv}, time.Now())
				}
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	<-up
	return s
}

// runs reports whether a process has that argv. It is asked when the runtime
// says that the process has started: then it may still be runc's.
func runs(pid uint32, argv []string) bool {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || !strings.HasPrefix(string(b), "runc\x00init") && len(b) > 0 {
			return string(b) == strings.Join(argv, "\x00")+"\x00"
		}
	}
	return false
}

// oneByOne has several users run the same command in the same container at the
// same time: each is let go only when the one before has started.
func oneByOne(t *testing.T, h *hook, users map[string]kube.User, pod kube.Pod) {
	const each = 2
	argv := []string{"sleep", "2"}
	s := h.watchStarts(t, pod, argv)
	var g errgroup.Group
	for _, u := range users {
		for range each {
			g.Go(func() error {
				_, err := testbed.Output(h.cluster.Kubectl(t.Context(), u, append([]string{"exec", "-n", pod.Namespace, pod.Name, "--"}, argv...)...))
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	all := slices.DeleteFunc(slices.Clone(h.seen), func(a event.KubeAdmission) bool { return !slices.Equal(a.Argv, argv) })
	h.mu.Unlock()
	slices.SortFunc(all, func(a, b event.KubeAdmission) int { return a.Time.Compare(b.Time) })
	if len(all) != each*len(users) || len(s.starts) != len(all) {
		t.Fatalf("%d admissions, %d starts, want %d", len(all), len(s.starts), each*len(users))
	}
	count := map[string]int{}
	var held time.Duration
	for i, a := range all {
		count[a.User.Name]++
		held = max(held, a.Time.Sub(a.Arrived))
		if !a.Alone || a.Time.After(s.starts[i]) || i+1 < len(all) && all[i+1].Time.Before(s.starts[i]) {
			t.Errorf("request %d of %s: alone %t, let go %v, started %v", i, a.User.Name, a.Alone, a.Time, s.starts[i])
		}
		if e := awaitAudit(t, h.cluster, a.Nonce); e.User.Username != a.User.Name {
			t.Errorf("the nonce of %s's request is in one of %s", a.User.Name, e.User.Username)
		}
	}
	for name, n := range count {
		if n != each {
			t.Errorf("%s: %d requests", name, n)
		}
	}
	t.Logf("%d requests, longest held %v; gate %+v", len(all), held, h.gate.Stats())
}

// failsOpen stops the webhook: execs go on without it, and without waiting.
func failsOpen(t *testing.T, h *hook, users map[string]kube.User, pod kube.Pod) {
	began := time.Now()
	h.cluster.KubectlT(t, users["ann"], "exec", "-n", pod.Namespace, pod.Name, "--", "true")
	with := time.Since(began)
	h.stop()
	began = time.Now()
	if out := h.cluster.KubectlT(t, users["ann"], "exec", "-n", pod.Namespace, pod.Name, "--", "echo", "open"); out != "open" {
		t.Errorf("exec prints %q", out)
	}
	without := time.Since(began)
	if without > with+10*time.Second {
		t.Errorf("an exec took %v with the webhook and %v without", with, without)
	}
	t.Logf("an exec took %v with the webhook, %v without", with, without)
}
