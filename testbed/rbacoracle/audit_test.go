package rbacoracle

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/apis/audit"
	evaluated "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/sallyport/sallyport/internal/kube/settings"
)

// some draws up to two of a list, often none.
func some(r *rand.Rand, list ...string) []string {
	var out []string
	for range max(0, r.IntN(4)-1) {
		out = append(out, list[r.IntN(len(list))])
	}
	return out
}

// randomPolicy draws an audit policy of a few rules.
func randomPolicy(r *rand.Rand) map[string]any {
	stages := []string{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}
	rule := func() map[string]any {
		m := map[string]any{
			"level": []string{"None", "None", "Metadata", "Request", "RequestResponse"}[r.IntN(5)],
			"users": some(r, "jane", "joe"), "userGroups": some(r, "devs", "ops"), "verbs": some(r, "get", "create", "patch", "update"),
		}
		if r.IntN(6) == 0 {
			m["omitStages"] = stages[:r.IntN(5)]
		}
		if r.IntN(6) == 0 {
			m["nonResourceURLs"] = []string{"*"}
			return m
		}
		m["namespaces"] = some(r, "shop", "bank", "")
		var resources []map[string]any
		for range r.IntN(3) {
			g := map[string]any{"group": []string{"", "apps", "*"}[r.IntN(3)], "resources": some(r, "pods", "pods/exec", "*/exec", "pods/*", "nodes/proxy", "*", "pods/ephemeralcontainers", "exec")}
			if len(g["resources"].([]string)) > 0 {
				g["resourceNames"] = some(r, "web", "db")
			}
			resources = append(resources, g)
		}
		m["resources"] = resources
		return m
	}
	rules := make([]map[string]any, 1+r.IntN(4))
	for i := range rules {
		rules[i] = rule()
	}
	return map[string]any{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules, "omitStages": stages[:r.IntN(2)]}
}

// recorded is the level at which upstream records a request, None when at no stage.
func recorded(c evaluated.RequestAuditConfig) string {
	for _, s := range []audit.Stage{audit.StageRequestReceived, audit.StageResponseStarted, audit.StageResponseComplete} {
		if !slices.Contains(c.OmitStages, s) {
			return string(c.Level)
		}
	}
	return string(audit.LevelNone)
}

// TestAudit compares what is said of random audit policies with what the API server's
// evaluator makes of requests: whoever is not recorded is named, and hardly anybody else.
func TestAudit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	silent, spoken, cautious := 0, 0, 0
	for n := range *clusters * 20 {
		text, err := json.Marshal(randomPolicy(r))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := settings.AuditPolicy("p", 1, text)
		theirs, loadErr := policy.LoadPolicyFromBytes(text)
		if (err == nil) != (loadErr == nil) {
			t.Fatalf("policy %d %s: %v, upstream %v", n, text, err, loadErr)
		}
		if err != nil {
			continue
		}
		evaluator := policy.NewPolicyRuleEvaluator(theirs)
		exec := string(audit.LevelRequestResponse)
		for _, c := range []struct{ verb, resource, sub string }{
			{"create", "pods", "exec"}, {"get", "pods", "exec"}, {"create", "nodes", "proxy"}, {"get", "nodes", "proxy"},
			{"patch", "pods", "ephemeralcontainers"}, {"update", "pods", "ephemeralcontainers"},
		} {
			none := false
			for _, name := range []string{"jane", "joe", "stranger"} {
				for _, groups := range [][]string{nil, {"devs"}, {"ops"}, {"devs", "ops"}} {
					for _, namespace := range []string{"shop", "bank", "elsewhere"} {
						for _, object := range []string{"web", "db", "another"} {
							a := authorizer.AttributesRecord{
								User: &user.DefaultInfo{Name: name, Groups: groups}, Verb: c.verb, Namespace: namespace, Resource: c.resource,
								Subresource: c.sub, Name: object, ResourceRequest: true,
							}
							if c.resource == "nodes" {
								a.Namespace = ""
							}
							level := recorded(evaluator.EvaluatePolicyRule(a))
							none = none || level == "None" || c.sub == "ephemeralcontainers" && level == "Metadata"
							if name == "stranger" && groups == nil && namespace == "elsewhere" && object == "another" && c.sub == "exec" {
								exec = lesser(exec, level)
							}
						}
					}
				}
			}
			said := slices.ContainsFunc(ours.Silent, func(s string) bool { return strings.HasPrefix(s, c.verb+" "+c.resource+"/"+c.sub) })
			if said && !none {
				cautious++ // somebody of whom several earlier rules together leave nothing
			}
			if none && !said {
				t.Fatalf("policy %d %s\n%v: upstream leaves out some: %v, said %q", n, text, c, none, ours.Silent)
			}
			if none {
				silent++
			} else {
				spoken++
			}
		}
		if exec != ours.Exec {
			t.Fatalf("policy %d %s\nexec %s, upstream %s", n, text, ours.Exec, exec)
		}
	}
	if silent < 100 || spoken < 100 || cautious > spoken/20 {
		t.Errorf("of little use: %d silent, %d not, of which %d are named all the same", silent, spoken, cautious)
	}
}

func lesser(a, b string) string {
	order := []string{"None", "Metadata", "Request", "RequestResponse"}
	if slices.Index(order, b) < slices.Index(order, a) {
		return b
	}
	return a
}
