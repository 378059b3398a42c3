package objects

import (
	"bytes"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Manifest returns a role and a binding to it in YAML, as kubectl apply takes them. What
// Kubernetes itself keeps of them, such as labels, they do not have.
func Manifest(r *inventory.Role, b *inventory.Binding) ([]byte, error) {
	var out bytes.Buffer
	for n, o := range []any{roleObject(r), bindingObject(b)} {
		text, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("write role %s: %w", r.Name, err)
		}
		if n > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

func roleObject(r *inventory.Role) any {
	rules := make([]rbacv1.PolicyRule, len(r.Rules))
	for n, rule := range r.Rules {
		rules[n] = rbacv1.PolicyRule{Verbs: rule.Verbs, APIGroups: rule.Groups, Resources: rule.Resources, ResourceNames: rule.Names, NonResourceURLs: rule.URLs}
	}
	meta := metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name}
	if r.Namespace == "" {
		return rbacv1.ClusterRole{TypeMeta: typeOf("ClusterRole"), ObjectMeta: meta, Rules: rules}
	}
	return rbacv1.Role{TypeMeta: typeOf("Role"), ObjectMeta: meta, Rules: rules}
}

func bindingObject(b *inventory.Binding) any {
	meta, to := metav1.ObjectMeta{Namespace: b.Namespace, Name: b.Name}, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: b.Role}
	if b.ToClusterRole {
		to.Kind = "ClusterRole"
	}
	var subjects []rbacv1.Subject
	for _, s := range b.Subjects {
		o := rbacv1.Subject{Kind: string(s.Kind), Namespace: s.Namespace, Name: s.Name}
		if s.Kind != inventory.ServiceAccountSubject {
			o.APIGroup = rbacv1.GroupName
		}
		subjects = append(subjects, o)
	}
	if b.Namespace == "" {
		return rbacv1.ClusterRoleBinding{TypeMeta: typeOf("ClusterRoleBinding"), ObjectMeta: meta, Subjects: subjects, RoleRef: to}
	}
	return rbacv1.RoleBinding{TypeMeta: typeOf("RoleBinding"), ObjectMeta: meta, Subjects: subjects, RoleRef: to}
}

func typeOf(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}
