package rbacoracle

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/kubernetes/pkg/registry/rbac/validation"
	upstream "k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
	"github.com/sallyport/sallyport/internal/kube/objects"
)

// pods are one of a Deployment in each namespace, and one of nobody's.
func pods() (out []*corev1.Pod) {
	yes := true
	for i, namespace := range namespaces[1:] {
		for _, name := range []string{"web", "db"} {
			p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
			p.Spec = corev1.PodSpec{NodeName: []string{"web", "db", "n1"}[i], Containers: []corev1.Container{{Name: "app", Image: "x"}}}
			if name == "web" {
				p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "db", Controller: &yes}}
			}
			out = append(out, p)
		}
	}
	return out
}

// opened says by which channels somebody gets into a pod at once, by what the API server's
// authorizer says to the requests that these take.
func opened(theirs authorizer.Authorizer, id rbac.Identity, p *corev1.Pod, webSocketCreates bool) (out []string) {
	may := func(verb, group, resource, sub, namespace, name string) bool {
		decision, _, _ := theirs.Authorize(context.Background(), authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: id.User, Groups: id.Groups}, Verb: verb, APIGroup: group, Resource: resource, Subresource: sub,
			Namespace: namespace, Name: name, ResourceRequest: true,
		})
		return decision == authorizer.DecisionAllow
	}
	either := func(group, resource, sub, name string) bool {
		return may("patch", group, resource, sub, p.Namespace, name) || may("update", group, resource, sub, p.Namespace, name)
	}
	note := func(channel string, open bool) {
		if open {
			out = append(out, channel)
		}
	}
	for sub, channels := range map[string][2]string{"exec": {"K8-EXEC-SPDY", "K8-EXEC-WS"}, "attach": {"K8-ATTACH", "K8-ATTACH-WS"}} {
		create, get := may("create", "", "pods", sub, p.Namespace, p.Name), may("get", "", "pods", sub, p.Namespace, p.Name)
		note(channels[0], create)
		note(channels[1], get && (create || !webSocketCreates))
	}
	post, get := may("create", "", "nodes", "proxy", "", p.Spec.NodeName), may("get", "", "nodes", "proxy", "", p.Spec.NodeName)
	note("K8-NPROXY-RUN", post)
	note("K8-NPROXY-EXEC", post || get)
	note("K8-EPH", either("", "pods", "ephemeralcontainers", p.Name))
	note("K8-WORKLOAD", either("", "pods", "", p.Name) || p.Name == "web" && either("apps", "deployments", "", "db"))
	slices.Sort(out)
	return out
}

// TestChannels holds the channels by which scan says that somebody gets into a pod at once
// to the requests that these take, for servers before and after WebSockets took a create.
func TestChannels(t *testing.T) {
	open, shut := 0, 0
	for seed := range uint64(*clusters) {
		r := random{rand.New(rand.NewPCG(seed, 7))}
		c := r.cluster()
		_, static := validation.NewTestRuleResolver(c.roles, c.roleBindings, c.clusterRoles, c.clusterRoleBindings)
		theirs := upstream.New(static, static, static, static)
		version := inventory.Version{Major: 1, Minor: 34 + r.IntN(2)}
		l := objects.New(objects.Options{Version: version})
		manifests := bytes.NewBuffer(c.manifests(t))
		for _, p := range pods() {
			if err := json.NewEncoder(manifests).Encode(p); err != nil {
				t.Fatal(err)
			}
		}
		text := manifests.String()
		if err := l.Read("random", manifests); err != nil {
			t.Fatal(err)
		}
		read, _, _ := l.Finish()
		a := exposure.New(read)
		for _, name := range users {
			if name == "" {
				continue // no actor is written so
			}
			ours := direct(t, a, name)
			for _, p := range pods() {
				want := opened(theirs, rbac.IdentityOf(name), p, version.AtLeast(35))
				if got := ours[p.Namespace+"/"+p.Name]; !slices.Equal(got, want) {
					t.Fatalf("seed %d, 1.%d: %s into %s/%s: %v, and Kubernetes says %v\n%s", seed, version.Minor, name, p.Namespace, p.Name, got, want, text)
				}
				if open += len(want); len(want) == 0 {
					shut++
				}
			}
		}
	}
	if t.Logf("%d channels open, %d pairs without one", open, shut); open < 1000**clusters/200 || shut < 1000**clusters/200 {
		t.Error("the clusters say too little")
	}
}

// direct lists the channels by which a user gets into pods at once, by pod.
func direct(t *testing.T, a *exposure.Analysis, name string) map[string][]string {
	t.Helper()
	list, err := a.Exposures(exposure.ActorOf(name))
	if err != nil {
		t.Fatal(name, err)
	}
	out := map[string]map[string]bool{}
	for _, e := range list {
		if k := e.Target.Namespace + "/" + e.Target.Pod; e.Direct && !strings.HasPrefix(string(e.Channel), "KL-") {
			if out[k] == nil {
				out[k] = map[string]bool{}
			}
			out[k][string(e.Channel)] = true
		}
	}
	sorted := map[string][]string{}
	for k, set := range out {
		sorted[k] = slices.Sorted(maps.Keys(set))
	}
	return sorted
}
