package checks

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// TestScopes: every rule has one scope, and each is of some rule.
func TestScopes(t *testing.T) {
	used := map[string]bool{}
	for _, r := range Rules() {
		n := 0
		for _, s := range scopes {
			if s.from <= r.ID && r.ID <= s.to {
				n++
				used[s.from] = true
			}
		}
		if n != 1 {
			t.Errorf("%s is in %d scopes", r.ID, n)
		}
	}
	for _, s := range scopes {
		if !used[s.from] || len(s.needs) == 0 {
			t.Errorf("%s to %s: of no rule, or needs nothing", s.from, s.to)
		}
	}
}

// results counts how the outcomes of a rule ended.
func results(list []Outcome, id string) (out []string) {
	for _, o := range list {
		if o.Rule.ID == id {
			out = append(out, string(o.Result)+" "+o.Subject+" "+o.Why)
		}
	}
	return out
}

// TestOutcomes: a rule has passed only where all that it needs was read and understood,
// and what is not there at all has not passed.
func TestOutcomes(t *testing.T) {
	exec := inventory.Rule{Verbs: []string{"create"}, Groups: []string{""}, Resources: []string{"pods/exec"}}
	o := inventory.Object{Namespace: "shop", Name: "devs"}
	c := &inventory.Cluster{
		Roles:    []inventory.Role{{Object: o, Rules: []inventory.Rule{exec}}},
		Bindings: []inventory.Binding{{Object: o, Role: "devs", Subjects: []inventory.Subject{{Kind: inventory.User, Name: "ann"}}}},
	}
	outcomes := func(i *inventory.Inventory) []Outcome {
		var a *exposure.Analysis
		if i.Cluster != nil {
			a = exposure.New(i.Cluster)
		}
		r := Run(i, a)
		return r.Outcomes(i)
	}
	all := outcomes(&inventory.Inventory{Cluster: c})
	for id, want := range map[string]string{
		"SP-K8S-002": "failed RoleBinding shop/devs ", "SP-K8S-003": "passed everything that was read ", "SP-PATH-001": "passed everything that was read ",
		"SP-DKR-001": "", "SP-DKR-002": "", "SP-KLT-001": "", "SP-K8S-901": "", "SP-K8S-920": "",
	} {
		if got := strings.Join(results(all, id), ", "); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	all = outcomes(&inventory.Inventory{Cluster: c, Unread: []inventory.Unread{
		{What: inventory.PartPods, From: "prod", Why: "forbidden"}, {What: inventory.PartKubelet, From: "prod", Why: "not asked"},
	}})
	for id, want := range map[string]string{
		"SP-K8S-002": "failed RoleBinding shop/devs ", "SP-K8S-003": "passed everything that was read ",
		"SP-PATH-001": "unknown everything that was read pods of prod not read: forbidden",
		"SP-KLT-001":  "unknown everything that was read kubelet settings of prod not read: not asked",
	} {
		if got := strings.Join(results(all, id), ", "); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	all = outcomes(&inventory.Inventory{Cluster: c, Skipped: []inventory.Skipped{{Origin: inventory.Origin{Source: "x.yaml", Line: 3}, Why: "broken"}}})
	if slices.ContainsFunc(all, func(o Outcome) bool { return o.Result == Passed }) {
		t.Error("a check has passed though something was not understood")
	}
	host := inventory.Host{Name: "h", Kubelet: &inventory.Kubelet{Anonymous: inventory.No}}
	all = outcomes(&inventory.Inventory{Hosts: []inventory.Host{host}})
	if got := results(all, "SP-DKR-005"); len(got) > 0 {
		t.Errorf("of a kubelet's file, sudo: %q", got)
	}
	if got := results(all, "SP-KLT-001"); len(got) != 1 || !strings.HasPrefix(got[0], "passed") {
		t.Errorf("SP-KLT-001: %q", got)
	}
	if got := results(all, "SP-KLT-002"); len(got) != 1 || !strings.HasPrefix(got[0], "unknown node:h ") {
		t.Errorf("SP-KLT-002: %q", got)
	}
}

// TestOutcomesOfContainers: what nobody looked into has not passed, and what has nothing to
// report has.
func TestOutcomesOfContainers(t *testing.T) {
	pod := func(in *inventory.Inside, s *inventory.PodSecurity) *inventory.Inventory {
		return &inventory.Inventory{Cluster: &inventory.Cluster{Pods: []inventory.Pod{{
			Object: inventory.Object{Namespace: "n", Name: "p"}, Template: inventory.Template{Containers: []inventory.Container{{Name: "c", Inside: in}}, Security: s},
		}}}}
	}
	unread := pod(&inventory.Inside{}, &inventory.PodSecurity{})
	unread.Unread = []inventory.Unread{{What: inventory.PartImages, From: "x:1", Why: "gone"}}
	for name, tt := range map[string]struct {
		i          *inventory.Inventory
		image, pss string
	}{
		"nobody looked":    {pod(nil, nil), "unknown", "unknown"},
		"nothing is wrong": {pod(&inventory.Inside{}, &inventory.PodSecurity{}), "passed", "passed"},
		"something is":     {pod(&inventory.Inside{Shells: []string{"/sh"}}, &inventory.PodSecurity{Restricted: []string{"x"}}), "failed", "failed"},
		"one was not read": {unread, "unknown", "passed"},
		"a host":           {&inventory.Inventory{Hosts: []inventory.Host{{Docker: &inventory.Docker{}, Running: []inventory.DockerOrCRI{{}}}}}, "unknown", ""},
		"no container":     {&inventory.Inventory{Hosts: []inventory.Host{{Docker: &inventory.Docker{}}}}, "", ""},
	} {
		var a *exposure.Analysis
		if tt.i.Cluster != nil {
			a = exposure.New(tt.i.Cluster)
		}
		r := Run(tt.i, a)
		for id, want := range map[string]string{"SP-IMG-002": tt.image, "SP-PSS-002": tt.pss} {
			got := results(r.Outcomes(tt.i), id)
			if want == "" && got != nil || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
				t.Errorf("%s: %s ended as %q, want %q", name, id, got, want)
			}
		}
	}
}
