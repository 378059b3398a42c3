package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	admission "k8s.io/api/admissionregistration/v1"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/podmakers"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/lib/exposition"
)

// Server is an API server; *api.Client is one.
type Server interface {
	// Get asks for a path and returns the body of the answer, of type accept.
	Get(ctx context.Context, path, accept string) (io.ReadCloser, error)
}

// Bounds of what a server says: objects and bytes of a page, which is asked for
// again with fewer objects when it is larger; how long one kind may take.
const (
	pageSize = 500
	pageMax  = 64 << 20
	kindMax  = 10 * time.Minute

	versionMax = 30 * time.Second // a server that does not tell its version in that time is not there
)

// metadataOnly asks for the metadata of objects alone: no data of a secret leaves
// the server.
const metadataOnly = api.Protobuf + ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

// kind is one LIST.
type kind struct {
	part   inventory.Part
	path   string
	accept string // "" is api.Protobuf
	// page adds the objects of an answer and returns where the next one begins.
	page func(l *Loader, p place, raw []byte) (next string, n int, err error)
}

// list is a list of objects in Kubernetes' protobuf form.
type list[L any] interface {
	*L
	Unmarshal([]byte) error
	GetContinue() string
}

// pageOf reads a page as an L, whose objects each adds and counts.
func pageOf[L any, P list[L]](each func(l *Loader, p place, page *L) int) func(*Loader, place, []byte) (string, int, error) {
	return func(l *Loader, p place, raw []byte) (string, int, error) {
		var page L
		if err := P(&page).Unmarshal(raw); err != nil {
			return "", 0, err
		}
		n := each(l, p, &page)
		return P(&page).GetContinue(), n, nil
	}
}

// every gives each item of a page to add.
func every[T any](items []T, add func(*T)) int {
	for i := range items {
		add(&items[i])
	}
	return len(items)
}

// kinds are all that is asked for, one paged LIST each.
var kinds = []kind{
	{inventory.PartNamespaces, "/api/v1/namespaces", "", pageOf(func(l *Loader, p place, page *corev1.NamespaceList) int {
		return every(page.Items, func(v *corev1.Namespace) { l.namespace(p, v) })
	})},
	{inventory.PartServiceAccounts, "/api/v1/serviceaccounts", "", pageOf(func(l *Loader, p place, page *corev1.ServiceAccountList) int {
		return every(page.Items, func(v *corev1.ServiceAccount) { l.account(p, v) })
	})},
	{inventory.PartRoles, rbacPath + "roles", "", pageOf(func(l *Loader, p place, page *rbac.RoleList) int {
		return every(page.Items, func(v *rbac.Role) { l.role(p, v) })
	})},
	{inventory.PartClusterRoles, rbacPath + "clusterroles", "", pageOf(func(l *Loader, p place, page *rbac.ClusterRoleList) int {
		return every(page.Items, func(v *rbac.ClusterRole) { l.clusterRole(p, v) })
	})},
	{inventory.PartRoleBindings, rbacPath + "rolebindings", "", pageOf(func(l *Loader, p place, page *rbac.RoleBindingList) int {
		return every(page.Items, func(v *rbac.RoleBinding) { l.binding(p, l.object(p, &v.ObjectMeta), v.RoleRef, v.Subjects) })
	})},
	{inventory.PartClusterBindings, rbacPath + "clusterrolebindings", "", pageOf(func(l *Loader, p place, page *rbac.ClusterRoleBindingList) int {
		return every(page.Items, func(v *rbac.ClusterRoleBinding) { l.binding(p, l.global(p, &v.ObjectMeta), v.RoleRef, v.Subjects) })
	})},
	{inventory.PartPods, "/api/v1/pods", "", pageOf(func(l *Loader, p place, page *corev1.PodList) int {
		return every(page.Items, func(v *corev1.Pod) { l.pod(p, v) })
	})},
	{inventory.PartNodes, "/api/v1/nodes", "", pageOf(func(l *Loader, p place, page *corev1.NodeList) int {
		return every(page.Items, func(v *corev1.Node) { l.node(p, v) })
	})},
	{inventory.PartWorkloads, "/apis/apps/v1/deployments", "", pageOf(func(l *Loader, p place, page *apps.DeploymentList) int {
		return every(page.Items, func(v *apps.Deployment) {
			l.workload(p, workload{"Deployment", apps.GroupName, &v.ObjectMeta, v.Spec.Replicas, &v.Spec.Template})
		})
	})},
	{inventory.PartWorkloads, "/apis/apps/v1/replicasets", "", pageOf(func(l *Loader, p place, page *apps.ReplicaSetList) int {
		return every(page.Items, func(v *apps.ReplicaSet) {
			l.workload(p, workload{"ReplicaSet", apps.GroupName, &v.ObjectMeta, v.Spec.Replicas, &v.Spec.Template})
		})
	})},
	{inventory.PartWorkloads, "/apis/apps/v1/statefulsets", "", pageOf(func(l *Loader, p place, page *apps.StatefulSetList) int {
		return every(page.Items, func(v *apps.StatefulSet) {
			l.workload(p, workload{"StatefulSet", apps.GroupName, &v.ObjectMeta, v.Spec.Replicas, &v.Spec.Template})
		})
	})},
	{inventory.PartWorkloads, "/apis/apps/v1/daemonsets", "", pageOf(func(l *Loader, p place, page *apps.DaemonSetList) int {
		return every(page.Items, func(v *apps.DaemonSet) {
			l.workload(p, workload{"DaemonSet", apps.GroupName, &v.ObjectMeta, nil, &v.Spec.Template})
		})
	})},
	{inventory.PartWorkloads, "/apis/batch/v1/jobs", "", pageOf(func(l *Loader, p place, page *batch.JobList) int {
		return every(page.Items, func(v *batch.Job) {
			l.workload(p, workload{"Job", batch.GroupName, &v.ObjectMeta, nil, &v.Spec.Template})
		})
	})},
	{inventory.PartWorkloads, "/apis/batch/v1/cronjobs", "", pageOf(func(l *Loader, p place, page *batch.CronJobList) int {
		return every(page.Items, func(v *batch.CronJob) {
			l.workload(p, workload{"CronJob", batch.GroupName, &v.ObjectMeta, nil, &v.Spec.JobTemplate.Spec.Template})
		})
	})},
	{inventory.PartWorkloads, "/api/v1/replicationcontrollers", "", pageOf(func(l *Loader, p place, page *corev1.ReplicationControllerList) int {
		return every(page.Items, func(v *corev1.ReplicationController) {
			l.workload(p, workload{"ReplicationController", "", &v.ObjectMeta, v.Spec.Replicas, v.Spec.Template})
		})
	})},
	{inventory.PartWebhooks, admissionPath + "validatingwebhookconfigurations", "", pageOf(func(l *Loader, p place, page *admission.ValidatingWebhookConfigurationList) int {
		return every(page.Items, func(v *admission.ValidatingWebhookConfiguration) { l.validating(p, v) })
	})},
	{inventory.PartWebhooks, admissionPath + "mutatingwebhookconfigurations", "", pageOf(func(l *Loader, p place, page *admission.MutatingWebhookConfigurationList) int {
		return every(page.Items, func(v *admission.MutatingWebhookConfiguration) { l.mutating(p, v) })
	})},
	{inventory.PartPolicies, admissionPath + "validatingadmissionpolicies", "", pageOf(func(l *Loader, p place, page *admission.ValidatingAdmissionPolicyList) int {
		return every(page.Items, func(v *admission.ValidatingAdmissionPolicy) { l.validatingPolicy(p, v) })
	})},
	{inventory.PartPolicies, admissionPath + "validatingadmissionpolicybindings", "", pageOf(func(l *Loader, p place, page *admission.ValidatingAdmissionPolicyBindingList) int {
		return every(page.Items, func(v *admission.ValidatingAdmissionPolicyBinding) { l.validatingBinding(v) })
	})},
	{inventory.PartPolicies, admissionPath + "mutatingadmissionpolicies", "", pageOf(func(l *Loader, p place, page *admission.MutatingAdmissionPolicyList) int {
		return every(page.Items, func(v *admission.MutatingAdmissionPolicy) { l.mutatingPolicy(p, v) })
	})},
	{inventory.PartPolicies, admissionPath + "mutatingadmissionpolicybindings", "", pageOf(func(l *Loader, p place, page *admission.MutatingAdmissionPolicyBindingList) int {
		return every(page.Items, func(v *admission.MutatingAdmissionPolicyBinding) { l.mutatingBinding(v) })
	})},
	{inventory.PartTokenSecrets, "/api/v1/secrets?fieldSelector=" + "type%3Dkubernetes.io%2Fservice-account-token", metadataOnly, pageOf(func(l *Loader, p place, page *metav1.PartialObjectMetadataList) int {
		return every(page.Items, func(v *metav1.PartialObjectMetadata) { l.tokenSecret(p, &v.ObjectMeta) })
	})},
	{inventory.PartAWSAuth, "/api/v1/namespaces/" + awsAuthNamespace + "/configmaps?fieldSelector=metadata.name%3D" + awsAuth, metadataOnly, pageOf(func(l *Loader, _ place, page *metav1.PartialObjectMetadataList) int {
		l.cluster.AWSAuth = inventory.AnswerOf(len(page.Items) > 0)
		return len(page.Items)
	})},
}

const (
	rbacPath      = "/apis/rbac.authorization.k8s.io/v1/"
	admissionPath = "/apis/admissionregistration.k8s.io/v1/"
)

// ReadServer reads a cluster from its API server, which name says in origins. What
// the server does not let be read is noted as unread; an error says that it did not
// answer, or that there was a cluster already.
func (l *Loader) ReadServer(ctx context.Context, name string, s Server) error {
	if l.whole {
		return errTwice
	}
	if err := l.version(ctx, name, s); err != nil {
		return err
	}
	l.whole = true
	l.gates(ctx, name, s)
	l.others(ctx, name, s)
	p := place{source: l.share(name), server: true}
	for i := range kinds {
		if err := l.listKind(ctx, p, s, &kinds[i]); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			l.missing(kinds[i].part, name, err)
		}
	}
	l.unread = append(l.unread, inventory.Unread{
		What: inventory.PartKubelet, From: name, Why: "whoever may read them through the API server may also run commands", Help: "scan each node with --from host",
	})
	l.settings.untold = name
	return nil
}

// version asks for the server's version. That it has none to tell is noted, that it
// does not answer is an error.
func (l *Loader) version(ctx context.Context, name string, s Server) error {
	ctx, cancel := context.WithTimeout(ctx, versionMax)
	defer cancel()
	body, err := s.Get(ctx, "/version", api.JSON)
	var status *api.StatusError
	if errors.As(err, &status) && status.Code != http.StatusUnauthorized {
		l.missing(inventory.PartVersion, name, err)
		return nil
	}
	if err != nil {
		return err
	}
	defer body.Close()
	var v struct{ Major, Minor string }
	if err := json.NewDecoder(io.LimitReader(body, 1<<16)).Decode(&v); err != nil {
		return fmt.Errorf("read server version: %w", err)
	}
	version, err := ParseVersion(v.Major + "." + v.Minor)
	if err != nil {
		return fmt.Errorf("read server version: %w", err)
	}
	l.cluster.Version = version
	return nil
}

// ParseVersion reads a version as people and servers write them: "1.37", "v1.37.2",
// "1.37+".
func ParseVersion(s string) (inventory.Version, error) {
	major, rest, ok := strings.Cut(strings.TrimPrefix(s, "v"), ".")
	minor := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		minor = rest[:i]
	}
	x, err := strconv.ParseUint(major, 10, 16)
	y, err2 := strconv.ParseUint(minor, 10, 16)
	if !ok || err != nil || err2 != nil || x != 1 {
		return inventory.Version{}, fmt.Errorf("%.40q is no version of Kubernetes: want one like 1.37", s)
	}
	return inventory.Version{Major: int(x), Minor: int(y)}, nil
}

// gatesKept are the feature gates that decide what a right lets do.
var gatesKept = map[string]bool{
	"AuthorizePodWebsocketUpgradeCreatePermission": true, "ConstrainedImpersonation": true, "MutatingAdmissionPolicy": true,
	"ValidatingAdmissionPolicy": true, "KubeletFineGrainedAuthz": true, "AuthorizeNodeWithSelectors": true,
	"ServiceAccountTokenNodeBindingValidation": true, "UserNamespacesSupport": true,
}

// gates reads which features are on from the server's metrics.
func (l *Loader) gates(ctx context.Context, name string, s Server) {
	ctx, cancel := context.WithTimeout(ctx, kindMax)
	defer cancel()
	body, err := s.Get(ctx, api.MetricsPath, "text/plain")
	if err != nil {
		l.missing(inventory.PartGates, name, err)
		return
	}
	defer body.Close()
	found := make(map[string]bool)
	for sample, err := range exposition.Find(body, "kubernetes_feature_enabled") {
		if err != nil {
			l.missing(inventory.PartGates, name, err)
			return
		}
		if gate := sample.Labels["name"]; gatesKept[gate] {
			found[gate] = sample.Value == 1
		}
	}
	l.cluster.Gates = found
}

// discovery asks for all kinds at once; servers before 1.27 know no such answer.
const discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// others finds out which kinds of other controllers that make pods there are.
func (l *Loader) others(ctx context.Context, name string, s Server) {
	ctx, cancel := context.WithTimeout(ctx, kindMax)
	defer cancel()
	body, err := s.Get(ctx, "/apis", discovery)
	if err != nil {
		l.missing(inventory.PartPodMakers, name, err)
		return
	}
	defer body.Close()
	var v apidiscovery.APIGroupDiscoveryList
	if err = json.NewDecoder(io.LimitReader(body, pageMax)).Decode(&v); err == nil && v.Kind != "APIGroupDiscoveryList" {
		err = errors.New("the server does not list its kinds at once")
	}
	if err != nil {
		l.missing(inventory.PartPodMakers, name, err)
		return
	}
	for i := range v.Items {
		for _, version := range v.Items[i].Versions {
			for _, r := range version.Resources {
				l.podMaker(podmakers.Resource(v.Items[i].Name, r.Resource))
			}
		}
	}
}

// missing notes what could not be read.
func (l *Loader) missing(part inventory.Part, from string, err error) {
	u := inventory.Unread{What: part, From: from, Why: err.Error()}
	var status *api.StatusError
	if errors.As(err, &status) {
		u.Why = status.Message
	}
	switch {
	case part == inventory.PartTokenSecrets && api.IsStatus(err, http.StatusForbidden):
		u.Help = "leave it, or scan once as somebody who may list secrets: no right covers their metadata alone"
	case api.IsStatus(err, http.StatusForbidden):
		u.Help = "sallyport scan role | kubectl apply -f -"
	}
	for _, known := range l.unread { // a part may have several kinds
		if known == u {
			return
		}
	}
	l.unread = append(l.unread, u)
}

// listKind reads all objects of a kind, page by page. Of the kinds all but the
// admission policies are in every version of Kubernetes since 1.21.
func (l *Loader) listKind(ctx context.Context, p place, s Server, k *kind) error {
	ctx, cancel := context.WithTimeout(ctx, kindMax)
	defer cancel()
	before, total := l.mark(), 0
	err := api.List(ctx, s.Get, api.Pages{
		Path: k.path, Accept: k.accept, Limit: pageSize, Bytes: pageMax,
		Again: func() {
			l.backTo(before)
			total = 0
		},
		Take: func(_ time.Time, raw []byte) (string, error) {
			next, n, err := k.page(l, p, raw)
			if err != nil {
				return "", err
			}
			total += n
			l.opts.Progress(string(k.part), total)
			return next, nil
		},
	})
	if err != nil {
		l.backTo(before)
	}
	if api.IsStatus(err, http.StatusNotFound) && k.part == inventory.PartPolicies {
		return older(ctx, s, k)
	}
	return err
}

// older tells a server that does not have a kind from one that has it as v1beta1.
func older(ctx context.Context, s Server, k *kind) error {
	body, err := s.Get(ctx, strings.Replace(k.path, "/v1/", "/v1beta1/", 1)+"?limit=1", api.JSON)
	if api.IsStatus(err, http.StatusNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer body.Close()
	return errors.New("the server has them as v1beta1 alone")
}

// mark is what was read up to a time, so that a part that could not be read to its
// end can be taken out again: reading only appends to lists.
type mark struct {
	cluster        inventory.Cluster
	policyBindings []policyBinding
}

func (l *Loader) mark() mark { return mark{l.cluster, l.policyBindings} }

func (l *Loader) backTo(m mark) { l.cluster, l.policyBindings = m.cluster, m.policyBindings }
