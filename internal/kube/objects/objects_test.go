package objects_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/objects"
)

// read reads one text of manifests.
func read(t *testing.T, text string) (*inventory.Cluster, []inventory.Skipped) {
	t.Helper()
	l := objects.New(objects.Options{})
	if err := l.Read("in.yaml", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	c, unread, skipped := l.Finish()
	if len(unread) > 0 {
		t.Errorf("unread: %v", unread)
	}
	return c, skipped
}

const app = `# Source: app/templates/all.yaml
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
automountServiceAccountToken: false
--- # the second
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  template:
    spec:
      serviceAccountName: web
      hostPID: yes
      securityContext: {runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      volumes:
      - {name: run, hostPath: {path: /var/run}}
      initContainers:
      - {name: mesh, image: mesh, restartPolicy: Always}
      containers:
      - name: app
        image: app:1
        securityContext: {privileged: true, runAsUser: 0, capabilities: {add: [SYS_PTRACE], drop: [all]}}
        volumeMounts:
        - {name: run, mountPath: /host, subPath: docker.sock, readOnly: true}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: debug}
rules:
- apiGroups: [""]
  resources: [pods]
  verbs: [get]
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [create]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: debug}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: debug}
subjects:
- kind: User
  name: jane
- kind: ServiceAccount
  name: web
  namespace: shop
`

func TestManifests(t *testing.T) {
	c, skipped := read(t, app)
	if len(skipped) > 0 {
		t.Errorf("skipped: %v", skipped)
	}
	if !c.Partial || !c.Assumed || c.Version != objects.Newest {
		t.Errorf("partial %v, version %v assumed %v; want all of it assumed", c.Partial, c.Version, c.Assumed)
	}
	root, user := int64(0), int64(1000)
	at := func(line int) inventory.Origin { return inventory.Origin{Source: "in.yaml", Line: line} }
	template := inventory.Template{
		ServiceAccount: "web", Token: inventory.No, HostPID: true, HostUsers: inventory.Yes,
		HostPaths: []inventory.HostPath{{Container: "app", Path: "/var/run/docker.sock", Mount: "/host", ReadOnly: true}},
		Containers: []inventory.Container{
			{Name: "mesh", Image: "mesh", Role: "sidecar", Escalation: inventory.Yes, User: &user, Seccomp: "RuntimeDefault"},
			{Name: "app", Image: "app:1", Privileged: true, Escalation: inventory.Yes, User: &root, Seccomp: "RuntimeDefault", AddCapabilities: []string{"SYS_PTRACE"}, DropAll: true},
		},
	}
	web := inventory.Object{Namespace: "shop", Name: "web", Origin: at(7)}
	if diff := cmp.Diff([]inventory.Workload{{Object: web, Kind: "Deployment", Group: "apps", Template: template}}, c.Workloads); diff != "" {
		t.Errorf("workloads (-want +got):\n%s", diff)
	}
	template.Security = &inventory.PodSecurity{
		Version: objects.Newest,
		Baseline: []string{
			`non-default capabilities (container "app" must not include "SYS_PTRACE" in securityContext.capabilities.add)`, "host namespaces (hostPID=true)",
			`hostPath volumes (volume "run")`, `privileged (container "app" must not set securityContext.privileged=true)`,
		},
		Restricted: []string{"allowPrivilegeEscalation != false", "unrestricted capabilities", "restricted volume types", "runAsNonRoot != true", "runAsUser=0"},
	}
	if diff := cmp.Diff([]inventory.Pod{{Object: web, Workload: "Deployment/web", Planned: true, Template: template}}, c.Pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	role := inventory.Role{Object: inventory.Object{Namespace: "default", Name: "debug", Origin: at(30)}, Rules: []inventory.Rule{
		{Verbs: []string{"get"}, Groups: []string{""}, Resources: []string{"pods"}, Line: 34},
		{Verbs: []string{"create"}, Groups: []string{""}, Resources: []string{"pods/exec"}, Line: 37},
	}}
	if diff := cmp.Diff(role, c.Roles[0]); diff != "" {
		t.Errorf("role (-want +got):\n%s", diff)
	}
	binding := inventory.Binding{Object: inventory.Object{Namespace: "default", Name: "debug", Origin: at(41)}, Role: "debug", Subjects: []inventory.Subject{
		{Kind: inventory.User, Name: "jane", Line: 46},
		{Kind: inventory.ServiceAccountSubject, Namespace: "shop", Name: "web", Line: 48},
	}}
	if diff := cmp.Diff([]inventory.Binding{binding}, c.Bindings); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
}

// TestForms reads the same objects in every form that they come in.
func TestForms(t *testing.T) {
	const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n"},"spec":{"containers":[{"name":"c"}]}}`
	const bare = `{"metadata":{"name":"p","namespace":"n"},"spec":{"containers":[{"name":"c"}]}}`
	for name, c := range map[string]struct {
		text string
		line int
	}{
		"JSON":                   {"\n\n" + pod, 3},
		"two values":             {`{"apiVersion":"v1","kind":"ConfigMap"}` + "\n" + pod, 2},
		"JSON List":              {"{\"apiVersion\":\"v1\",\n\"items\":[\n" + pod + "],\"kind\":\"List\"}", 3},
		"PodList":                {`{"kind":"PodList","apiVersion":"v1","items":[` + bare + `]}`, 1},
		"PodList of nothing":     {`{"kind":"PodList","apiVersion":"v1","items":null}` + "\n" + pod, 2},
		"YAML List":              {"apiVersion: v1\nkind: List\nitems:\n- " + pod, 4},
		"YAML List of lists":     {"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: PodList\n  items:\n  - " + bare, 7},
		"with a directive":       {"%YAML 1.2\n---\n" + pod, 3},
		"on the marker's line":   {"--- " + pod + "\n", 1},
		"with a byte order mark": {"\xef\xbb\xbf" + pod, 1},
		"after an ended one":     {"apiVersion: v1\nkind: ConfigMap\n...\n" + pod, 4},
	} {
		t.Run(name, func(t *testing.T) {
			c, skipped := read(t, c.text)
			if len(skipped) > 0 || len(c.Pods) != 1 || c.Pods[0].Name != "p" || c.Pods[0].Namespace != "n" {
				t.Fatalf("pods %+v, skipped %v; want one pod n/p", c.Pods, skipped)
			}
		})
		cluster, _ := read(t, c.text)
		if len(cluster.Pods) == 1 && cluster.Pods[0].Origin.Line != c.line {
			t.Errorf("%s: line %d, want %d", name, cluster.Pods[0].Origin.Line, c.line)
		}
	}
}

func TestLongListIsReadItemByItem(t *testing.T) {
	for name, indent := range map[string]string{"as kubectl writes it": "", "indented": "  "} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			b.WriteString("apiVersion: v1\nitems:\n")
			const n = 4000
			for i := range n {
				fmt.Fprintf(&b, "%[1]s- apiVersion: v1\n%[1]s  kind: Pod\n%[1]s  metadata:\n%[1]s    name: p%[2]d\n%[1]s  spec:\n%[1]s    containers:\n%[1]s    - name: c\n", indent, i)
			}
			b.WriteString("kind: List\nmetadata:\n  resourceVersion: \"\"\n")
			c, skipped := read(t, b.String())
			if len(skipped) > 0 || len(c.Pods) != n {
				t.Fatalf("%d pods, skipped %v; want %d", len(c.Pods), skipped, n)
			}
			if p := c.Pods[n-1]; p.Origin.Line != 3+7*(n-1) || len(p.Containers) != 1 {
				t.Errorf("the last pod is %+v; want line %d", p, 3+7*(n-1))
			}
		})
	}
}

// TestMerge: a key beside a merge is what kubectl 1.37 takes it for: the later counts.
func TestMerge(t *testing.T) {
	cluster, skipped := read(t, `apiVersion: v1
kind: List
x: &r {apiGroups: [""], resources: [pods/exec], verbs: [create]}
items:
- apiVersion: rbac.authorization.k8s.io/v1
  kind: Role
  metadata: {name: a, namespace: shop}
  rules:
  - {verbs: [get], <<: *r}
  - <<: *r
    verbs: [list]
`)
	var verbs []string
	for _, r := range cluster.Roles {
		if r.Name == "a" {
			for _, rule := range r.Rules {
				verbs = append(verbs, rule.Verbs...)
			}
		}
	}
	if len(skipped) != 0 || !slices.Equal(verbs, []string{"create", "list"}) {
		t.Errorf("%q, skipped %v", verbs, skipped)
	}
}

func TestBrokenInputIsSaid(t *testing.T) {
	const good = "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: good}\n"
	for name, c := range map[string]struct{ text, why string }{
		"no YAML":           {"a: [", "not YAML"},
		"a key twice":       {"apiVersion: v1\nkind: Pod\nkind: Role\n", "already set"},
		"a template":        {"apiVersion: v1\nkind: {{ .Values.kind }}\n{{- end }}\n", "helm template"},
		"no object":         {"replicas: 2\n", "does not say its apiVersion and kind"},
		"a list":            {"- a\n", "no Kubernetes object: a list, or a single value"},
		"a number":          {"7\n", "no Kubernetes object: a list, or a single value"},
		"a word for a list": {"apiVersion: v1\nkind: Pod\nspec: {containers: none}\n", "Pod is not understood"},
		"no template":       {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n", "no pod template"},
		"a broken item":     {"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, spec: 3}\n", "Pod is not understood"},
		"a large object":    {"apiVersion: v1\nkind: ConfigMap\ndata: {a: " + strings.Repeat("x", 5<<20) + "}\n", "more than 4 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, skipped := read(t, c.text+good)
			if len(skipped) != 1 || !strings.Contains(skipped[0].Why, c.why) || skipped[0].Origin.Line == 0 {
				t.Errorf("skipped %+v; want one that says %q", skipped, c.why)
			}
			if len(cluster.Namespaces) != 1 {
				t.Errorf("what follows was not read")
			}
		})
	}
	for name, c := range map[string]struct {
		text, why string
		line      int
	}{
		"cut short":      {"{\"kind\":\"List\",\n\"items\":[\n{\"kind\":", "not JSON: unexpected EOF", 3},
		"a large object": {`{"data":"` + strings.Repeat("x", 5<<20) + `"}`, "more than 4 MiB", 1},
		"binary":         {"a: \x00\n", "not text", 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, skipped := read(t, c.text)
			if len(skipped) != 1 || !strings.Contains(skipped[0].Why, c.why) || skipped[0].Origin.Line != c.line {
				t.Errorf("skipped %+v; want %q at line %d", skipped, c.why, c.line)
			}
		})
	}
}

func clusterRole(name, labels, rest string) string {
	return fmt.Sprintf("---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: %s, labels: {%s}}\n%s\n", name, labels, rest)
}

func selecting(label string) string {
	return "aggregationRule: {clusterRoleSelectors: [{matchLabels: {" + label + "}}]}"
}

func rule(resource string) string {
	return "rules: [{apiGroups: [\"\"], resources: [" + resource + "], verbs: [get]}]"
}

// resources lists what the rules of a ClusterRole are about, and where they come
// from.
func resources(c *inventory.Cluster, role string) string {
	var out []string
	for _, r := range c.Roles {
		if r.Namespace == "" && r.Name == role {
			for _, rule := range r.Rules {
				out = append(out, strings.Join(rule.Resources, ",")+"<"+rule.From)
			}
		}
	}
	return strings.Join(out, " ")
}

func TestAggregation(t *testing.T) {
	for name, c := range map[string]struct{ text, role, want string }{
		"of others": {
			clusterRole("all", "", selecting("a: b")) + clusterRole("one", "a: b", rule("pods")) + clusterRole("two", "a: b", rule("secrets")) + clusterRole("three", "a: c", rule("nodes")),
			"all", "pods<one secrets<two",
		},
		"of aggregated ones": {
			clusterRole("top", "", selecting("a: b")) + clusterRole("middle", "a: b", selecting("c: d")) + clusterRole("low", "c: d", rule("pods")),
			"top", "pods<low",
		},
		"in a circle": {
			clusterRole("one", "a: b", selecting("c: d")) + clusterRole("two", "c: d", selecting("a: b")) + clusterRole("three", "c: d", rule("pods")),
			"two", "pods<three",
		},
		"of itself":             {clusterRole("one", "a: b", selecting("a: b")+"\n"+rule("pods")), "one", ""},
		"what was written":      {clusterRole("one", "", selecting("a: b")+"\n"+rule("pods")), "one", ""},
		"filled by a server":    {clusterRole("one, uid: x", "", selecting("a: b")+"\n"+rule("pods")), "one", "pods<"},
		"no longer":             {clusterRole("one", "", selecting("a: b")) + clusterRole("two", "a: b", rule("pods")) + clusterRole("one", "", rule("nodes")), "one", "nodes<"},
		"into those of default": {clusterRole("mine", `rbac.authorization.k8s.io/aggregate-to-view: "true"`, rule("widgets")), "view", "widgets<mine"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, _ := read(t, c.text)
			if got := resources(cluster, c.role); got != c.want && !(c.role == "view" && strings.Contains(got, c.want)) {
				t.Errorf("%s has %q, want %q", c.role, got, c.want)
			}
		})
	}
}

// TestADefaultThatWasChangedIsNone: whatever has only the name of a default must
// not be folded away.
func TestADefaultThatWasChangedIsNone(t *testing.T) {
	const binding = `
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "system:basic-user"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:basic-user"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:authenticated"}]
`
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"as it was":       {binding, true},
		"another subject": {strings.Replace(binding, "system:authenticated", "system:unauthenticated", 1), false},
		"another role": {strings.Replace(binding, `name: "system:basic-user"}
subjects`, `name: cluster-admin}
subjects`, 1), false},
		"another rule":     {clusterRole(`"system:basic-user"`, "", rule("pods")) + binding, false},
		"of another name":  {strings.Replace(binding, "system:basic-user", "mine", 1), false},
		"one subject more": {strings.Replace(binding, "}]\n", "}, {kind: User, name: eve}]\n", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, skipped := read(t, c.text)
			if len(skipped) > 0 || len(cluster.Bindings) != 1 || cluster.Bindings[0].Default != c.want {
				t.Errorf("bindings %+v, skipped %v; want default %v", cluster.Bindings, skipped, c.want)
			}
		})
	}
}

func TestTheLaterOneCounts(t *testing.T) {
	c, skipped := read(t, clusterRole("one", "", rule("pods"))+clusterRole("one", "", rule("nodes")))
	if got := resources(c, "one"); got != "nodes<" {
		t.Errorf("the role has %q, want the later rules", got)
	}
	if len(skipped) != 1 || skipped[0].Origin.Line != 2 || !strings.Contains(skipped[0].Why, "in.yaml:7") {
		t.Errorf("skipped %+v; want line 2, for 7", skipped)
	}
}

func TestPodsOfAWorkload(t *testing.T) {
	const text = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, uid: a}
spec: {template: {spec: {containers: [{name: c}]}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-1, ownerReferences: [{kind: Deployment, name: web, controller: true}]}
spec: {replicas: 1, template: {spec: {containers: [{name: c}]}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-0, ownerReferences: [{kind: Deployment, name: web, controller: true}]}
spec: {replicas: 0, template: {spec: {containers: [{name: c}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1-x, uid: b, ownerReferences: [{kind: ReplicaSet, name: web-1, controller: true}]}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: done}
spec: {containers: [{name: c}]}
status: {phase: Succeeded}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: night}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c}]}}}}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: night}
spec: {template: {spec: {containers: [{name: c}]}}}
`
	c, skipped := read(t, text)
	if len(skipped) > 0 {
		t.Errorf("skipped: %v", skipped)
	}
	var got []string
	for _, p := range c.Pods {
		got = append(got, fmt.Sprintf("%s of %s planned %v token %v", p.Name, p.Workload, p.Planned, p.Token))
	}
	want := []string{
		"web-1-x of Deployment/web planned false token no",
		"night of CronJob/night planned true token unknown",
		"rollout/night of Rollout/night planned true token unknown",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if len(c.Workloads) != 4 {
		t.Errorf("%d workloads, want four: not the old ReplicaSet", len(c.Workloads))
	}
}

// TestTokenOfAVolume: a pod as the API server has it has the token that one of its
// volumes gives, wherever else the volume is mounted.
func TestTokenOfAVolume(t *testing.T) {
	const at = "/var/run/secrets/kubernetes.io/serviceaccount"
	const secret, projected = "{name: v, secret: {secretName: s}}", "{name: v, projected: {sources: [{secret: {name: s}}]}}"
	for name, c := range map[string]struct{ volume, mounts string }{
		"yes, in two containers":     {secret, "{name: a, volumeMounts: [{name: v, mountPath: " + at + "}]}, {name: b, volumeMounts: [{name: v, mountPath: /x}]}"},
		"yes, twice in one":          {secret, "{name: a, volumeMounts: [{name: v, mountPath: " + at + "}, {name: v, mountPath: /x}]}"},
		"yes, its file alone":        {secret, "{name: a, volumeMounts: [{name: v, mountPath: " + at + "/token, subPath: token}]}"},
		"yes, a projected secret":    {projected, "{name: a, volumeMounts: [{name: v, mountPath: " + at + "/}]}"},
		"yes, of a token":            {"{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}", "{name: a, volumeMounts: [{name: v, mountPath: /x}]}"},
		"no, of another audience":    {"{name: v, projected: {sources: [{serviceAccountToken: {path: t, audience: vault}}]}}", "{name: a, volumeMounts: [{name: v, mountPath: /x}]}"},
		"no, mounted elsewhere":      {secret, "{name: a, volumeMounts: [{name: v, mountPath: " + at + "x}]}"},
		"no, mounted by no one":      {"{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}", "{name: a}"},
		"no, another volume's place": {secret, "{name: a, volumeMounts: [{name: w, mountPath: " + at + "}]}"},
	} {
		cluster, _ := read(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: p, uid: u}\nspec: {volumes: ["+c.volume+"], containers: ["+c.mounts+"]}\n")
		if want, _, _ := strings.Cut(name, ","); cluster.Pods[0].Token.String() != want {
			t.Errorf("%s: %v", name, cluster.Pods[0].Token)
		}
	}
}

func TestOfSecretsOnlyTheAccount(t *testing.T) {
	c, _ := read(t, `
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata: {name: t, annotations: {kubernetes.io/service-account.name: bot}}
data: {token: c2VjcmV0}
---
apiVersion: v1
kind: Secret
metadata: {name: other}
stringData: {password: hunter2}
`)
	want := []inventory.TokenSecret{{Object: inventory.Object{Namespace: "default", Name: "t", Origin: inventory.Origin{Source: "in.yaml", Line: 2}}, ServiceAccount: "bot"}}
	if diff := cmp.Diff(want, c.TokenSecrets); diff != "" {
		t.Errorf("token secrets (-want +got):\n%s", diff)
	}
}

func TestAdmission(t *testing.T) {
	c, skipped := read(t, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard}
webhooks:
- {name: exec.guard, failurePolicy: Ignore, rules: [{apiGroups: [""], resources: [pods/exec, pods/attach], operations: [CONNECT]}]}
- {name: pods.guard, rules: [{apiGroups: [""], resources: [pods], operations: [CREATE]}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: safe}
spec: {matchConstraints: {resourceRules: [{apiGroups: [""], resources: [pods]}]}, validations: [{expression: "true"}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: safe}
spec: {policyName: safe, validationActions: [Deny, Audit]}
`)
	if len(skipped) > 0 {
		t.Errorf("skipped: %v", skipped)
	}
	at := inventory.Origin{Source: "in.yaml", Line: 2}
	guard := inventory.Object{Name: "guard", Origin: at}
	if diff := cmp.Diff([]inventory.Webhook{
		{Object: guard, Hook: "exec.guard", Failure: "Ignore", Resources: []string{"/pods/exec", "/pods/attach"}},
		{Object: guard, Hook: "pods.guard", Failure: "Fail", Resources: []string{"/pods"}},
	}, c.Webhooks); diff != "" {
		t.Errorf("webhooks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]inventory.Policy{
		{Object: inventory.Object{Name: "safe", Origin: inventory.Origin{Source: "in.yaml", Line: 9}}, Bound: true, Resources: []string{"/pods"}, Actions: []string{"Deny", "Audit"}, Expressions: []string{"true"}},
	}, c.Policies); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n", "sub/b.YML": "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n",
		"c.json": `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}}`, "d.txt": "not read", ".git/e.yaml": "not: read",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := objects.New(objects.Options{})
	if err := l.ReadPath(dir); err != nil {
		t.Fatal(err)
	}
	c, _, skipped := l.Finish()
	var got string
	for _, n := range c.Namespaces {
		got += n.Name
	}
	if got != "acb" || len(skipped) > 0 {
		t.Errorf("namespaces %q, skipped %v; want acb", got, skipped)
	}
	if err := objects.New(objects.Options{}).ReadPath(filepath.Join(dir, ".git", "..", "none")); err == nil {
		t.Error("a directory that is not there is none")
	}
}

func TestParseVersion(t *testing.T) {
	for _, s := range []string{"1.37", "v1.37.2", "1.37+", "v1.37.2-eks-abc"} {
		if v, err := objects.ParseVersion(s); err != nil || v != (inventory.Version{Major: 1, Minor: 37}) {
			t.Errorf("ParseVersion(%q) = %v, %v", s, v, err)
		}
	}
	for _, s := range []string{"", "1", "1.", "37", "2.0", "1.x", "-1.3"} {
		if v, err := objects.ParseVersion(s); err == nil {
			t.Errorf("ParseVersion(%q) = %v, want an error", s, v)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(app)
	f.Add(`{"kind":"List","apiVersion":"v1","items":[{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{}]}}]}`)
	f.Add(clusterRole("one", "a: b", selecting("a: b")) + clusterRole("two", "a: b", selecting("a: b")+"\n"+rule("pods")))
	f.Add("a: &x [1]\nb: *x\n---\n...\n%YAML\n--- |\n x\n")
	f.Add("apiVersion: v1\nkind: List\nitems:\n  - a\n- b\n")
	f.Fuzz(func(t *testing.T, text string) {
		l := objects.New(objects.Options{})
		if err := l.Read("f", strings.NewReader(text)); err != nil {
			t.Fatalf("a text always reads: %v", err)
		}
		c, _, skipped := l.Finish()
		for _, s := range skipped {
			if s.Why == "" || s.Origin.Source != "f" || s.Origin.Line < 1 {
				t.Errorf("skipped %+v: without a reason or a place", s)
			}
		}
		for _, p := range c.Pods {
			if p.Namespace == "" || p.Origin.Line < 1 {
				t.Errorf("pod %+v: without a namespace or a place", p.Object)
			}
		}
	})
}
