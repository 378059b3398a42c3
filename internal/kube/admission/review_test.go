package admission

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

const userInfo = `"userInfo":{"username":"ann","uid":"7","groups":["dev","system:authenticated"],"extra":{"scopes":["a","b"]}}`

// review returns an AdmissionReview for a request with these members.
func review(members string) string {
	return `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1",` + userInfo + "," + members + `}}`
}

func on(resource, sub, operation, name, object string) string {
	return review(fmt.Sprintf(`"resource":{"group":"","version":"v1","resource":%q},"subResource":%q,"operation":%q,"name":%q,"namespace":"shop","object":%s`,
		resource, sub, operation, name, object))
}

const pod = `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","uid":"p-1","labels":{"app.kubernetes.io/managed-by":"kubectl-debug"}},
"spec":{"hostPID":true,"nodeName":"n1","volumes":[{"name":"h","hostPath":{"path":"/"}}],
"initContainers":[{"name":"side","image":"i","restartPolicy":"Always"},{"name":"init","image":"i"}],
"containers":[{"name":"app","image":"i","command":["sh"],"args":["-c","x y"],"tty":true,"stdin":true,
"livenessProbe":{"exec":{"command":["alive"]},"periodSeconds":5,"timeoutSeconds":2,"initialDelaySeconds":3},
"readinessProbe":{"httpGet":{"port":80}},"startupProbe":{"exec":{"command":["up"]}},
"lifecycle":{"postStart":{"exec":{"command":["hi"]}},"preStop":{"exec":{"command":["bye"]}}}}],
"ephemeralContainers":[{"name":"dbg","image":"d","command":["sh"],"stdin":true,"tty":true,"targetContainerName":"app"}]}}`

func ann() event.KubeUser {
	return event.KubeUser{Name: "ann", UID: "7", Groups: []string{"dev", "system:authenticated"}, Extra: map[string][]string{"scopes": {"a", "b"}}}
}

func podObject() *event.KubeObject {
	second := func(n int) event.Duration { return event.Duration(time.Duration(n) * time.Second) }
	return &event.KubeObject{
		Kind: "Pod", Namespace: "shop", Name: "web", UID: "p-1", NodeName: "n1", HostAccess: &event.HostAccess{Namespaces: []string{"pid"}, Paths: []string{"/"}}, Debug: true,
		Containers: []event.KubeContainer{
			{Name: "side", Kind: event.KubeSidecar, Image: "i", HostAccess: hostPID()}, {Name: "init", Kind: event.KubeInit, Image: "i", HostAccess: hostPID()},
			{Name: "app", Kind: event.KubeApp, Image: "i", Command: []string{"sh"}, Args: []string{"-c", "x y"}, TTY: true, Stdin: true, HostAccess: hostPID(), Hooks: []event.KubeHook{
				{Kind: event.KubeLiveness, Argv: []string{"alive"}, Period: second(5), Timeout: second(2), InitialDelay: second(3)},
				{Kind: event.KubeStartup, Argv: []string{"up"}, Period: second(10), Timeout: second(1)},
				{Kind: event.KubePostStart, Argv: []string{"hi"}}, {Kind: event.KubePreStop, Argv: []string{"bye"}},
			}},
			{Name: "dbg", Kind: event.KubeEphemeralDebug, Image: "d", Command: []string{"sh"}, TTY: true, Stdin: true, Target: "app", HostAccess: hostPID()},
		},
	}
}

func hostPID() *event.HostAccess { return &event.HostAccess{Namespaces: []string{"pid"}} }

// reviews are requests as the API server sends them, and what they become.
func reviews() map[string]struct {
	body string
	want *event.KubeAdmission // nil: concerns no command
} {
	type row = struct {
		body string
		want *event.KubeAdmission
	}
	ephemeral := podObject()
	ephemeral.Containers = ephemeral.Containers[3:]
	template := podObject()
	template.Kind, template.Containers, template.HostAccess, template.NodeName, template.UID, template.Name, template.Debug = "Deployment", []event.KubeContainer{{Name: "c", Kind: event.KubeApp, Command: []string{"x"}, HostAccess: &event.HostAccess{}}}, &event.HostAccess{}, "", "", "d", false
	cron := *template
	cron.Kind, cron.Name = "CronJob", "cj"
	withOld := func(sub, old string) string {
		return review(`"resource":{"version":"v1","resource":"pods"},"subResource":"` + sub + `","operation":"UPDATE","name":"web","namespace":"shop","object":` + pod + `,"oldObject":` + old)
	}
	return map[string]row{
		"exec": {
			on("pods", "exec", "CONNECT", "web", `{"kind":"PodExecOptions","apiVersion":"v1","stdin":true,"stdout":true,"tty":true,"container":"app","command":["sh","-c","a b"]}`),
			&event.KubeAdmission{Op: event.KubeExec, Namespace: "shop", Pod: "web", Container: "app", Argv: []string{"sh", "-c", "a b"}, TTY: true, Stdin: true},
		},
		"attach": {
			on("pods", "attach", "CONNECT", "web", `{"kind":"PodAttachOptions","stdin":true,"container":"app"}`),
			&event.KubeAdmission{Op: event.KubeAttach, Namespace: "shop", Pod: "web", Container: "app", Stdin: true},
		},
		"port-forward": {
			on("pods", "portforward", "CONNECT", "web", `{"kind":"PodPortForwardOptions"}`),
			&event.KubeAdmission{Op: event.KubePortForward, Namespace: "shop", Pod: "web"},
		},
		"pod proxy": {
			on("pods", "proxy", "CONNECT", "web", `{"path":"/admin"}`),
			&event.KubeAdmission{Op: event.KubePodProxy, Namespace: "shop", Pod: "web", Path: "/admin"},
		},
		"service proxy": {
			on("services", "proxy", "CONNECT", "svc", `{"path":"/x"}`),
			&event.KubeAdmission{Op: event.KubeServiceProxy, Namespace: "shop", Path: "/x", Object: &event.KubeObject{Kind: "Service", Namespace: "shop", Name: "svc"}},
		},
		"node run": {
			on("nodes", "proxy", "CONNECT", "n1", `{"kind":"NodeProxyOptions","path":"/run/ns/p/c"}`),
			&event.KubeAdmission{Op: event.KubeNodeRun, TargetNode: "n1", Namespace: "ns", Pod: "p", Container: "c", Path: "/run/ns/p/c"},
		},
		"node exec with uid": {
			on("nodes", "proxy", "CONNECT", "n1", `{"path":"exec/ns/p/uid/c"}`),
			&event.KubeAdmission{Op: event.KubeNodeExec, TargetNode: "n1", Namespace: "ns", Pod: "p", Container: "c", Path: "exec/ns/p/uid/c"},
		},
		"node pods": {
			on("nodes", "proxy", "CONNECT", "n1", `{"path":"/pods"}`),
			&event.KubeAdmission{Op: event.KubeNodeProxy, TargetNode: "n1", Namespace: "shop", Path: "/pods"},
		},
		"pod":           {on("pods", "", "CREATE", "web", pod), &event.KubeAdmission{Op: event.KubePodChange, Namespace: "shop", Pod: "web", Object: podObject()}},
		"pod, the same": {withOld("", pod), nil},
		"pod, changed":  {withOld("", `{"kind":"Pod","spec":{}}`), &event.KubeAdmission{Op: event.KubePodChange, Namespace: "shop", Pod: "web", Object: podObject()}},
		"ephemeral": {
			withOld("ephemeralcontainers", `{"kind":"Pod","spec":{}}`),
			&event.KubeAdmission{Op: event.KubeEphemeral, Namespace: "shop", Pod: "web", Container: "dbg", TTY: true, Stdin: true, Object: ephemeral},
		},
		"ephemeral, none new": {withOld("ephemeralcontainers", pod), nil},
		"deployment": {
			review(`"resource":{"group":"apps","version":"v1","resource":"deployments"},"operation":"CREATE","name":"d","namespace":"shop","dryRun":true,"object":{"kind":"Deployment","metadata":{"name":"d"},"spec":{"template":{"spec":{"containers":[{"name":"c","command":["x"]}]}}}}`),
			&event.KubeAdmission{Op: event.KubeWorkload, Namespace: "shop", Object: template, DryRun: true},
		},
		"cron job": {
			review(`"resource":{"group":"batch","version":"v1","resource":"cronjobs"},"operation":"CREATE","name":"cj","namespace":"shop","object":{"kind":"CronJob","metadata":{"name":"cj"},"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"name":"c","command":["x"]}]}}}}}}`),
			&event.KubeAdmission{Op: event.KubeWorkload, Namespace: "shop", Object: &cron},
		},
		"pod status":   {withOld("status", pod), nil},
		"delete":       {on("pods", "", "DELETE", "web", `null`), nil},
		"another kind": {on("configmaps", "", "CONNECT", "x", `{}`), nil},
	}
}

func TestDecode(t *testing.T) {
	for name, tc := range reviews() {
		uid, got, news, err := decode([]byte(tc.body))
		if err != nil || uid != "u-1" || news != (tc.want != nil) {
			t.Errorf("%s: uid %q, news %t, %v", name, uid, news, err)
			continue
		}
		if tc.want == nil {
			continue
		}
		want := *tc.want
		want.UID, want.User = "u-1", ann()
		if name == "node pods" {
			want.Namespace = got.Namespace
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, body := range []string{
		"", "null", "[]", "{}", `{"request":{}}`, `{"apiVersion":"admission.k8s.io/v1"}`,
		`{"apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u"}}`, review(`"operation":3`),
		on("pods", "exec", "CONNECT", "web", `{"command":"id"}`), on("pods", "", "CREATE", "web", `{"kind":"Pod","spec":[]}`),
	} {
		if _, got, news, err := decode([]byte(body)); err == nil || news {
			t.Errorf("%s: taken as %+v", body, got)
		}
	}
}

// FuzzDecode: whatever is sent, what is taken can be kept and has a request.
func FuzzDecode(f *testing.F) {
	for _, tc := range reviews() {
		f.Add([]byte(tc.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		uid, o, news, err := decode(body)
		if !news || err != nil {
			return
		}
		if uid == "" || o.UID != uid || o.Op == "" {
			t.Fatalf("incomplete: %+v", o)
		}
		o.Header = header(time.Unix(1, 0))
		wire, err := event.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := event.Unmarshal(wire); err != nil {
			t.Fatalf("%v: %s", err, wire)
		}
	})
}

func BenchmarkDecodeExec(b *testing.B) {
	body := []byte(reviews()["exec"].body)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, _, _, err := decode(body); err != nil {
			b.Fatal(err)
		}
	}
}
