package objects_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/objects"
)

// scan reads all of a server.
func scan(t *testing.T, s objects.Server) (*inventory.Cluster, []inventory.Unread) {
	t.Helper()
	l := objects.New(objects.Options{})
	if err := l.ReadServer(t.Context(), "test bed", s); err != nil {
		t.Fatal(err)
	}
	c, unread, skipped := l.Finish()
	if len(skipped) > 0 {
		t.Errorf("skipped: %v", skipped)
	}
	return c, unread
}

// parts lists what was left unread, without what an API server never tells.
func parts(unread []inventory.Unread) []inventory.Part {
	var out []inventory.Part
	for _, u := range unread {
		if u.What != inventory.PartKubelet && u.What != inventory.PartAPIServer {
			out = append(out, u.What)
		}
	}
	return out
}

// fake is an API server with pods and nothing else: what happens to lists of many
// pages does not happen on a test bed.
type fake struct {
	t     *testing.T
	pods  int
	each  int              // how large a pod is, in bytes
	gone  int              // after so many pages the place to go on from is forgotten, once
	codes map[string]int   // by path
	asked map[string][]int // limits, by path
}

type object interface{ Marshal() ([]byte, error) }

func (f *fake) Get(_ context.Context, path, _ string) (io.ReadCloser, error) {
	ref, err := url.Parse(path)
	if err != nil {
		f.t.Fatal(err)
	}
	if code := f.codes[ref.Path]; code != 0 && code != http.StatusOK {
		return nil, &api.StatusError{Code: code, Message: fmt.Sprint("status ", code)}
	}
	if ref.Path == "/version" {
		return io.NopCloser(strings.NewReader(`{"major":"1","minor":"34+"}`)), nil
	}
	if ref.Path == "/metrics" {
		return io.NopCloser(strings.NewReader("kubernetes_feature_enabled{name=\"ConstrainedImpersonation\",stage=\"ALPHA\"} 0\n")), nil
	}
	if ref.Path == "/apis" {
		return io.NopCloser(strings.NewReader(`{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"tekton.dev"},"versions":[{"version":"v1","resources":[{"resource":"tasks"},{"resource":"taskruns"}]}]}]}`)), nil
	}
	if ref.Path != "/api/v1/pods" {
		return f.answer(&corev1.PodList{}) // of nothing: the same bytes for all kinds
	}
	return f.page(ref.Query())
}

func (f *fake) page(q url.Values) (io.ReadCloser, error) {
	var limit, from int
	fmt.Sscan(q.Get("limit"), &limit)
	fmt.Sscan(q.Get("continue"), &from)
	f.asked["/api/v1/pods"] = append(f.asked["/api/v1/pods"], limit)
	if f.gone--; f.gone == 0 {
		return nil, &api.StatusError{Code: http.StatusGone, Message: "too old"}
	}
	list := corev1.PodList{}
	for i := from; i < min(f.pods, from+limit); i++ {
		list.Items = append(list.Items, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: fmt.Sprint("p", i), Annotations: map[string]string{"a": strings.Repeat("x", f.each)}},
		})
	}
	if from+limit < f.pods {
		list.Continue = fmt.Sprint(from + limit)
	}
	return f.answer(&list)
}

func (f *fake) answer(o object) (io.ReadCloser, error) {
	raw, err := o.Marshal()
	if err != nil {
		f.t.Fatal(err)
	}
	envelope := runtime.Unknown{Raw: raw}
	b, err := envelope.Marshal()
	if err != nil {
		f.t.Fatal(err)
	}
	return io.NopCloser(io.MultiReader(strings.NewReader("k8s\x00"), bytes.NewReader(b))), nil
}

func TestPages(t *testing.T) {
	for name, f := range map[string]*fake{
		"many":                           {pods: 1234},
		"of large pods":                  {pods: 300, each: 300 << 10},
		"that take too long":             {pods: 1234, gone: 3},
		"that fit one page":              {pods: 500},
		"of nothing":                     {},
		"policies as v1beta1 are unread": {codes: map[string]int{policies: http.StatusNotFound}},
		"policies of an older server":    {codes: map[string]int{policies: http.StatusNotFound, strings.Replace(policies, "v1", "v1beta1", 1): http.StatusNotFound}},
		"a server that is no Kubernetes": {codes: map[string]int{"/api/v1/nodes": http.StatusNotFound}},
		"a server that fails":            {codes: map[string]int{"/api/v1/nodes": http.StatusInternalServerError}},
	} {
		t.Run(name, func(t *testing.T) {
			f.t, f.asked = t, map[string][]int{}
			c, unread := scan(t, f)
			seen := map[string]bool{}
			for _, p := range c.Pods {
				seen[p.Name] = true
			}
			if len(c.Pods) != f.pods || len(seen) != f.pods {
				t.Errorf("%d pods, %d names, of %d; asked for %v", len(c.Pods), len(seen), f.pods, f.asked)
			}
			if on, known := c.Gates["ConstrainedImpersonation"]; on || !known || c.Version.Minor != 34 {
				t.Errorf("version %v, gates %v", c.Version, c.Gates)
			}
			var want []inventory.Part
			switch {
			case strings.Contains(name, "v1beta1"):
				want = append(want, inventory.PartPolicies)
			case strings.HasPrefix(name, "a server"):
				want = append(want, inventory.PartNodes)
			}
			if got := parts(unread); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("unread %v, want %v", got, want)
			}
		})
	}
}

const policies = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"

func TestTwoClustersAreNone(t *testing.T) {
	f := &fake{t: t, asked: map[string][]int{}}
	l := objects.New(objects.Options{})
	if err := l.Include(&inventory.Cluster{}); err != nil {
		t.Fatal(err)
	}
	if err := l.ReadServer(t.Context(), "x", f); err == nil {
		t.Error("two clusters were read as one")
	}
}

// TestManifestsOverACluster shows what a cluster would be with them.
func TestManifestsOverACluster(t *testing.T) {
	l := objects.New(objects.Options{})
	live := &inventory.Cluster{
		Version: inventory.Version{Major: 1, Minor: 33},
		Roles: []inventory.Role{
			{Object: inventory.Object{Name: "edit"}, Selectors: []map[string]string{{"a": "b"}}, Rules: []inventory.Rule{{Verbs: []string{"get"}, Groups: []string{""}, Resources: []string{"pods"}}}},
			{Object: inventory.Object{Name: "one"}, Rules: []inventory.Rule{{Verbs: []string{"get"}, Resources: []string{"old"}}}},
		},
		Pods: []inventory.Pod{{Object: inventory.Object{Namespace: "default", Name: "web-1"}, Workload: "Deployment/web"}},
	}
	if err := l.Include(live); err != nil {
		t.Fatal(err)
	}
	text := clusterRole("one", "", rule("nodes")) + clusterRole("more", "a: b", rule("secrets")) +
		"---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: c}]}}}\n"
	if err := l.Read("new", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	c, _, _ := l.Finish()
	if c.Partial || c.Assumed || c.Version.Minor != 33 {
		t.Errorf("partial %v, version %v; want the cluster's", c.Partial, c.Version)
	}
	if got := resources(c, "one"); got != "nodes<" {
		t.Errorf("one has %q, want the manifest's rules", got)
	}
	if got := resources(c, "edit"); got != "pods< secrets<more" {
		t.Errorf("edit has %q, want what the manifest adds to it", got)
	}
	if len(c.Pods) != 1 || c.Pods[0].Planned {
		t.Errorf("pods %+v; want the one that runs", c.Pods)
	}
}

// TestPodMakers: which kinds of other controllers there are, by what the server lists, and
// by the definitions and objects of manifests.
func TestPodMakers(t *testing.T) {
	for name, tt := range map[string]struct {
		read func(*objects.Loader) error
		want []string
		open bool // not read
	}{
		"a server": {func(l *objects.Loader) error {
			return l.ReadServer(t.Context(), "c", &fake{t: t, asked: map[string][]int{}})
		}, []string{"taskruns.tekton.dev"}, false},
		"a server that does not tell": {func(l *objects.Loader) error {
			return l.ReadServer(t.Context(), "c", &fake{t: t, asked: map[string][]int{}, codes: map[string]int{"/apis": http.StatusForbidden}})
		}, nil, true},
		"a definition": {func(l *objects.Loader) error {
			return l.Read("f", strings.NewReader("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: x}\nspec: {group: argoproj.io, names: {plural: workflows, kind: Workflow}}\n"))
		}, []string{"workflows.argoproj.io"}, false},
		"an object": {func(l *objects.Loader) error {
			return l.Read("f", strings.NewReader("apiVersion: ray.io/v1\nkind: RayJob\nmetadata: {name: x}\n"))
		}, []string{"rayjobs.ray.io"}, false},
		"another": {func(l *objects.Loader) error {
			return l.Read("f", strings.NewReader("apiVersion: example.com/v1\nkind: RayJob\nmetadata: {name: x}\n"))
		}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := objects.New(objects.Options{})
			if err := tt.read(l); err != nil {
				t.Fatal(err)
			}
			c, unread, _ := l.Finish()
			if !slices.Equal(c.PodMakers, tt.want) {
				t.Errorf("%v, want %v", c.PodMakers, tt.want)
			}
			if slices.ContainsFunc(unread, func(u inventory.Unread) bool { return u.What == inventory.PartPodMakers }) != tt.open {
				t.Errorf("unread: %+v", unread)
			}
		})
	}
}
