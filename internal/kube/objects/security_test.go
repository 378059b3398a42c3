package objects_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/objects"
)

// fixtures is where upstream's pods for each level, version and control are.
func fixtures(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(string(bytes.TrimSpace(out)), "test", "testdata")
}

// fixtureMin is how many pods upstream has in version 0.37.
const fixtureMin = 4500

// TestPodSecurityAgainstUpstream reads every pod of upstream's, as a manifest of its own
// version, and holds what is said of it against the directory that it is in:
// restricted/v1.8/fail/runasuser0.yaml.
func TestPodSecurityAgainstUpstream(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(fixtures(t), "*", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, dir := range dirs {
		result, version, level := filepath.Base(dir), filepath.Base(filepath.Dir(dir)), filepath.Base(filepath.Dir(filepath.Dir(dir)))
		v, err := objects.ParseVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		l := objects.New(objects.Options{Version: v})
		if err := l.ReadPath(dir); err != nil {
			t.Fatal(err)
		}
		c, _, skipped := l.Finish()
		if len(skipped) > 0 {
			t.Errorf("%s: %v", dir, skipped)
		}
		for i := range c.Pods {
			s := c.Pods[i].Security
			against := len(s.Baseline)
			if level == "restricted" {
				against += len(s.Restricted)
			}
			if (result == "pass") != (against == 0) || s.Version != v {
				t.Errorf("%s: %+v", c.Pods[i].Origin.Source, s)
			}
		}
		n += len(c.Pods)
	}
	if n < fixtureMin {
		t.Errorf("%d pods, want more than %d", n, fixtureMin)
	}
}

// plannedPod reads the one pod of a manifest.
func plannedPod(t *testing.T, manifest string, v inventory.Version) *inventory.Pod {
	t.Helper()
	l := objects.New(objects.Options{Version: v})
	if err := l.Read("m", strings.NewReader(manifest)); err != nil {
		t.Fatal(err)
	}
	c, _, skipped := l.Finish()
	if len(c.Pods) != 1 || len(skipped) > 0 {
		t.Fatalf("%d pods, %v", len(c.Pods), skipped)
	}
	return &c.Pods[0]
}

// TestBaselineRefusesWhatBreaksOut holds what exposure rests on: a namespace of level
// baseline, in whatever version, admits no pod that it counts as a way to its node.
func TestBaselineRefusesWhatBreaksOut(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {%s containers: [{name: c, image: x, %s}]}\n"
	out := 0
	for _, spec := range [][2]string{
		{"", "securityContext: {privileged: true}"},
		{"", "securityContext: {capabilities: {add: [SYS_ADMIN]}}"},
		{"", "securityContext: {capabilities: {add: [ALL]}}"},
		{"", "securityContext: {capabilities: {add: [SYS_MODULE]}}"},
		{"", "securityContext: {capabilities: {add: [SYS_RAWIO]}}"},
		{"", "securityContext: {capabilities: {add: [DAC_READ_SEARCH]}}"},
		{"hostPID: true,", "securityContext: {capabilities: {add: [SYS_PTRACE]}}"},
		{"volumes: [{name: v, hostPath: {path: /}}],", "volumeMounts: [{name: v, mountPath: /x, readOnly: true}]"},
		{"volumes: [{name: v, hostPath: {path: /etc}}],", "volumeMounts: [{name: v, mountPath: /x}]"},
	} {
		for minor := 0; minor <= objects.Newest.Minor; minor++ {
			p := plannedPod(t, fmt.Sprintf(pod, spec[0], spec[1]), inventory.Version{Major: 1, Minor: minor})
			if why, _ := exposure.EscapeOfPod(&p.Template, &p.Containers[0]); why == "" {
				t.Errorf("%q is no way out", spec)
			}
			if out++; len(p.Security.Baseline) == 0 {
				t.Errorf("%q: baseline of 1.%d admits it", spec, minor)
			}
		}
	}
}

func TestPodSecurity(t *testing.T) {
	const manifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {hostNetwork: true, containers: [{name: c, image: x}]}}}
`
	p := plannedPod(t, manifest, inventory.Version{})
	want := "{{1 37} [host namespaces (hostNetwork=true)] [allowPrivilegeEscalation != false unrestricted capabilities runAsNonRoot != true seccompProfile]}"
	if got := fmt.Sprint(*p.Security); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestNamespaceLevelIsTakenAsUpstream(t *testing.T) {
	for label, want := range map[string]string{"privileged": "privileged", "baseline": "baseline", "Baseline": "restricted", "none": "restricted", `""`: "restricted"} {
		l := objects.New(objects.Options{})
		manifest := "apiVersion: v1\nkind: Namespace\nmetadata: {name: ns1, labels: {pod-security.kubernetes.io/enforce: " + label + "}}\n"
		if err := l.Read("m", strings.NewReader(manifest)); err != nil {
			t.Fatal(err)
		}
		c, _, _ := l.Finish()
		if got := c.Namespaces[0].Enforce; got != want {
			t.Errorf("%s: %q, want %q", label, got, want)
		}
	}
}
