package audit_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
)

// heard gathers what a witness says.
type heard struct {
	mu sync.Mutex
	at []event.Observation
}

func (h *heard) emit(o event.Observation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = append(h.at, o)
}

func (h *heard) requests() []event.KubeRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []event.KubeRequest
	for _, o := range h.at {
		if q, ok := o.(event.KubeRequest); ok {
			out = append(out, q)
		}
	}
	return out
}

// find waits for a request.
func (h *heard) find(t *testing.T, what string, is func(event.KubeRequest) bool) event.KubeRequest {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		all := h.requests()
		if i := slices.IndexFunc(all, is); i >= 0 {
			return all[i]
		}
		<-tick.C
	}
	t.Errorf("no audit event of: %s", what)
	return event.KubeRequest{}
}

// scene is a cluster whose audit comes both ways.
type scene struct {
	*kube.Cluster
	t        *testing.T
	ns       string
	ana      kube.User
	log, web *heard
	canaries func() uint64
}

// webhookAt makes the identity of a receiver, and the kubeconfig by which an API
// server finds it at an address.
func webhookAt(t *testing.T, address string) (id *audit.Identity, kubeconfig string) {
	t.Helper()
	id, err := audit.EnsureIdentity(filepath.Join(t.TempDir(), "id"), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	config, err := id.Kubeconfig(address)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(t.TempDir(), "audit.kubeconfig")
	if err := os.WriteFile(kubeconfig, config, 0o600); err != nil {
		t.Fatal(err)
	}
	return id, kubeconfig
}

// play starts a cluster with the minimal policy, and a witness for each feed.
func play(t *testing.T) *scene {
	testbed.Require(t, testbed.Kube)
	address := testbed.FreeAddress(t)
	id, file := webhookAt(t, address)
	s := &scene{t: t, log: &heard{}, web: &heard{}}
	s.Cluster = kube.New(t, kube.Options{
		AuditPolicy: string(audit.MinimalPolicy), AuditWebhook: file, AuditBatchWait: 200 * time.Millisecond, Expose: []string{address},
	})
	webhook, err := id.Options(address)
	if err != nil {
		t.Fatal(err)
	}
	nobody := s.UserT(t, "canary")
	client, err := s.HTTPClient(nobody)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	canary := &audit.CanaryOptions{Key: []byte("0123456789abcdef"), Every: time.Second, Within: 20 * time.Second, Probe: func(ctx context.Context, token string) error {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Server+audit.CanaryURI(token), nil)
		if err != nil {
			return err
		}
		r, err := client.Do(q)
		if err != nil {
			return err
		}
		return r.Body.Close()
	}}
	run(t, audit.New(audit.Options{Log: &audit.LogOptions{Path: s.Audit, FromStart: true}}), s.log.emit)
	w := audit.New(audit.Options{Webhook: &webhook, Canary: canary})
	s.canaries = func() uint64 { return w.Stats().Canaries }
	run(t, w, s.web.emit)
	s.ns = s.NamespaceT(t)
	s.ana = s.UserT(t, "ana", "dev")
	return s
}

func run(t *testing.T, w *audit.Witness, emit func(event.Observation)) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.Run(ctx, emit)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if s := w.Stats(); s.Malformed+s.Oversized > 0 || s.Relevant == 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// told waits until both feeds tell a request, and returns it; they must agree.
func (s *scene) told(what string, is func(event.KubeRequest) bool) event.KubeRequest {
	s.t.Helper()
	a, b := s.log.find(s.t, what+" (log)", is), s.web.find(s.t, what+" (webhook)", is)
	if diff := cmp.Diff(a, b); diff != "" && a.ID == b.ID && a.Stage == b.Stage {
		s.t.Errorf("%s: log and webhook differ:\n%s", what, diff)
	}
	return a
}

// asked waits for an event of a stage whose argv is as given.
func (s *scene) asked(what string, stage event.KubeStage, op event.KubeOp, argv ...string) event.KubeRequest {
	s.t.Helper()
	q := s.told(what, func(q event.KubeRequest) bool {
		return q.Stage == stage && q.Op == op && slices.Equal(q.Argv, argv) && q.Namespace == s.ns
	})
	if q.Pod != "web" {
		s.t.Errorf("%s: %+v", what, q)
	}
	return q
}

func (s *scene) kubectl(u kube.User, args ...string) string {
	s.t.Helper()
	out, err := testbed.Output(s.Kubectl(s.t.Context(), u, args...))
	if err != nil {
		s.t.Error(err)
	}
	return out
}

// upgrade asks for a stream, as a browser would, and returns what comes of it.
func (s *scene) upgrade(u kube.User, server, uri string) (status int, output string) {
	s.t.Helper()
	config, err := s.TLS(u)
	if err != nil {
		s.t.Fatal(err)
	}
	config.NextProtos = []string{"http/1.1"}
	client := &http.Client{Transport: &http.Transport{DialContext: s.Dial, TLSClientConfig: config, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	q, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, server+uri, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for k, v := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
	} {
		q.Header.Set(k, v)
	}
	r, err := client.Do(q)
	if err != nil {
		s.t.Errorf("%s: %v", uri, err)
		return 0, ""
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	return r.StatusCode, string(b)
}

const edit = `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: ana},
subjects: [{kind: User, name: ana}, {kind: Group, name: "system:serviceaccounts"}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: eve},
subjects: [{kind: User, name: eve}], roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}`

// TestCluster asks a real API server in every way and compares what the parser
// says with what was asked.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := play(t)
	if err := s.Apply(t.Context(), edit); err != nil {
		t.Fatal(err)
	}
	s.RunPodT(t, s.ns, "web", `terminationGracePeriodSeconds: 0
volumes: [{name: programs, hostPath: {path: `+s.Programs+`}}]
containers: [{name: app, image: "`+kube.Image+`", volumeMounts: [{name: programs, mountPath: /kube, readOnly: true}]}]`)
	for name, step := range map[string]func(*scene){
		"streams": streams, "copies": copies, "debug": debug, "identities": identities, "kubelet": kubelets, "workloads": workloads, "odd": odds, "doors": doors,
	} {
		t.Run(name, func(t *testing.T) {
			in := *s
			in.t = t
			step(&in)
		})
	}
	if s.canaries() == 0 {
		t.Error("no canary came back")
	}
	for _, q := range s.web.requests() {
		if q.Namespace == audit.CanaryNamespace {
			t.Fatalf("a canary was told: %+v", q)
		}
	}
}

func streams(s *scene) {
	if out := s.kubectl(s.ana, "exec", "-n", s.ns, "web", "-c", "app", "--", "echo", "a b", "&c=d+e"); out != "a b &c=d+e" {
		s.t.Errorf("exec prints %q", out)
	}
	q := s.asked("exec by WebSocket", event.KubeComplete, event.KubeExec, "echo", "a b", "&c=d+e")
	if q.Verb != "get" || q.Container != "app" || q.User.Name != "ana" || !slices.Contains(q.User.Groups, "dev") || q.Code != 101 || q.Refused ||
		q.Address == "" || q.TTY || q.Stdin || !strings.HasPrefix(q.UserAgent, "kubectl/") {
		s.t.Errorf("%+v", q)
	}
	for _, stage := range []event.KubeStage{event.KubeReceived, event.KubeStarted} {
		if p := s.asked("the same", stage, event.KubeExec, "echo", "a b", "&c=d+e"); !p.Received.Equal(q.Received) || p.ID != q.ID {
			s.t.Errorf("%s: %+v", stage, p)
		}
	}

	cmd := s.Kubectl(s.t.Context(), s.ana, "exec", "-i", "-n", s.ns, "web", "--", "cat", "-")
	cmd.Env = append(cmd.Env, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false")
	if _, err := testbed.Output(cmd); err != nil {
		s.t.Error(err)
	}
	if q := s.asked("exec by SPDY", event.KubeStarted, event.KubeExec, "cat", "-"); q.Verb != "create" || !q.Stdin {
		s.t.Errorf("%+v", q)
	}

	s.until(s.Kubectl(s.t.Context(), s.ana, "attach", "-n", s.ns, "web", "-c", "app"), "attach", func(q event.KubeRequest) bool {
		return q.Op == event.KubeAttach && q.Pod == "web" && q.Container == "app" && q.Stage == event.KubeStarted
	})
	s.until(s.Kubectl(s.t.Context(), s.ana, "attach", "-i", "-n", s.ns, "web", "-c", "app"), "attach with standard input", func(q event.KubeRequest) bool {
		return q.Op == event.KubeAttach && q.Pod == "web" && q.Stdin && q.Stage == event.KubeStarted
	})
	s.until(s.Kubectl(s.t.Context(), s.ana, "port-forward", "-n", s.ns, "web", ":8080"), "port-forward", func(q event.KubeRequest) bool {
		return q.Op == event.KubePortForward && q.Pod == "web" && q.Stage == event.KubeStarted
	})
	_ = s.Kubectl(s.t.Context(), s.ana, "get", "--raw", "/api/v1/namespaces/"+s.ns+"/pods/http:web:81/proxy/a%20b?x=y").Run()
	s.told("pod proxy", func(q event.KubeRequest) bool {
		return q.Op == event.KubePodProxy && q.Pod == "web" && q.Path == "/a b"
	})
	_ = s.Kubectl(s.t.Context(), s.ana, "get", "--raw", "/api/v1/namespaces/"+s.ns+"/services/none/proxy/a").Run()
	s.told("service proxy", func(q event.KubeRequest) bool {
		return q.Op == event.KubeServiceProxy && q.Path == "/a" && q.Code >= 400
	})
}

// until runs a command that does not end by itself.
func (s *scene) until(cmd *exec.Cmd, what string, is func(event.KubeRequest) bool) {
	s.t.Helper()
	if err := cmd.Start(); err != nil {
		s.t.Error(err)
		return
	}
	s.told(what, is)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func copies(s *scene) {
	file := filepath.Join(s.t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.kubectl(s.ana, "cp", "-n", s.ns, file, "web:/tmp/f", "-c", "app")
	s.asked("copy up", event.KubeComplete, event.KubeExec, "tar", "-xmf", "-", "-C", "/tmp")
	s.kubectl(s.ana, "cp", "-n", s.ns, "web:/tmp/f", file, "-c", "app")
	s.asked("copy down", event.KubeComplete, event.KubeExec, "tar", "cf", "-", "/tmp/f")
}

func debug(s *scene) {
	s.kubectl(s.ana, "debug", "-n", s.ns, "web", "--image="+kube.Image, "--container=dbg", "--target=app", "--profile=general", "--", "sleep", "1")
	q := s.told("ephemeral container", func(q event.KubeRequest) bool { return q.Op == event.KubeEphemeral && q.Stage == event.KubeComplete })
	want := []event.KubeContainer{{Name: "dbg", Kind: event.KubeEphemeralDebug, Image: kube.Image, Command: []string{"sleep", "1"}, Target: "app",
		HostAccess: &event.HostAccess{Capabilities: []string{"SYS_PTRACE"}, Partial: true}}}
	if q.Object == nil || !cmp.Equal(q.Object.Containers, want) || q.Pod != "web" || q.User.Name != "ana" {
		s.t.Errorf("%+v", q.Object)
	}
	s.kubectl(s.ana, "debug", "-n", s.ns, "node/node1", "--image="+kube.Image, "--profile=general", "--", "true")
	q = s.told("node debug", func(q event.KubeRequest) bool {
		return q.Op == event.KubePodChange && q.Object != nil && q.Object.Debug && q.Object.NodeName == "node1"
	})
	if o := q.Object; o == nil || !slices.Contains(o.HostAccess.Namespaces, "pid") || !slices.Contains(o.HostAccess.Paths, "/") || !slices.Equal(o.Containers[0].Command, []string{"true"}) ||
		!strings.HasPrefix(q.Pod, "node-debugger-node1-") {
		s.t.Errorf("%+v", q)
	}
}

func identities(s *scene) {
	eve := s.UserT(s.t, "eve")
	if out, err := s.Kubectl(s.t.Context(), eve, "exec", "-n", s.ns, "web", "--", "echo", "denied").CombinedOutput(); err == nil {
		s.t.Errorf("eve may: %s", out)
	}
	for _, verb := range []string{"get", "create"} {
		q := s.told("denied "+verb, func(q event.KubeRequest) bool {
			return q.User.Name == "eve" && q.Verb == verb && q.Stage == event.KubeComplete && q.Op == event.KubeExec
		})
		if !q.Refused || q.Code != 403 || !slices.Equal(q.Argv, []string{"echo", "denied"}) {
			s.t.Errorf("%+v", q)
		}
	}
	s.kubectl(s.Admin, "exec", "--as=ana", "--as-group=dev", "-n", s.ns, "web", "--", "echo", "as")
	q := s.asked("impersonation", event.KubeStarted, event.KubeExec, "echo", "as")
	if q.User.Name != "admin" || q.Impersonated == nil || q.Impersonated.Name != "ana" || !slices.Contains(q.Impersonated.Groups, "dev") {
		s.t.Errorf("%+v", q)
	}
	s.kubectl(s.ana, "exec", "-n", s.ns, "web", "--", "/kube/kubectl", "exec", "-n", s.ns, "web", "--", "echo", "inner")
	q = s.asked("a pod's token", event.KubeStarted, event.KubeExec, "echo", "inner")
	if q.User.Name != "system:serviceaccount:"+s.ns+":default" || !slices.Equal(q.User.Extra["authentication.kubernetes.io/pod-name"], []string{"web"}) || !strings.HasPrefix(q.Address, "10.88.") {
		s.t.Errorf("%+v", q)
	}
	thief := s.UserT(s.t, "system:node:node1", "system:nodes")
	client, err := s.HTTPClient(thief)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/api", "/api/v1/secrets"} {
		r, err := client.Get(s.Server + path)
		if err != nil {
			s.t.Error(err)
			continue
		}
		_ = r.Body.Close()
		s.told("a node's identity in other hands", func(q event.KubeRequest) bool {
			return q.Op == event.KubeOther && q.User.Name == "system:node:node1" && q.UserAgent == "Go-http-client/1.1" && q.URI == path
		})
	}
}

func kubelets(s *scene) {
	run := "/run/" + s.ns + "/web/app?cmd=echo+hi++there"
	s.kubectl(s.ana, "create", "--raw", "/api/v1/nodes/https:node1:10250/proxy"+run, "-f", os.DevNull)
	q := s.asked("run by the node proxy", event.KubeComplete, event.KubeNodeRun, "echo", "hi", "", "there")
	if q.TargetNode != "node1" || q.Container != "app" || q.Path != "/run/"+s.ns+"/web/app" {
		s.t.Errorf("%+v", q)
	}
	s.upgrade(s.ana, s.Server, "/api/v1/nodes/node1/proxy/metrics/..//%65xec/"+s.ns+"/web/app?command=echo&command=node&output=1")
	s.asked("exec by the node proxy", event.KubeReceived, event.KubeNodeExec, "echo", "node")

	n := s.Nodes[0]
	kubelet := fmt.Sprintf("https://%s:%d", n.Address, kube.KubeletPort)
	if code, out := s.upgrade(s.ana, kubelet, "/exec/"+s.ns+"/web/app?command=echo&command=direct&output=1"); code != 101 || !strings.Contains(out, "direct") {
		s.t.Errorf("exec at the kubelet: %d %q", code, out)
	}
	q = s.told("access review", func(q event.KubeRequest) bool {
		return q.Op == event.KubeAccessReview && q.Review != nil && q.Review.User.Name == "ana"
	})
	if r := q.Review; q.User.Name != "system:node:node1" || r == nil || r.Resource != "nodes/proxy" || r.Verb != "get" || !r.Allowed || !r.AllowedSaid || r.Name != "node1" {
		s.t.Errorf("%+v", q.Review)
	}
}

func workloads(s *scene) {
	s.kubectl(s.ana, "create", "deployment", "-n", s.ns, "d", "--image="+kube.Image, "--", "sleep", "11")
	is := func(kind string, argv ...string) func(event.KubeRequest) bool {
		return func(q event.KubeRequest) bool {
			return q.Object != nil && q.Object.Kind == kind && q.Namespace == s.ns && slices.ContainsFunc(q.Object.Containers, func(c event.KubeContainer) bool { return slices.Equal(c.Command, argv) })
		}
	}
	if q := s.told("deployment", is("Deployment", "sleep", "11")); q.Op != event.KubeWorkload || q.User.Name != "ana" || q.Object.Name != "d" {
		s.t.Errorf("%+v", q)
	}
	s.told("replica set", is("ReplicaSet", "sleep", "11"))
	if q := s.told("its pod", is("Pod", "sleep", "11")); !strings.HasPrefix(q.Pod, "d-") || !strings.Contains(q.User.Name, "replicaset-controller") {
		s.t.Errorf("%+v", q)
	}
	s.kubectl(s.ana, "patch", "deployment", "-n", s.ns, "d", "--type=json", "-p", `[{"op":"add","path":"/spec/template/spec/containers/0/livenessProbe","value":{"exec":{"command":["id","probe"]},"periodSeconds":60}}]`)
	q := s.told("JSON patch", func(q event.KubeRequest) bool { return q.Verb == "patch" && q.Object != nil && q.Object.Name == "d" })
	if q.Object != nil && !slices.Equal(q.Object.Containers[0].Hooks[0].Argv, []string{"id", "probe"}) {
		s.t.Errorf("%+v", q.Object)
	}
	cmd := s.Kubectl(s.t.Context(), s.ana, "apply", "--server-side", "-f", "-")
	cmd.Stdin = strings.NewReader(`{apiVersion: batch/v1, kind: CronJob, metadata: {name: cron, namespace: ` + s.ns + `}, spec: {schedule: "0 0 1 1 *",
jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "` + kube.Image + `", command: [sleep, "12"]}]}}}}}}`)
	if _, err := testbed.Output(cmd); err != nil {
		s.t.Error(err)
	}
	s.told("cron job", is("CronJob", "sleep", "12"))

	cmd = s.Kubectl(s.t.Context(), s.ana, "create", "-f", "-")
	cmd.Stdin = strings.NewReader(`{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: agent, namespace: ` + s.ns + `}, spec: {selector: {matchLabels: {a: b}},
template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {no: where}, hostPID: true, volumes: [{name: root, hostPath: {path: /}}], containers: [{name: c, image: "` + kube.Image + `", command: [sleep, "13"],
env: [{name: LD_PRELOAD, value: /x.so}, {name: TOKEN, value: secret}], volumeMounts: [{name: root, mountPath: /host}],
securityContext: {privileged: true}, lifecycle: {preStop: {exec: {command: [bye]}}}}]}}}}`)
	if _, err := testbed.Output(cmd); err != nil {
		s.t.Error(err)
	}
	q = s.told("daemon set", is("DaemonSet", "sleep", "13"))
	want := event.KubeContainer{
		Name: "c", Kind: event.KubeApp, Image: kube.Image, Command: []string{"sleep", "13"}, Hooks: []event.KubeHook{{Kind: event.KubePreStop, Argv: []string{"bye"}}},
		Variables:  []event.Variable{{Name: "LD_PRELOAD", Value: "/x.so"}},
		HostAccess: &event.HostAccess{Privileged: true, Namespaces: []string{"pid"}, Paths: []string{"/"}},
	}
	if d := cmp.Diff([]event.KubeContainer{want}, q.Object.Containers); d != "" {
		s.t.Error(d)
	}
}

// doors changes who may pass.
func doors(s *scene) {
	s.kubectl(s.Admin, "create", "role", "-n", s.ns, "reader", "--verb=get", "--resource=pods")
	role := s.told("role", func(q event.KubeRequest) bool {
		return q.Op == event.KubeDoor && q.Object.Kind == "Role" && q.Namespace == s.ns
	})
	if role.Object.Name != "reader" || role.Verb != "create" || role.Code != 201 {
		s.t.Errorf("%+v", role)
	}
	_ = s.Kubectl(s.t.Context(), s.ana, "delete", "validatingwebhookconfiguration", "gate").Run()
	s.told("webhook", func(q event.KubeRequest) bool {
		return q.Op == event.KubeDoor && q.Object.Kind == "ValidatingWebhookConfiguration" && q.Object.Name == "gate" && q.Verb == "delete" && q.Code >= 400 && q.User.Name == "ana"
	})
}

// odds compares the parser's reading of a query with what the API server runs.
func odds(s *scene) {
	base := "/api/v1/namespaces/" + s.ns + "/pods/web/exec?"
	for query, want := range map[string][]string{
		"stdout=true&container=app&command=printf&container=none&command=<%25s>&stderr=&command=a+b%26&command=%2B%2541": {"a b&", "+%41"},
		"c%6fmmand=printf&command=%3c%25s%3e&command=x;y&command=%zz&command=&stdout=1&command=z%3by":                    {"", "z;y"},
		"&&command=printf&=&command=<%25s>&command=c=d&COMMAND=no&stdout&command=%C3%A9%0a":                              {"c=d", "é\n"},
	} {
		code, out := s.upgrade(s.ana, s.Server, base+query)
		if printed := "<" + strings.Join(want, "><") + ">"; code != 101 || !strings.Contains(out, printed) {
			s.t.Errorf("%s: %d %q, want %q", query, code, out, printed)
		}
		q := s.asked(query, event.KubeComplete, event.KubeExec, append([]string{"printf", "<%s>"}, want...)...)
		if q.Container != "app" && strings.Contains(query, "container") {
			s.t.Errorf("%s: container %q", query, q.Container)
		}
	}
}
