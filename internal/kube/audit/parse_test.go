package audit_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
)

var (
	received = time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)
	started  = received.Add(40 * time.Millisecond)
	ana      = audittest.User{
		Username: "ana", UID: "7", Groups: []string{"dev", "system:authenticated"},
		Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=ab"}},
	}
	anaUser = event.KubeUser{
		Name: "ana", UID: "7", Groups: []string{"dev", "system:authenticated"},
		Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=ab"}},
	}
	node = audittest.User{Username: "system:node:n1", Groups: []string{"system:nodes"}}
)

// base returns an event of ana's; change makes it what a test needs.
func base(verb, uri string, ref *audittest.ObjectRef, change ...func(*audittest.Event)) audittest.Event {
	e := audittest.Event{
		Kind: "Event", APIVersion: "audit.k8s.io/v1", Level: "Metadata", AuditID: "11", Stage: "ResponseStarted",
		RequestURI: uri, Verb: verb, User: ana, SourceIPs: []string{"1.2.3.4", "10.0.0.7"}, UserAgent: "kubectl/v1.37",
		ObjectRef: ref, Status: &audittest.Status{Code: 101},
		Received: audittest.MicroTime(received), At: audittest.MicroTime(started),
		Annotations: map[string]string{"authorization.k8s.io/decision": "allow"},
	}
	for _, c := range change {
		c(&e)
	}
	return e
}

func line(t testing.TB, e audittest.Event) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t *testing.T, e audittest.Event) (event.KubeRequest, bool) {
	t.Helper()
	var q event.KubeRequest
	ok, err := audit.Parse(line(t, e), &q)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return q, ok
}

func pod(sub string) *audittest.ObjectRef {
	return &audittest.ObjectRef{Resource: "pods", Namespace: "shop", Name: "web", APIVersion: "v1", Subresource: sub}
}

func TestParseExec(t *testing.T) {
	q, ok := parse(t, base("get", "/api/v1/namespaces/shop/pods/web/exec?command=sh&command=-c&command=echo+a%20%26+b&container=app&stdin=true&tty=true", pod("exec"),
		func(e *audittest.Event) {
			e.Impersonated = &audittest.User{Username: "bob"}
			e.Annotations[audit.NonceKey] = "n0nce"
		}))
	want := event.KubeRequest{
		Header: event.Header{Time: started, Witness: event.WitnessAudit},
		ID:     "11", Stage: event.KubeStarted, Received: received, Op: event.KubeExec, Verb: "get",
		URI:  "/api/v1/namespaces/shop/pods/web/exec?command=sh&command=-c&command=echo+a%20%26+b&container=app&stdin=true&tty=true",
		User: anaUser, Impersonated: &event.KubeUser{Name: "bob"}, UserAgent: "kubectl/v1.37",
		Address: "10.0.0.7", Sources: []string{"1.2.3.4", "10.0.0.7"}, Code: 101,
		Namespace: "shop", Pod: "web", Container: "app", Argv: []string{"sh", "-c", "echo a & b"}, TTY: true, Stdin: true,
		Nonce: "n0nce",
	}
	if diff := cmp.Diff(want, q); !ok || diff != "" {
		t.Errorf("relevant %v, difference (-want +got):\n%s", ok, diff)
	}
}

// TestQuery is what the API server's decoder makes of a query.
func TestQuery(t *testing.T) {
	for query, want := range map[string]event.KubeRequest{
		"":                                 {},
		"command=a&command=b":              {Argv: []string{"a", "b"}},
		"tty=1&command=b&stdin&command=a":  {Argv: []string{"b", "a"}, TTY: true, Stdin: true},
		"tty=0&stdin=FALSE&command=":       {Argv: []string{""}},
		"tty=no&stdin=":                    {TTY: true, Stdin: true},
		"container=x&container=y":          {Container: "x"},
		"c%6fmmand=%2573&comm%61nd=+%2B":   {Argv: []string{"%73", " +"}},
		"command=a;b&command=c":            {Argv: []string{"c"}},
		"command=%zz&command=%":            {},
		"command=%ff%00":                   {Argv: []string{"\xff\x00"}},
		"COMMAND=a&command=b=c&=x&&":       {Argv: []string{"b=c"}},
		"command=a&tty=false&tty=true":     {Argv: []string{"a"}},
		"command=a?b&command=c%23d%0Ae":    {Argv: []string{"a?b", "c#d\ne"}},
		"container=&container=y&command=a": {Argv: []string{"a"}},
	} {
		q, _ := parse(t, base("create", "/api/v1/namespaces/shop/pods/web/exec?"+query, pod("exec")))
		got := event.KubeRequest{Argv: q.Argv, Container: q.Container, TTY: q.TTY, Stdin: q.Stdin}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
}

func TestParseForms(t *testing.T) {
	ref := func(resource, ns, name, sub string) *audittest.ObjectRef {
		group := map[string]string{"deployments": "apps", "cronjobs": "batch"}[resource]
		return &audittest.ObjectRef{Resource: resource, Namespace: ns, Name: name, APIVersion: "v1", APIGroup: group, Subresource: sub}
	}
	onNode := ref("nodes", "", "n1", "proxy")
	as := func(u audittest.User, agent string) func(*audittest.Event) {
		return func(e *audittest.Event) { e.User, e.UserAgent = u, agent }
	}
	for name, c := range map[string]struct {
		event audittest.Event
		want  event.KubeRequest
	}{
		"attach": {
			base("create", "/api/v1/namespaces/shop/pods/web/attach?container=app&stdin=true", pod("attach")),
			event.KubeRequest{Op: event.KubeAttach, Namespace: "shop", Pod: "web", Container: "app", Stdin: true},
		},
		"port-forward": {
			base("get", "/api/v1/namespaces/shop/pods/web/portforward?ports=80,81&ports=82", pod("portforward")),
			event.KubeRequest{Op: event.KubePortForward, Namespace: "shop", Pod: "web", Ports: []string{"80", "81", "82"}},
		},
		"pod proxy": {
			base("create", "/api/v1/namespaces/shop/pods/https:web:8443/proxy/a%20b/c?x=1", ref("pods", "shop", "https:web:8443", "proxy")),
			event.KubeRequest{Op: event.KubePodProxy, Namespace: "shop", Pod: "web", Path: "/a b/c"},
		},
		"service proxy": {
			base("get", "/api/v1/namespaces/shop/services/web:http/proxy/", ref("services", "shop", "web:http", "proxy")),
			event.KubeRequest{Op: event.KubeServiceProxy, Namespace: "shop", Path: "/"},
		},
		"node exec": {
			base("get", "/api/v1/nodes/https:n1:10250/proxy/exec/shop/web/u-1/app?command=id&command=-u&input=1&tty=1", ref("nodes", "", "https:n1:10250", "proxy")),
			event.KubeRequest{Op: event.KubeNodeExec, TargetNode: "n1", Namespace: "shop", Pod: "web", Container: "app", Argv: []string{"id", "-u"}, Stdin: true, TTY: true, Path: "/exec/shop/web/u-1/app"},
		},
		"node exec, disguised path": {
			base("get", "/api/v1/nodes/n1/proxy%2Fmetrics/..//%65xec/shop/web/app/?command=id&tty=true", onNode),
			event.KubeRequest{Op: event.KubeNodeExec, TargetNode: "n1", Namespace: "shop", Pod: "web", Container: "app", Argv: []string{"id"}, Path: "/metrics/..//exec/shop/web/app/"},
		},
		"node run": {
			base("create", "/api/v1/nodes/n1/proxy/run/shop/web/app?cmd=cat++/etc%2Fshadow&cmd=x", onNode),
			event.KubeRequest{Op: event.KubeNodeRun, TargetNode: "n1", Namespace: "shop", Pod: "web", Container: "app", Argv: []string{"cat", "", "/etc/shadow"}, Path: "/run/shop/web/app"},
		},
		"node port-forward": {
			base("get", "/api/v1/nodes/n1/proxy/portForward/shop/web?port=80&port=81,82", onNode),
			event.KubeRequest{Op: event.KubeNodeForward, TargetNode: "n1", Namespace: "shop", Pod: "web", Ports: []string{"80", "81", "82"}, Path: "/portForward/shop/web"},
		},
		"node metrics": {
			base("get", "/api/v1/nodes/n1/proxy/metrics", onNode),
			event.KubeRequest{Op: event.KubeNodeProxy, TargetNode: "n1", Path: "/metrics"},
		},
		"a node's identity elsewhere": {
			base("get", "/api/v1/namespaces/shop/secrets/db", ref("secrets", "shop", "db", ""), as(node, "curl/8.1")),
			event.KubeRequest{Op: event.KubeOther, Namespace: "shop"},
		},
		"a node's identity impersonated": {
			base("get", "/api/v1/nodes/n1", ref("nodes", "", "n1", ""), func(e *audittest.Event) { e.Impersonated = &node }),
			event.KubeRequest{Op: event.KubeOther, TargetNode: "n1", Impersonated: &event.KubeUser{Name: "system:node:n1", Groups: []string{"system:nodes"}}},
		},
		"a webhook is deleted": {
			base("delete", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/gate", &audittest.ObjectRef{Resource: "validatingwebhookconfigurations", APIGroup: "admissionregistration.k8s.io", Name: "gate"}),
			event.KubeRequest{Op: event.KubeDoor, Object: &event.KubeObject{Kind: "ValidatingWebhookConfiguration", Name: "gate"}},
		},
		"a role is bound": {
			base("create", "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings", &audittest.ObjectRef{Resource: "rolebindings", APIGroup: "rbac.authorization.k8s.io", Namespace: "shop", Name: "exec"}),
			event.KubeRequest{Op: event.KubeDoor, Namespace: "shop", Object: &event.KubeObject{Kind: "RoleBinding", Namespace: "shop", Name: "exec"}},
		},
		"pod, body unknown": {
			base("create", "/api/v1/namespaces/shop/pods", pod("")),
			event.KubeRequest{Op: event.KubePodChange, Namespace: "shop", Pod: "web"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			q, ok := parse(t, c.event)
			if !ok {
				t.Fatal("not relevant")
			}
			rest := cmpopts.IgnoreFields(event.KubeRequest{}, "Header", "ID", "Stage", "Received", "Verb", "URI", "User", "UserAgent", "Address", "Sources", "Code")
			if diff := cmp.Diff(c.want, q, rest); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestIrrelevant(t *testing.T) {
	own := func(e *audittest.Event) { e.User, e.UserAgent = node, "kubelet/v1.37.2 (linux/amd64)" }
	patched := func(body string) func(*audittest.Event) {
		return func(e *audittest.Event) { e.Stage, e.Request = "ResponseComplete", []byte(body) }
	}
	for name, e := range map[string]audittest.Event{
		"list":                      base("list", "/api/v1/pods", &audittest.ObjectRef{Resource: "pods"}),
		"delete":                    base("delete", "/api/v1/namespaces/shop/pods/web", pod("")),
		"status":                    base("patch", "/x", pod("status")),
		"no resource":               base("get", "/healthz", nil),
		"pods of another group":     base("get", "/x", &audittest.ObjectRef{Resource: "pods", APIGroup: "metrics.k8s.io", Subresource: "exec"}),
		"the kubelet's own":         base("patch", "/x", &audittest.ObjectRef{Resource: "nodes", Subresource: "status"}, own),
		"create not decided yet":    base("create", "/x", pod(""), func(e *audittest.Event) { e.Stage = "RequestReceived" }),
		"patch of labels":           base("patch", "/x", pod(""), patched(`{"metadata":{"labels":{"containers":"x"}}}`)),
		"scale by patch":            base("patch", "/x", &audittest.ObjectRef{Resource: "deployments", APIGroup: "apps"}, patched(`{"spec":{"replicas":3}}`)),
		"review by another":         base("create", "/x", &audittest.ObjectRef{Resource: "subjectaccessreviews", APIGroup: "authorization.k8s.io"}),
		"a command in a string":     base("get", `/x?"objectRef":{"resource":"pods","subresource":"exec"}`, &audittest.ObjectRef{Resource: "secrets"}),
		"a command in an object":    base("update", "/x", &audittest.ObjectRef{Resource: "configmaps"}, patched(`{"objectRef":{"resource":"pods","subresource":"exec"}}`)),
		"reading a role":            base("get", "/x", &audittest.ObjectRef{Resource: "roles", APIGroup: "rbac.authorization.k8s.io", Name: "r"}),
		"a role of another group":   base("create", "/x", &audittest.ObjectRef{Resource: "roles", APIGroup: "example.com", Name: "r"}),
		"a status of a policy":      base("update", "/x", &audittest.ObjectRef{Resource: "validatingadmissionpolicies", APIGroup: "admissionregistration.k8s.io", Subresource: "status"}),
		"role not decided yet":      base("create", "/x", &audittest.ObjectRef{Resource: "roles", APIGroup: "rbac.authorization.k8s.io"}, func(e *audittest.Event) { e.Stage = "RequestReceived" }),
		"reading ephemeral":         base("get", "/x", pod("ephemeralcontainers")),
		"json patch of annotations": base("patch", "/x", pod(""), patched(`[{"op":"add","path":"/metadata/annotations","value":{"a":"b"}},{"op":"remove","path":"/spec/containers/0"}]`)),
	} {
		if q, ok := parse(t, e); ok {
			t.Errorf("%s: relevant: %+v", name, q)
		}
	}
}

// TestOrderDoesNotMatter holds the short cut to account: whatever the order of
// members, blanks and escapes, the same comes out.
func TestOrderDoesNotMatter(t *testing.T) {
	plain := base("get", "/api/v1/namespaces/shop/pods/web/exec?command=sh", pod("exec"))
	want, _ := parse(t, plain)
	for _, s := range []string{
		`{"objectRef":{"resource":"pods","namespace":"shop","name":"web","apiVersion":"v1","subresource":"exec"},"stageTimestamp":"2026-11-25T12:00:00.163456Z","requestReceivedTimestamp":"2026-11-25T12:00:00.123456Z","verb":"get","user":{"username":"ana","uid":"7","groups":["dev","system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["X509SHA256=ab"]}},"stage":"ResponseStarted","auditID":"11","sourceIPs":["1.2.3.4","10.0.0.7"],"userAgent":"kubectl/v1.37","responseStatus":{"code":101},"requestURI":"/api/v1/namespaces/shop/pods/web/exec?command=sh"}`,
		strings.NewReplacer(`":`, "\" :\t", `,"`, " ,\r\n \"", `"objectRef"`, `"object\u0052ef"`, `"exec"`, `"\u0065xec"`, "/", `\/`).Replace(string(line(t, plain))) + " \n",
	} {
		var got event.KubeRequest
		ok, err := audit.Parse([]byte(s), &got)
		if diff := cmp.Diff(want, got); !ok || err != nil || diff != "" {
			t.Errorf("%v %v (-want +got):\n%s", ok, err, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*audittest.Event)
		want   bool
	}{
		"forbidden":        {func(e *audittest.Event) { e.Status = &audittest.Status{Code: 403} }, true},
		"policy":           {func(e *audittest.Event) { e.Status = &audittest.Status{Code: 422} }, true},
		"unknown identity": {func(e *audittest.Event) { e.Status = &audittest.Status{Code: 401} }, true},
		"annotation":       {func(e *audittest.Event) { e.Annotations["authorization.k8s.io/decision"] = "forbid" }, true},
		"webhook, own code": {func(e *audittest.Event) {
			e.Status = &audittest.Status{Code: 400, Message: `admission webhook "x" denied the request: no`}
		}, true},
		"bad request": {func(e *audittest.Event) {
			e.Status = &audittest.Status{Code: 400, Message: `container "x" not found; admission webhook denied the request`}
		}, false},
		"nothing known":      {func(e *audittest.Event) { e.Status = nil }, false},
		"stream was opened":  {func(*audittest.Event) {}, false},
		"pod does not exist": {func(e *audittest.Event) { e.Status = &audittest.Status{Code: 404} }, false},
	} {
		q, _ := parse(t, base("get", "/x?command=a", pod("exec"), c.change))
		if q.Refused != c.want {
			t.Errorf("%s: refused = %v", name, q.Refused)
		}
	}
}

func TestMalformed(t *testing.T) {
	whole := string(line(t, base("get", "/x?command=a", pod("exec"))))
	quiet := string(line(t, base("get", "/x", &audittest.ObjectRef{Resource: "secrets"})))
	for _, s := range []string{
		"", "x", "null", "[]", `"a"`, "{", "{}", `{"kind":"Event"}`, "\x1f\x8b\x08\x00", whole[:len(whole)/2], whole[:len(whole)-1],
		quiet[:len(quiet)-2], whole + "x", whole + whole, strings.Replace(whole, `"verb":"get",`, "", 1),
		strings.Replace(whole, "ResponseStarted", "Other", 1), strings.Replace(whole, "2026-11-25T", "T", 1),
		strings.Replace(whole, `"kind":"Event"`, `"kind":"EventList"`, 1), strings.Replace(whole, `,"verb"`, `"verb"`, 1),
		strings.Replace(whole, `"verb":"get"`, `"verb":get`, 1) + "]",
	} {
		var q event.KubeRequest
		if ok, err := audit.Parse([]byte(s), &q); err == nil {
			t.Errorf("%.80q: relevant %v, no error", s, ok)
		}
	}
}
