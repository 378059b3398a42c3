package objects_test

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/objects"
	"github.com/sallyport/sallyport/testbed/kube"
)

func TestMain(m *testing.M) { os.Exit(kube.Main(m)) }

var update = flag.Bool("update", false, "write defaults.json anew")

// server asks the test bed's API server as a user, from outside its network.
type server struct {
	url  string
	http *http.Client
}

func newServer(t *testing.T, c *kube.Cluster, u kube.User) server {
	t.Helper()
	client, err := c.HTTPClient(u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return server{c.Server, client}
}

// Get implements objects.Server.
func (s server) Get(ctx context.Context, path, accept string) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", accept)
	res, err := s.http.Do(q)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return nil, &api.StatusError{Code: res.StatusCode, Message: string(b)}
	}
	return res.Body, nil
}

// TestDefaults compares the roles that manifests are completed with to those of a
// new cluster.
func TestDefaults(t *testing.T) {
	c := kube.Shared(t)
	got, _ := scan(t, newServer(t, c, c.Admin))
	var roles []inventory.Role
	for _, r := range got.Roles {
		if strings.HasPrefix(r.Namespace, "kube-") || r.Labels["kubernetes.io/bootstrapping"] == "rbac-defaults" {
			r.Origin = inventory.Origin{}
			roles = append(roles, r)
		}
	}
	want := objects.Defaults{Roles: roles, Bindings: defaultBindings(t, c)}
	if *update {
		writeDefaults(t, want)
	}
	b, err := os.ReadFile("defaults.json")
	if err != nil {
		t.Fatal(err)
	}
	var file objects.Defaults
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(file, want, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("run with -update: defaults (-file +cluster):\n%s", diff)
	}
	for _, b := range got.Bindings {
		is := slices.ContainsFunc(want.Bindings, func(d inventory.Binding) bool { return d.Namespace == b.Namespace && d.Name == b.Name })
		if b.Default != is {
			t.Errorf("binding %s/%s: default %v, want %v", b.Namespace, b.Name, b.Default, is)
		}
	}
}

// defaultBindings asks for the bindings that the API server has made.
func defaultBindings(t *testing.T, c *kube.Cluster) []inventory.Binding {
	t.Helper()
	dump := c.KubectlT(t, c.Admin, "get", "clusterrolebindings,rolebindings", "-A", "-o", "json", "-l", "kubernetes.io/bootstrapping=rbac-defaults")
	l := objects.New(objects.Options{})
	if err := l.Read("dump", strings.NewReader(dump)); err != nil {
		t.Fatal(err)
	}
	read, _, _ := l.Finish()
	for i := range read.Bindings {
		b := &read.Bindings[i]
		b.Origin, b.Default = inventory.Origin{}, false
		for k := range b.Subjects {
			b.Subjects[k].Line = 0
		}
	}
	return read.Bindings
}

// writeDefaults writes one object a line, so that a change can be read.
func writeDefaults(t *testing.T, d objects.Defaults) {
	t.Helper()
	var b strings.Builder
	b.WriteString("{\n\"roles\": [\n")
	for i, r := range d.Roles {
		writeLine(t, &b, r, i == len(d.Roles)-1)
	}
	b.WriteString("],\n\"bindings\": [\n")
	for i, r := range d.Bindings {
		writeLine(t, &b, r, i == len(d.Bindings)-1)
	}
	b.WriteString("]\n}\n")
	if err := os.WriteFile("defaults.json", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func writeLine(t *testing.T, b *strings.Builder, v any, last bool) {
	t.Helper()
	line, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(line)
	b.WriteString(map[bool]string{true: "\n", false: ",\n"}[last])
}

const liveObjects = `
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata: {name: token, annotations: {kubernetes.io/service-account.name: default}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: "` + kube.Image + `", securityContext: {privileged: true}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: debug}
rules: [{apiGroups: [""], resources: [pods/exec], verbs: [create], resourceNames: [a, b]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: debug}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: debug}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}, {kind: ServiceAccount, name: default}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: night}
spec: {suspend: true, schedule: "0 0 * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}}
`

// mine keeps of a cluster what is in a namespace and does not change between two
// looks, without where it was read.
func mine(c *inventory.Cluster, namespace string) *inventory.Cluster {
	out := &inventory.Cluster{Version: c.Version}
	keep := func(o *inventory.Object) bool { o.Origin = inventory.Origin{}; return o.Namespace == namespace }
	for _, v := range c.Roles {
		if keep(&v.Object) {
			out.Roles = append(out.Roles, v)
		}
	}
	for _, v := range c.Bindings {
		if keep(&v.Object) {
			out.Bindings = append(out.Bindings, v)
		}
	}
	for _, v := range c.Pods {
		if keep(&v.Object) {
			out.Pods = append(out.Pods, v)
		}
	}
	for _, v := range c.Workloads {
		if keep(&v.Object) {
			out.Workloads = append(out.Workloads, v)
		}
	}
	for _, v := range c.TokenSecrets {
		if keep(&v.Object) {
			out.TokenSecrets = append(out.TokenSecrets, v)
		}
	}
	return out
}

// withoutLines drops what only files have.
var withoutLines = cmp.Options{
	cmpopts.EquateEmpty(), cmpopts.IgnoreFields(inventory.Rule{}, "Line"), cmpopts.IgnoreFields(inventory.Subject{}, "Line"),
}

func TestCluster(t *testing.T) {
	c := kube.Shared(t)
	ns := c.NamespaceT(t)
	apply := c.Kubectl(t.Context(), c.Admin, "apply", "-n", ns, "-f", "-")
	apply.Stdin = strings.NewReader(liveObjects)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.KubectlT(t, c.Admin, "rollout", "status", "-n", ns, "deployment/web", "--timeout=60s")

	all, unread := scan(t, newServer(t, c, c.Admin))
	if got := parts(unread); len(got) > 0 {
		t.Errorf("the administrator could not read %v", got)
	}
	if all.Version != objects.Newest || all.Assumed || all.Partial || !all.Gates["AuthorizePodWebsocketUpgradeCreatePermission"] {
		t.Errorf("version %v, gates %v; want those of the server", all.Version, all.Gates)
	}
	got := mine(all, ns)
	if len(got.Pods) != 1 || got.Pods[0].Workload != "Deployment/web" || got.Pods[0].Token != inventory.Yes || !got.Pods[0].Containers[0].Privileged || got.Pods[0].Node == "" {
		t.Errorf("pods %+v; want the Deployment's, with its token", got.Pods)
	}
	if len(got.TokenSecrets) != 1 || got.TokenSecrets[0].ServiceAccount != "default" {
		t.Errorf("token secrets %+v; want that of default", got.TokenSecrets)
	}
	if len(got.Workloads) != 3 {
		t.Errorf("workloads %+v; want Deployment, ReplicaSet and CronJob", got.Workloads)
	}
	t.Run("as kubectl writes it", func(t *testing.T) { sameFromKubectl(t, c, ns, got) })
}

// sameFromKubectl reads the objects as kubectl writes them, in both of its forms.
func sameFromKubectl(t *testing.T, c *kube.Cluster, ns string, want *inventory.Cluster) {
	for _, form := range []string{"yaml", "json"} {
		dump := c.KubectlT(t, c.Admin, "get", "-n", ns, "-o", form, "pods,deployments,replicasets,cronjobs,roles,rolebindings,secrets,serviceaccounts")
		l := objects.New(objects.Options{})
		if err := l.Read("dump", strings.NewReader(dump)); err != nil {
			t.Fatal(err)
		}
		read, _, skipped := l.Finish()
		if len(skipped) > 0 {
			t.Errorf("%s: skipped %v", form, skipped)
		}
		got := mine(read, ns)
		for i := range got.Pods { // a suspended CronJob has no pods yet
			if got.Pods[i].Planned {
				got.Pods = slices.Delete(got.Pods, i, i+1)
				break
			}
		}
		if diff := cmp.Diff(want, got, withoutLines); diff != "" {
			t.Errorf("%s (-server +dump):\n%s", form, diff)
		}
	}
}

// TestAccessReviews asks the API server what the index of its roles and bindings
// says: about its own accounts, whoever it knows, and nobody.
func TestAccessReviews(t *testing.T) {
	c := kube.Shared(t)
	ns := c.NamespaceT(t)
	apply := c.Kubectl(t.Context(), c.Admin, "apply", "-n", ns, "-f", "-")
	apply.Stdin = strings.NewReader(liveObjects)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all, _ := scan(t, newServer(t, c, c.Admin))
	table := rbac.NewTable([]rbac.Ask{
		{Verb: "create", Resource: "pods", Subresource: "exec"}, {Verb: "get", Resource: "pods", Subresource: "exec"}, {Verb: "create", Resource: "pods"},
		{Verb: "get", Resource: "nodes", Subresource: "proxy"}, {Verb: "list", Resource: "secrets"}, {Verb: "patch", Group: "apps", Resource: "deployments"},
		{Verb: "create", Resource: "serviceaccounts", Subresource: "token"}, {Verb: "escalate", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
	})
	index := rbac.NewIndex(all, table)
	users := []string{"jane", "nobody", rbac.AnonymousUser, "system:kube-scheduler", "system:kube-controller-manager", rbac.ServiceAccountUser(ns, "default")}
	for user := range index.Users {
		if strings.HasPrefix(user, "system:serviceaccount:kube-system:") {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	allowed := 0
	for _, user := range users {
		id := rbac.IdentityOf(user)
		for i, a := range table.Asks {
			for _, o := range [][2]string{{"", ""}, {ns, ""}, {ns, "a"}, {"kube-system", "b"}} {
				want := review(t, c, id, a, o[0], o[1])
				if got := index.Can(id, i, o[0], o[1]); got != want {
					t.Errorf("may %s %+v in %q named %q: %v, and the API server says %v", user, a, o[0], o[1], got, want)
				}
				if want {
					allowed++
				}
			}
		}
	}
	if t.Logf("%d users, %d allowed", len(users), allowed); allowed < 20 {
		t.Errorf("only %d questions were answered with yes", allowed)
	}
}

// review asks the API server whether somebody may do something.
func review(t *testing.T, c *kube.Cluster, id rbac.Identity, a rbac.Ask, namespace, name string) bool {
	t.Helper()
	body, err := json.Marshal(map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": map[string]any{
		"user": id.User, "groups": id.Groups, "resourceAttributes": map[string]string{
			"verb": a.Verb, "group": a.Group, "resource": a.Resource, "subresource": a.Subresource, "namespace": namespace, "name": name,
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Create(t.Context(), "/apis/authorization.k8s.io/v1/subjectaccessreviews", string(body))
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Status struct{ Allowed bool } }
	if err := json.Unmarshal(b, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Status.Allowed
}

func TestFewerRights(t *testing.T) {
	c := kube.Shared(t)
	if err := c.Apply(t.Context(), objects.Role+`---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: sallyport-scan}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sallyport-scan}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: scanner}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: pods-only}
rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: pods-only}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pods-only}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: looker}]
`); err != nil {
		t.Fatal(err)
	}
	t.Run("the shipped role", func(t *testing.T) {
		got, unread := scan(t, newServer(t, c, c.UserT(t, "scanner")))
		if p := parts(unread); !slices.Equal(p, []inventory.Part{inventory.PartTokenSecrets}) {
			t.Errorf("could not read %v; want token secrets alone", p)
		}
		all, _ := scan(t, newServer(t, c, c.Admin))
		all.TokenSecrets = nil
		if diff := cmp.Diff(all.Roles, got.Roles, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("roles differ from the administrator's:\n%s", diff)
		}
		if len(got.Namespaces) == 0 || len(got.Nodes) == 0 || len(got.Bindings) == 0 || len(got.Gates) == 0 {
			t.Errorf("too little was read: %+v", got)
		}
	})
	t.Run("pods alone", func(t *testing.T) {
		got, unread := scan(t, newServer(t, c, c.UserT(t, "looker")))
		want := []inventory.Part{
			inventory.PartGates, inventory.PartNamespaces, inventory.PartServiceAccounts, inventory.PartRoles, inventory.PartClusterRoles,
			inventory.PartRoleBindings, inventory.PartClusterBindings, inventory.PartNodes, inventory.PartWorkloads,
			inventory.PartWebhooks, inventory.PartPolicies, inventory.PartTokenSecrets, inventory.PartAWSAuth,
		}
		var p []inventory.Part
		for _, part := range parts(unread) {
			if !slices.Contains(p, part) {
				p = append(p, part)
			}
		}
		if diff := cmp.Diff(want, p); diff != "" {
			t.Errorf("unread (-want +got):\n%s", diff)
		}
		for _, u := range unread {
			if u.Why == "" || u.Help == "" || u.From == "" {
				t.Errorf("unread %+v; want why and what to do", u)
			}
		}
		if got.Version != objects.Newest || got.Assumed {
			t.Errorf("version %v; everybody may ask for it", got.Version)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		l := objects.New(objects.Options{})
		if err := l.ReadServer(t.Context(), "x", server{"http://127.0.0.1:1", http.DefaultClient}); err == nil {
			t.Error("a server that does not answer is an empty cluster")
		}
		if c, _, _ := l.Finish(); c != nil {
			t.Errorf("cluster %+v from a server that does not answer", c)
		}
	})
}
