package objects

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/podmakers"
)

// head is what every object has, and what a List has.
type head struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Items      []json.RawMessage `json:"items"`
}

func (h head) group() string {
	group, _, ok := strings.Cut(h.APIVersion, "/")
	if !ok {
		return ""
	}
	return group
}

// yaml reads one document in YAML: an object, or a List of them.
func (l *Loader) yaml(source string, data []byte, first int) {
	body, err := yaml.YAMLToJSONStrict(data)
	if err != nil && bytes.Contains(data, []byte("<<:")) {
		body, err = yaml.YAMLToJSON(data) // as kubectl: strictly, a key beside a merge comes twice
	}
	if err != nil {
		l.skip(inventory.Origin{Source: source, Line: first}, "%s", notYAML(data, err))
		return
	}
	if body = bytes.TrimSpace(body); bytes.Equal(body, []byte("null")) {
		return // only comments
	}
	at := lines{first: first}
	if hasParts(body) {
		at = linesOf(data, first)
	}
	at.text = data
	l.json(source, body, at, head{})
}

// notYAML says what is wrong with a document; some are templates of manifests.
func notYAML(data []byte, err error) string {
	if bytes.Contains(data, []byte("{{")) {
		return "a template and no manifest: scan what `helm template` prints"
	}
	text := err.Error()
	for {
		_, rest, ok := strings.Cut(text, "yaml: ")
		if !ok {
			return "not YAML: " + strings.Join(strings.Fields(text), " ")
		}
		text = rest
	}
}

// json reads one object, or a List of them, whose lines are known. Items of a List
// may leave out what they are when the List says it: of is its head.
func (l *Loader) json(source string, body []byte, at lines, of head) {
	p := place{source: source, lines: at}
	if !bytes.HasPrefix(body, []byte("{")) {
		l.skip(p.origin(), "no Kubernetes object: a list, or a single value")
		return
	}
	var h head
	if err := unmarshal(body, &h); err != nil {
		l.skip(p.origin(), "no Kubernetes object: %v", err)
		return
	}
	if h.Kind == "" && h.APIVersion == "" {
		h.Kind, h.APIVersion = strings.TrimSuffix(of.Kind, "List"), of.APIVersion
	}
	switch {
	case h.Kind == "" && h.APIVersion == "" && l.bare(p, body):
	case h.Kind == "" || h.APIVersion == "":
		l.skip(p.origin(), "no Kubernetes object: it does not say its apiVersion and kind")
	case strings.HasSuffix(h.Kind, "List") && h.Items != nil:
		for i, item := range h.Items {
			l.json(source, item, at.in("items", i), h)
		}
	default:
		l.put(p, h, body)
	}
}

// unmarshal reads JSON as an API server does: names of fields have case.
func unmarshal(body []byte, into any) error {
	return kjson.UnmarshalCaseSensitivePreserveInts(body, into)
}

// as reads an object as a T and gives it to use.
func as[T any](body []byte, use func(*T)) error {
	var v T
	if err := unmarshal(body, &v); err != nil {
		return err
	}
	use(&v)
	return nil
}

// put adds an object of manifests. Kinds that say nothing about commands are left
// out without a word.
func (l *Loader) put(p place, h head, body []byte) {
	if l.putSettings(p, h, body) {
		return
	}
	l.podMaker(podmakers.Named(h.group(), h.Kind))
	if l.objects++; l.objects%1000 == 0 {
		l.opts.Progress("objects", l.objects)
	}
	var err error
	switch h.group() {
	case "":
		err = l.putCore(p, h, body)
	case rbac.GroupName:
		err = l.putRBAC(p, h, body)
	case admission.GroupName:
		err = l.putAdmission(p, h, body)
	case "apiextensions.k8s.io":
		err = l.putDefinition(body)
	default:
		err = l.putWorkload(p, h, body)
	}
	if err != nil {
		l.skip(p.origin(), "%s is not understood: %v", h.Kind, err)
	}
}

func (l *Loader) putCore(p place, h head, body []byte) error {
	switch h.Kind {
	case "Namespace":
		return as(body, func(v *corev1.Namespace) { l.namespace(p, v) })
	case "ServiceAccount":
		return as(body, func(v *corev1.ServiceAccount) { l.account(p, v) })
	case "Node":
		return as(body, func(v *corev1.Node) { l.node(p, v) })
	case "Pod":
		return as(body, func(v *corev1.Pod) { l.pod(p, v) })
	case "ConfigMap":
		return as(body, func(v *metav1.PartialObjectMetadata) {
			if o := l.object(p, &v.ObjectMeta); o.Namespace == awsAuthNamespace && o.Name == awsAuth {
				l.cluster.AWSAuth = inventory.Yes
			}
		})
	case "Secret":
		return as(body, func(v *struct {
			metav1.ObjectMeta `json:"metadata"`
			Type              string `json:"type"`
		}) {
			if v.Type == tokenSecretType {
				l.tokenSecret(p, &v.ObjectMeta)
			}
		})
	}
	return l.putWorkload(p, h, body)
}

// putDefinition reads of the definition of a kind which it is.
func (l *Loader) putDefinition(body []byte) error {
	return as(body, func(v *struct {
		Spec struct {
			Group string `json:"group"`
			Names struct {
				Plural string `json:"plural"`
			} `json:"names"`
		} `json:"spec"`
	}) {
		l.podMaker(podmakers.Resource(v.Spec.Group, v.Spec.Names.Plural))
	})
}

// podMaker notes that the cluster has a kind that makes pods; nil is none.
func (l *Loader) podMaker(k *podmakers.Kind) {
	if k != nil && !slices.Contains(l.cluster.PodMakers, k.Name()) {
		l.cluster.PodMakers = append(l.cluster.PodMakers, k.Name())
	}
}

func (l *Loader) putRBAC(p place, h head, body []byte) error {
	switch h.Kind {
	case "Role":
		return as(body, func(v *rbac.Role) { l.role(p, v) })
	case "ClusterRole":
		return as(body, func(v *rbac.ClusterRole) { l.clusterRole(p, v) })
	case "RoleBinding":
		return as(body, func(v *rbac.RoleBinding) { l.binding(p, l.object(p, &v.ObjectMeta), v.RoleRef, v.Subjects) })
	case "ClusterRoleBinding":
		return as(body, func(v *rbac.ClusterRoleBinding) { l.binding(p, l.global(p, &v.ObjectMeta), v.RoleRef, v.Subjects) })
	}
	return nil
}

func (l *Loader) putAdmission(p place, h head, body []byte) error {
	switch h.Kind {
	case "ValidatingWebhookConfiguration":
		return as(body, func(v *admission.ValidatingWebhookConfiguration) { l.validating(p, v) })
	case "MutatingWebhookConfiguration":
		return as(body, func(v *admission.MutatingWebhookConfiguration) { l.mutating(p, v) })
	case "ValidatingAdmissionPolicy":
		return as(body, func(v *admission.ValidatingAdmissionPolicy) { l.validatingPolicy(p, v) })
	case "ValidatingAdmissionPolicyBinding":
		return as(body, func(v *admission.ValidatingAdmissionPolicyBinding) { l.validatingBinding(v) })
	case "MutatingAdmissionPolicy":
		return as(body, func(v *admission.MutatingAdmissionPolicy) { l.mutatingPolicy(p, v) })
	case "MutatingAdmissionPolicyBinding":
		return as(body, func(v *admission.MutatingAdmissionPolicyBinding) { l.mutatingBinding(v) })
	}
	return nil
}

// templated is any object that makes pods of a template: Kubernetes' own, and
// those of others that keep the template in the same place, such as an Argo Rollout
// or a Knative Service.
type templated struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Replicas    *int32                  `json:"replicas"`
		Template    *corev1.PodTemplateSpec `json:"template"`
		JobTemplate *struct {
			Spec struct {
				Template *corev1.PodTemplateSpec `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
}

// ownWorkloads are the kinds of Kubernetes itself that make pods.
var ownWorkloads = []string{"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController"}

// errNoTemplate says that a workload lacks what makes it one.
var errNoTemplate = errors.New("it has no pod template with containers")

func (l *Loader) putWorkload(p place, h head, body []byte) error {
	own := slices.Contains(ownWorkloads, h.Kind)
	if !own && !bytes.Contains(body, []byte(`"containers"`)) {
		return nil
	}
	var v templated
	err := unmarshal(body, &v)
	t := v.Spec.Template
	if v.Spec.JobTemplate != nil {
		t = v.Spec.JobTemplate.Spec.Template
	}
	if err == nil && (t == nil || len(t.Spec.Containers) == 0) {
		err = errNoTemplate
	}
	if err != nil && !own {
		return nil // another thing of that form
	}
	if err != nil {
		return err
	}
	l.workload(p, workload{h.Kind, h.group(), &v.ObjectMeta, v.Spec.Replicas, t})
	return nil
}
