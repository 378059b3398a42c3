// Package rbacoracle holds what scan says about roles and bindings to what the API
// server's own RBAC authorizer says, over random ones, and what it says of audit
// policies to the API server's evaluator. It is a module of its own so that nothing of
// Kubernetes' servers is in the product.
package rbacoracle

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/kubernetes/pkg/registry/rbac/validation"
	upstream "k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"

	"github.com/sallyport/sallyport/internal/core/posture/rbac"
	"github.com/sallyport/sallyport/internal/kube/objects"
)

var clusters = flag.Int("clusters", 200, "how many random clusters to compare")

const rbacGroup = rbacv1.GroupName

// What the random rules and questions are made of: all that edges of scan ask
// about, and what looks like it.
var (
	verbs      = []string{"get", "list", "create", "update", "patch", "impersonate", "impersonate:user-info", "impersonate-on:user-info:create"}
	ruleVerbs  = append([]string{"*", "", "GET", "exec"}, verbs...)
	ruleGroups = []string{"", "apps", rbacGroup, "authentication.k8s.io", "*", "extensions"}
	resources  = []string{"pods", "pods/exec", "pods/attach", "pods/*", "*/exec", "*/*", "*", "nodes/proxy", "*/proxy", "secrets", "users", "deployments", "deployments/scale", "clusterroles", "exec", "pods/", "/exec", "pods/exec/x", "pods/ephemeralcontainers"}
	names      = []string{"", "web", "db", "*"}
	namespaces = []string{"", "shop", "bank", "kube-system"}
	users      = []string{"jane", "joe", "system:anonymous", "system:node:n1", "system:serviceaccount:shop:web", "system:serviceaccount:bank:web", "system:serviceaccount:shop", "*", ""}
	groups     = []string{"devs", "system:authenticated", "system:unauthenticated", "system:serviceaccounts", "system:serviceaccounts:shop", "system:nodes", "*"}
)

func asks() []rbac.Ask {
	things := []rbac.Ask{
		{Resource: "pods"}, {Resource: "pods", Subresource: "exec"}, {Resource: "pods", Subresource: "attach"}, {Resource: "nodes", Subresource: "proxy"},
		{Resource: "secrets"}, {Group: "apps", Resource: "deployments"}, {Group: "apps", Resource: "deployments", Subresource: "scale"}, {Group: rbacGroup, Resource: "clusterroles"}, {Group: "authentication.k8s.io", Resource: "users"},
	}
	var out []rbac.Ask
	for _, v := range verbs {
		for _, a := range things {
			a.Verb = v
			out = append(out, a)
		}
	}
	return out
}

// random draws from lists.
type random struct{ *rand.Rand }

func (r random) one(list []string) string { return list[r.IntN(len(list))] }

// some draws a few, and seldom none.
func (r random) some(list []string, most int) []string {
	out := make([]string, min(most, r.IntN(2*most+1)))
	for i := range out {
		out[i] = r.one(list)
	}
	return out
}

func (r random) rules() []rbacv1.PolicyRule {
	out := make([]rbacv1.PolicyRule, r.IntN(5))
	for i := range out {
		out[i] = rbacv1.PolicyRule{Verbs: r.some(ruleVerbs, 3), APIGroups: r.some(ruleGroups, 2), Resources: r.some(resources, 3)}
		switch r.IntN(6) {
		case 0, 1:
			out[i].ResourceNames = r.some(names, 2)
		case 2:
			out[i].NonResourceURLs = []string{"/metrics", "*"}
		}
	}
	return out
}

func (r random) subjects() []rbacv1.Subject {
	out := make([]rbacv1.Subject, r.IntN(6))
	for i := range out {
		switch r.IntN(4) {
		case 0:
			out[i] = rbacv1.Subject{APIGroup: rbacGroup, Kind: rbacv1.UserKind, Name: r.one(users)}
		case 1:
			out[i] = rbacv1.Subject{APIGroup: rbacGroup, Kind: rbacv1.GroupKind, Name: r.one(groups)}
		case 2:
			out[i] = rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: r.one([]string{"web", "db"}), Namespace: r.one(namespaces)}
		case 3:
			out[i] = rbacv1.Subject{Kind: r.one([]string{"Robot", "user", ""}), Name: "jane"}
		}
	}
	return out
}

// cluster is random roles and bindings, some of which refer to nothing.
type cluster struct {
	roles               []*rbacv1.Role
	roleBindings        []*rbacv1.RoleBinding
	clusterRoles        []*rbacv1.ClusterRole
	clusterRoleBindings []*rbacv1.ClusterRoleBinding
}

func (r random) cluster() (c cluster) {
	for i := range 3 {
		c.clusterRoles = append(c.clusterRoles, &rbacv1.ClusterRole{TypeMeta: typed("ClusterRole"), ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i)}, Rules: r.rules()})
		for _, namespace := range namespaces[1:] {
			c.roles = append(c.roles, &rbacv1.Role{TypeMeta: typed("Role"), ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint("r", i)}, Rules: r.rules()})
		}
	}
	for i := range 10 {
		ref := rbacv1.RoleRef{APIGroup: rbacGroup, Kind: "ClusterRole", Name: fmt.Sprint("c", r.IntN(4))}
		if r.IntN(3) == 0 {
			c.clusterRoleBindings = append(c.clusterRoleBindings, &rbacv1.ClusterRoleBinding{TypeMeta: typed("ClusterRoleBinding"), ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("b", i)}, RoleRef: ref, Subjects: r.subjects()})
			continue
		}
		if r.IntN(2) == 0 {
			ref.Kind, ref.Name = "Role", fmt.Sprint("r", r.IntN(4))
		}
		c.roleBindings = append(c.roleBindings, &rbacv1.RoleBinding{
			TypeMeta: typed("RoleBinding"), ObjectMeta: metav1.ObjectMeta{Namespace: r.one(namespaces[1:]), Name: fmt.Sprint("b", i)}, RoleRef: ref, Subjects: r.subjects(),
		})
	}
	return c
}

func typed(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}

// manifests writes the cluster as a file that scan reads.
func (c cluster) manifests(t *testing.T) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	put := func(v any) {
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range c.roles {
		put(v)
	}
	for _, v := range c.roleBindings {
		put(v)
	}
	for _, v := range c.clusterRoles {
		put(v)
	}
	for _, v := range c.clusterRoleBindings {
		put(v)
	}
	return b.Bytes()
}

// TestAgrees asks both every question about every random cluster.
func TestAgrees(t *testing.T) {
	table := rbac.NewTable(asks())
	allowed, denied := 0, 0
	for seed := range uint64(*clusters) {
		r := random{rand.New(rand.NewPCG(seed, 1))}
		c := r.cluster()
		_, static := validation.NewTestRuleResolver(c.roles, c.roleBindings, c.clusterRoles, c.clusterRoleBindings)
		theirs := upstream.New(static, static, static, static)
		l := objects.New(objects.Options{})
		if err := l.Read("random", bytes.NewReader(c.manifests(t))); err != nil {
			t.Fatal(err)
		}
		read, _, skipped := l.Finish()
		if len(skipped) > 0 {
			t.Fatalf("seed %d: skipped %v", seed, skipped)
		}
		ours := rbac.NewIndex(read, table)
		for _, name := range users {
			id := rbac.IdentityOf(name)
			id.Groups = append(id.Groups, r.some(groups, 2)...)
			yes, no := compare(t, seed, table, ours, theirs, id)
			allowed, denied = allowed+yes, denied+no
			if t.Failed() {
				t.Fatalf("seed %d:\n%s", seed, c.manifests(t))
			}
		}
	}
	t.Logf("%d questions: %d allowed, %d not", allowed+denied, allowed, denied)
	if allowed*50 < denied {
		t.Errorf("only %d of %d allowed: the questions say too little", allowed, allowed+denied)
	}
}

func compare(t *testing.T, seed uint64, table *rbac.Table, ours *rbac.Index, theirs authorizer.Authorizer, id rbac.Identity) (yes, no int) {
	for i, a := range table.Asks {
		for _, namespace := range namespaces {
			for _, name := range names {
				decision, _, _ := theirs.Authorize(context.Background(), authorizer.AttributesRecord{
					User: &user.DefaultInfo{Name: id.User, Groups: id.Groups}, Verb: a.Verb, APIGroup: a.Group, Resource: a.Resource, Subresource: a.Subresource,
					Namespace: namespace, Name: name, ResourceRequest: true,
				})
				want := decision == authorizer.DecisionAllow
				if got := ours.Can(id, i, namespace, name); got != want {
					t.Errorf("seed %d: may %+v %+v in %q named %q: %v, and Kubernetes says %v", seed, id, a, namespace, name, got, want)
					return yes, no
				}
				if want {
					yes++
				} else {
					no++
				}
			}
		}
	}
	return yes, no
}
