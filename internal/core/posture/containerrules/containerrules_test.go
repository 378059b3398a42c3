package containerrules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/containerrules"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

func uid(n int64) *int64 { return &n }

func pod(name, workload string, c inventory.Container, s *inventory.PodSecurity) inventory.Pod {
	c.Name = "c"
	return inventory.Pod{
		Object: inventory.Object{Namespace: "shop", Name: name, Origin: inventory.Origin{Source: "app.yaml", Line: 7}}, Workload: workload,
		Template: inventory.Template{Containers: []inventory.Container{c}, Security: s},
	}
}

func check(pods ...inventory.Pod) (out []string) {
	i := &inventory.Inventory{Time: time.Unix(1, 0), Cluster: &inventory.Cluster{
		Pods: pods, Namespaces: []inventory.Namespace{{Object: inventory.Object{Name: "shop"}, Enforce: "baseline"}},
	}}
	for _, f := range containerrules.Check(i) {
		out = append(out, f.Rule+" "+f.Severity.String()+" "+f.Message)
		if f.At.Line != 7 || f.Time.IsZero() || f.ID == "" || f.Remedy == "" || len(f.Evidence) == 0 {
			out = append(out, "incomplete")
		}
	}
	return out
}

func TestImages(t *testing.T) {
	in := &inventory.Inside{
		Image: "sha256:1", By: inventory.ByDigest, Shells: []string{"/bin/busybox", "/bin/sh"}, Interpreters: []string{"/bin/busybox"},
		Packages: []string{"/sbin/apk"}, Downloaders: []string{"/bin/busybox", "/usr/bin/curl"}, Compilers: []string{"/usr/bin/cc"}, Clients: []string{"/kubectl"},
		SetUID: []string{"/bin/su"}, UID: uid(7),
	}
	c := inventory.Container{Image: "box:1", Inside: in, Escalation: inventory.Yes}
	want := []string{
		"SP-IMG-001 low Image box:1 (in 3 containers) has /bin/busybox, /sbin/apk, /usr/bin/cc and 1 more",
		"SP-IMG-002 info Image box:1 (in 3 containers) has /bin/busybox, /bin/sh",
		"SP-IMG-003 low Image box:1 (in 3 containers) has /kubectl",
		"SP-IMG-004 info Image box:1 (in 3 containers) gives pod shop/Deployment/web c, pod shop/b c the rights of /bin/su",
	}
	if d := cmp.Diff(want, check(pod("a1", "Deployment/web", c, nil), pod("a2", "Deployment/web", c, nil), pod("b", "", c, nil))); d != "" {
		t.Error(d)
	}
}

func TestSetUIDIsOfNoUse(t *testing.T) {
	for name, c := range map[string]inventory.Container{
		"to root":                    {Image: "x", Escalation: inventory.Yes, User: uid(0)},
		"without new privileges":     {Image: "x", Escalation: inventory.No, User: uid(7)},
		"in an image without":        {Image: "x", Escalation: inventory.Yes, User: uid(7), Inside: &inventory.Inside{}},
		"where nobody could look in": {Image: "x", Escalation: inventory.Yes, User: uid(7), Inside: nil},
	} {
		if strings.HasPrefix(name, "to") || strings.HasPrefix(name, "without") {
			c.Inside = &inventory.Inside{SetUID: []string{"/bin/su"}}
		}
		if got := check(pod("p", "", c, nil)); got != nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestPods(t *testing.T) {
	v := inventory.Version{Major: 1, Minor: 37}
	s := func(baseline, restricted []string) *inventory.PodSecurity {
		return &inventory.PodSecurity{Version: v, Baseline: baseline, Restricted: restricted}
	}
	got := check(
		pod("good", "", inventory.Container{}, s(nil, nil)), pod("unknown", "", inventory.Container{}, nil),
		pod("a1", "Deployment/a", inventory.Container{}, s([]string{"privileged (c)"}, []string{"seccompProfile"})),
		pod("a2", "Deployment/a", inventory.Container{}, s([]string{"privileged (c)"}, []string{"seccompProfile"})),
		pod("b", "", inventory.Container{}, s(nil, []string{"a", "b", "c", "d"})),
	)
	want := []string{
		"SP-PSS-001 medium pod shop/Deployment/a is against baseline of Pod Security 1.37: privileged (c). Its namespace enforces baseline: it would be refused if it were made anew",
		"SP-PSS-002 info pod shop/b is against restricted of Pod Security 1.37: a, b, c and 1 more",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
