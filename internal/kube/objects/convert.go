package objects

import (
	"slices"
	"strings"

	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	security "k8s.io/pod-security-admission/api"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// place is where an object was found.
type place struct {
	source string
	lines  lines // none for what a server said
	server bool  // it passed an API server, which filled in what it does
}

// object names an object of a namespace.
func (l *Loader) object(p place, m *metav1.ObjectMeta) inventory.Object {
	namespace := m.Namespace
	if namespace == "" {
		namespace = l.opts.Namespace
	}
	o := l.global(p, m)
	o.Namespace = l.share(namespace)
	return o
}

// global names an object that belongs to the whole cluster.
func (l *Loader) global(p place, m *metav1.ObjectMeta) inventory.Object {
	name := m.Name
	if name == "" && m.GenerateName != "" {
		name = m.GenerateName + "*" // the API server makes the rest up
	}
	return inventory.Object{Name: name, Origin: p.origin()}
}

func (p place) origin() inventory.Origin {
	return inventory.Origin{Source: p.source, Line: p.lines.line()}
}

func (l *Loader) namespace(p place, n *corev1.Namespace) {
	level, labelled := n.Labels[security.EnforceLevelLabel]
	if labelled {
		taken, _ := security.ParseLevel(level) // the API server takes what is no level for restricted
		level = string(taken)
	}
	l.cluster.Namespaces = append(l.cluster.Namespaces, inventory.Namespace{
		Object: l.global(p, &n.ObjectMeta), Enforce: level,
	})
}

func (l *Loader) account(p place, a *corev1.ServiceAccount) {
	l.cluster.ServiceAccounts = append(l.cluster.ServiceAccounts, inventory.ServiceAccount{
		Object: l.object(p, &a.ObjectMeta), Automount: answer(a.AutomountServiceAccountToken),
	})
}

func (l *Loader) node(p place, n *corev1.Node) {
	l.cluster.Nodes = append(l.cluster.Nodes, inventory.Node{Object: l.global(p, &n.ObjectMeta)})
}

// pod keeps a pod unless it has ended: nothing can be run in it.
func (l *Loader) pod(p place, pod *corev1.Pod) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	l.apiServerPod(p, pod)
	out := inventory.Pod{
		Object: l.object(p, &pod.ObjectMeta), UID: string(pod.UID), Node: l.share(pod.Spec.NodeName), Workload: l.owner(&pod.ObjectMeta),
		Template: l.template(spec{&pod.Spec, pod.Annotations, p.server || pod.UID != ""}),
	}
	out.Security = l.security(&pod.Spec, pod.Annotations)
	l.imageIDs(out.Containers, &pod.Status)
	l.cluster.Pods = append(l.cluster.Pods, out)
}

// imageIDs takes from a pod's status which images run. Runtimes write a digest alone, or
// behind a name or a scheme.
func (l *Loader) imageIDs(containers []inventory.Container, status *corev1.PodStatus) {
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for i := range list {
			id := list[i].ImageID
			id = id[strings.LastIndexAny(id, "@/")+1:]
			n := slices.IndexFunc(containers, func(c inventory.Container) bool { return c.Name == list[i].Name })
			if n >= 0 && strings.HasPrefix(id, "sha256:") {
				containers[n].ImageID = l.share(id)
			}
		}
	}
}

// owner is an object's controller, "Kind/name".
func (l *Loader) owner(m *metav1.ObjectMeta) string {
	if o := metav1.GetControllerOfNoCopy(m); o != nil {
		return l.share(o.Kind + "/" + o.Name)
	}
	return ""
}

// workload is an object that makes pods of a template.
type workload struct {
	kind, group string
	meta        *metav1.ObjectMeta
	replicas    *int32
	template    *corev1.PodTemplateSpec
}

// workload keeps an object that makes pods. A ReplicaSet of none that belongs to a
// Deployment is but its history.
func (l *Loader) workload(p place, w workload) {
	owner := l.owner(w.meta)
	if w.template == nil || owner != "" && w.replicas != nil && *w.replicas == 0 {
		return
	}
	out := inventory.Workload{
		Object: l.object(p, w.meta), Kind: w.kind, Group: w.group, Owner: owner,
		Template: l.template(spec{PodSpec: &w.template.Spec, annotations: w.template.Annotations}),
	}
	if !p.server { // a pod may be planned of it
		l.plan[workloadKey(&out)] = l.security(&w.template.Spec, w.template.Annotations)
	}
	l.cluster.Workloads = append(l.cluster.Workloads, out)
}

// tokenSecretType is the type of secrets that hold a service account's token.
const tokenSecretType = string(corev1.SecretTypeServiceAccountToken)

// tokenSecret takes no more of a secret than its metadata.
func (l *Loader) tokenSecret(p place, m *metav1.ObjectMeta) {
	l.cluster.TokenSecrets = append(l.cluster.TokenSecrets, inventory.TokenSecret{
		Object: l.object(p, m), ServiceAccount: m.Annotations[corev1.ServiceAccountNameKey],
	})
}

// Where EKS keeps which identities of AWS are which users and groups.
const awsAuthNamespace, awsAuth = "kube-system", "aws-auth"

func (l *Loader) role(p place, r *rbac.Role) {
	l.cluster.Roles = append(l.cluster.Roles, inventory.Role{Object: l.object(p, &r.ObjectMeta), Rules: l.rules(p, r.Rules)})
}

func (l *Loader) clusterRole(p place, r *rbac.ClusterRole) {
	out := inventory.Role{Object: l.global(p, &r.ObjectMeta), Rules: l.rules(p, r.Rules), Labels: r.Labels}
	if r.AggregationRule != nil {
		for i := range r.AggregationRule.ClusterRoleSelectors {
			s := &r.AggregationRule.ClusterRoleSelectors[i]
			if len(s.MatchExpressions) == 0 {
				out.Selectors = append(out.Selectors, s.MatchLabels)
			}
		}
		l.aggregate(p, r)
	}
	l.cluster.Roles = append(l.cluster.Roles, out)
}

func (l *Loader) rules(p place, rules []rbac.PolicyRule) []inventory.Rule {
	out := make([]inventory.Rule, len(rules))
	for i := range rules {
		r := &rules[i]
		out[i] = inventory.Rule{
			Verbs: l.shareAll(r.Verbs), Groups: l.shareAll(r.APIGroups), Resources: l.shareAll(r.Resources),
			Names: r.ResourceNames, URLs: r.NonResourceURLs, Line: p.lines.in("rules", i).line(),
		}
	}
	return out
}

func (l *Loader) binding(p place, o inventory.Object, ref rbac.RoleRef, subjects []rbac.Subject) {
	b := inventory.Binding{Object: o, ToClusterRole: ref.Kind == "ClusterRole", Role: l.share(ref.Name), Subjects: make([]inventory.Subject, 0, len(subjects))}
	for i, s := range subjects {
		out := inventory.Subject{Kind: inventory.SubjectKind(s.Kind), Name: l.share(s.Name), Line: p.lines.in("subjects", i).line()}
		if s.Kind == rbac.ServiceAccountKind {
			out.Namespace = l.share(s.Namespace)
		}
		b.Subjects = append(b.Subjects, out)
	}
	l.cluster.Bindings = append(l.cluster.Bindings, b)
}

// hook keeps one webhook of a configuration.
func (l *Loader) hook(p place, m *metav1.ObjectMeta, mutating bool, name string, failure *admission.FailurePolicyType, rules []admission.RuleWithOperations) {
	w := inventory.Webhook{Object: l.global(p, m), Hook: name, Mutating: mutating, Failure: string(admission.Fail)}
	if failure != nil {
		w.Failure = string(*failure)
	}
	for i := range rules {
		w.Resources = append(w.Resources, l.resources(&rules[i].Rule)...)
	}
	l.cluster.Webhooks = append(l.cluster.Webhooks, w)
}

func (l *Loader) validating(p place, c *admission.ValidatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		l.hook(p, &c.ObjectMeta, false, w.Name, w.FailurePolicy, w.Rules)
	}
}

func (l *Loader) mutating(p place, c *admission.MutatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		l.hook(p, &c.ObjectMeta, true, w.Name, w.FailurePolicy, w.Rules)
	}
}

// resources writes what a rule is about as "group/resource".
func (l *Loader) resources(r *admission.Rule) []string {
	var out []string
	for _, g := range r.APIGroups {
		for _, name := range r.Resources {
			out = append(out, l.share(g+"/"+name))
		}
	}
	return out
}

func (l *Loader) validatingPolicy(p place, v *admission.ValidatingAdmissionPolicy) {
	out := inventory.Policy{Object: l.global(p, &v.ObjectMeta), Resources: l.constrained(v.Spec.MatchConstraints)}
	for _, x := range v.Spec.Validations {
		out.Expressions = append(out.Expressions, x.Expression)
	}
	l.cluster.Policies = append(l.cluster.Policies, out)
}

func (l *Loader) mutatingPolicy(p place, v *admission.MutatingAdmissionPolicy) {
	out := inventory.Policy{Object: l.global(p, &v.ObjectMeta), Mutating: true, Resources: l.constrained(v.Spec.MatchConstraints)}
	for i := range v.Spec.Mutations {
		switch x := &v.Spec.Mutations[i]; {
		case x.ApplyConfiguration != nil:
			out.Expressions = append(out.Expressions, x.ApplyConfiguration.Expression)
		case x.JSONPatch != nil:
			out.Expressions = append(out.Expressions, x.JSONPatch.Expression)
		}
	}
	l.cluster.Policies = append(l.cluster.Policies, out)
}

func (l *Loader) constrained(m *admission.MatchResources) []string {
	if m == nil {
		return nil
	}
	var out []string
	for i := range m.ResourceRules {
		out = append(out, l.resources(&m.ResourceRules[i].Rule)...)
	}
	return out
}

// policyBinding puts an admission policy in force.
type policyBinding struct {
	mutating bool
	policy   string
	actions  []string
}

func (l *Loader) validatingBinding(b *admission.ValidatingAdmissionPolicyBinding) {
	out := policyBinding{policy: b.Spec.PolicyName}
	for _, a := range b.Spec.ValidationActions {
		out.actions = append(out.actions, string(a))
	}
	l.policyBindings = append(l.policyBindings, out)
}

func (l *Loader) mutatingBinding(b *admission.MutatingAdmissionPolicyBinding) {
	l.policyBindings = append(l.policyBindings, policyBinding{mutating: true, policy: b.Spec.PolicyName})
}
