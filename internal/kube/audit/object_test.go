package audit_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
)

const (
	debugger = `{"name":"dbg","image":"busybox","command":["sh"],"stdin":true,"tty":true,"targetContainerName":"app"}`
	podBody  = `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-1","namespace":"shop","uid":"u1",
		"annotations":{"kubernetes.io/config.mirror":"x"},"labels":{"app.kubernetes.io/managed-by":"kubectl-debug"}},
		"spec":{"nodeName":"n1","hostPID":true,"hostNetwork":true,"hostIPC":false,"volumes":[{"name":"r","hostPath":{"path":"/","type":""}},{"name":"e","emptyDir":{}}],
		"initContainers":[{"name":"i","image":"a","command":["x"]},{"name":"s","restartPolicy":"Always"}],
		"containers":[{"name":"app","image":"b","args":["--y"],"volumeMounts":[{"mountPath":"/h","name":"r"},{"name":"e"}],
			"securityContext":{"runAsUser":0,"privileged":true,"capabilities":{"drop":["ALL"],"add":["SYS_ADMIN"]}},
			"env":[{"name":"TOKEN","value":"x"},{"name":"BASH_ENV","valueFrom":{"configMapKeyRef":{"name":"c","key":"k"}}},{"value":"/x.so","name":"LD_PRELOAD"}],
			"livenessProbe":{"exec":{"command":["ok"]},"periodSeconds":5,"timeoutSeconds":2,"initialDelaySeconds":3},
			"readinessProbe":{"httpGet":{"path":"/"}},"startupProbe":{"exec":{"command":["up"]}},
			"lifecycle":{"postStart":{"exec":{"command":["a","b"]}},"preStop":{"httpGet":{}}}}]}}`
)

func dbg() event.KubeContainer {
	return event.KubeContainer{Name: "dbg", Kind: event.KubeEphemeralDebug, Image: "busybox", Command: []string{"sh"}, Stdin: true, TTY: true, Target: "app"}
}

func TestParseObjects(t *testing.T) {
	app := func(c event.KubeContainer) event.KubeContainer { c.Kind = event.KubeApp; return c }
	whole := &event.KubeObject{
		Kind: "Pod", Namespace: "shop", Name: "web-1", UID: "u1", NodeName: "n1", HostAccess: &event.HostAccess{Namespaces: []string{"network", "pid"}, Paths: []string{"/"}}, Mirror: true, Debug: true,
		Containers: []event.KubeContainer{
			{Name: "i", Kind: event.KubeInit, Image: "a", Command: []string{"x"}, HostAccess: &event.HostAccess{Namespaces: []string{"network", "pid"}}},
			{Name: "s", Kind: event.KubeSidecar, HostAccess: &event.HostAccess{Namespaces: []string{"network", "pid"}}},
			{Name: "app", Kind: event.KubeApp, Image: "b", Args: []string{"--y"}, HostAccess: &event.HostAccess{
				Privileged: true, Namespaces: []string{"network", "pid"}, Capabilities: []string{"SYS_ADMIN"}, Paths: []string{"/"},
			}, Variables: []event.Variable{{Name: "BASH_ENV"}, {Name: "LD_PRELOAD", Value: "/x.so"}}, Hooks: []event.KubeHook{
				{Kind: event.KubeLiveness, Argv: []string{"ok"}, Period: event.Duration(5 * time.Second), Timeout: event.Duration(2 * time.Second), InitialDelay: event.Duration(3 * time.Second)},
				{Kind: event.KubeStartup, Argv: []string{"up"}, Period: event.Duration(10 * time.Second), Timeout: event.Duration(time.Second)},
				{Kind: event.KubePostStart, Argv: []string{"a", "b"}},
			}},
		},
	}
	object := func(h event.HostAccess, kind string, list []event.KubeContainer) *event.KubeObject {
		for i := range list {
			list[i].HostAccess = &h
		}
		return &event.KubeObject{Kind: kind, Namespace: "shop", Name: "web", Containers: list, HostAccess: &h}
	}
	// What a patch does not say of the host is not known.
	patched := func(kind string, c ...event.KubeContainer) *event.KubeObject {
		return object(event.HostAccess{Partial: true}, kind, c)
	}
	made := func(kind string, c ...event.KubeContainer) *event.KubeObject {
		return object(event.HostAccess{}, kind, c)
	}
	for name, c := range map[string]struct {
		verb, resource, group, sub, body string
		want                             *event.KubeObject
	}{
		"pod": {"create", "pods", "", "", podBody, whole},
		"ephemeral, strategic merge patch": {
			"patch", "pods", "", "ephemeralcontainers",
			`{"spec":{"$setElementOrder/ephemeralContainers":[{"name":"dbg"}],"ephemeralContainers":[` + debugger + `]}}`, patched("Pod", dbg()),
		},
		"ephemeral, JSON patch to the end": {
			"patch", "pods", "", "ephemeralcontainers",
			`[{"op":"test","path":"/spec","value":1},{"op":"add","path":"/spec/ephemeralContainers/-","value":` + debugger + `}]`, patched("Pod", dbg()),
		},
		"ephemeral, JSON patch of the list": {
			"patch", "pods", "", "ephemeralcontainers",
			`[{"value":[` + debugger + `],"path":"/spec/ephemeralContainers","op":"add"}]`, patched("Pod", dbg()),
		},
		"ephemeral, whole pod": {"update", "pods", "", "ephemeralcontainers", `{"kind":"Pod","spec":{"ephemeralContainers":[` + debugger + `]}}`, made("Pod", dbg())},
		"ephemeral, old kind":  {"update", "pods", "", "ephemeralcontainers", `{"kind":"EphemeralContainers","ephemeralContainers":[` + debugger + `]}`, patched("Pod", dbg())},
		"ephemeral, nothing":   {"patch", "pods", "", "ephemeralcontainers", `{"spec":{}}`, nil},
		"image by JSON patch": {
			"patch", "pods", "", "", `[{"op":"replace","path":"/spec/containers/0/image","value":"evil"}]`,
			patched("Pod", app(event.KubeContainer{Image: "evil"})),
		},
		"probe by JSON patch in a cron job": {
			"patch", "cronjobs", "batch", "",
			`[{"op":"add","path":"/spec/jobTemplate/spec/template/spec/containers/0/livenessProbe/exec","value":{"command":["id"]}}]`,
			patched("CronJob", app(event.KubeContainer{Hooks: []event.KubeHook{{Kind: event.KubeLiveness, Argv: []string{"id"}, Period: event.Duration(10 * time.Second), Timeout: event.Duration(time.Second)}}})),
		},
		"cron job": {
			"create", "cronjobs", "batch", "", `{"metadata":{"name":"web"},"spec":{"schedule":"* * * * *","jobTemplate":{"metadata":{"name":"no"},"spec":{"template":{"metadata":{"name":"no"},"spec":{"containers":[{"name":"c","command":["x"]}]}}}}}}`,
			made("CronJob", app(event.KubeContainer{Name: "c", Command: []string{"x"}})),
		},
		"deployment": {
			"patch", "deployments", "apps", "", `{"spec":{"template":{"spec":{"containers":[{"name":"c","command":["x"]}],"$setElementOrder/containers":[{"name":"c"}]}}}}`,
			patched("Deployment", app(event.KubeContainer{Name: "c", Command: []string{"x"}})),
		},
		"replication controller": {
			"update", "replicationcontrollers", "", "", `{"spec":{"template":{"spec":{"hostPID":true}}}}`,
			&event.KubeObject{Kind: "ReplicationController", Namespace: "shop", Name: "web", HostAccess: &event.HostAccess{Namespaces: []string{"pid"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ref := &audittest.ObjectRef{Resource: c.resource, APIGroup: c.group, Namespace: "shop", Name: "web", Subresource: c.sub}
			q, ok := parse(t, base(c.verb, "/x", ref, func(e *audittest.Event) { e.Stage, e.Request = "ResponseComplete", []byte(c.body) }))
			if !ok {
				t.Fatal("not relevant")
			}
			if diff := cmp.Diff(c.want, q.Object); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestGeneratedName takes a pod's name from the answer: the request had none.
func TestGeneratedName(t *testing.T) {
	q, ok := parse(t, base("create", "/x", &audittest.ObjectRef{Resource: "pods", Namespace: "shop"}, func(e *audittest.Event) {
		e.Stage, e.Request = "ResponseComplete", []byte(`{"metadata":{"generateName":"web-"},"spec":{"containers":[{"name":"c"}]}}`)
		e.Response = []byte(`{"metadata":{"name":"web-7","uid":"u7","namespace":"shop"}}`)
	}))
	if !ok || q.Pod != "web-7" || q.Object.Name != "web-7" || q.Object.UID != "u7" {
		t.Errorf("pod %q, object %+v", q.Pod, q.Object)
	}
}

// TestTemplatesInTemplates is a body made to be slow to read.
func TestTemplatesInTemplates(t *testing.T) {
	deep := []byte{}
	for range 4000 {
		deep = append(deep, `{"spec":{"template":`...)
	}
	deep = append(deep, '1')
	for range 4000 {
		deep = append(deep, "}}"...)
	}
	began := time.Now()
	_, _ = parse(t, base("patch", "/x", &audittest.ObjectRef{Resource: "deployments", APIGroup: "apps"}, func(e *audittest.Event) {
		e.Stage, e.Request = "ResponseComplete", deep
	}))
	if spent := time.Since(began); spent > 5*time.Second {
		t.Errorf("took %v", spent)
	}
}

func TestParseReviews(t *testing.T) {
	ref := &audittest.ObjectRef{Resource: "subjectaccessreviews", APIGroup: "authorization.k8s.io"}
	const spec = `{"spec":{"user":"eve","uid":"9","groups":["g"],"extra":{"k":["v"]},"resourceAttributes":{"verb":"get","resource":"nodes","subresource":"proxy","name":"n1"}}`
	byNode := func(request, answer string) func(*audittest.Event) {
		return func(e *audittest.Event) {
			e.User, e.UserAgent, e.Stage = node, "kubelet/v1.37.2", "ResponseComplete"
			e.Request, e.Response = []byte(request), []byte(answer)
		}
	}
	eve := event.KubeUser{Name: "eve", UID: "9", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}}}
	for name, c := range map[string]struct {
		request, answer string
		want            *event.AccessReview
		relevant        bool
	}{
		"request level": {spec + `,"status":{"allowed":false}}`, `null`, &event.AccessReview{User: eve, Verb: "get", Resource: "nodes/proxy", Name: "n1"}, true},
		"allowed":       {spec + `}`, spec + `,"status":{"allowed":true}}`, &event.AccessReview{User: eve, Verb: "get", Resource: "nodes/proxy", Name: "n1", Allowed: true, AllowedSaid: true}, true},
		"denied":        {spec + `}`, spec + `,"status":{"allowed":false}}`, &event.AccessReview{User: eve, Verb: "get", Resource: "nodes/proxy", Name: "n1", AllowedSaid: true}, true},
		"path":          {`{"spec":{"user":"eve","nonResourceAttributes":{"path":"/exec","verb":"get"}}}`, `null`, &event.AccessReview{User: event.KubeUser{Name: "eve"}, Verb: "get", Path: "/exec"}, true},
		"metadata":      {`null`, `null`, nil, true},
		"not of nodes":  {`{"spec":{"user":"eve","resourceAttributes":{"verb":"get","resource":"pods"}}}`, `null`, nil, false},
	} {
		q, ok := parse(t, base("create", "/x", ref, byNode(c.request, c.answer)))
		if diff := cmp.Diff(c.want, q.Review); ok != c.relevant || diff != "" {
			t.Errorf("%s: relevant %v (-want +got):\n%s", name, ok, diff)
		}
	}
}
