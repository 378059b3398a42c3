// Package podmakers knows the kinds whose controllers make pods: Kubernetes' own, and
// those of controllers that many clusters have. Who may create or change an object of
// such a kind says what runs, without a right on pods.
//
// The table of others is made by hand, after the documentation of each; a kind that is
// not in it is not followed. The package is pure.
package podmakers

// Gives is what the objects of a kind lead to.
type Gives uint8

// What there is.
const (
	// Pods: pods of its namespace, of any form, as any of its service accounts.
	Pods Gives = iota
	// Tokens: pods whose form the controller bounds, as any service account of the
	// namespace.
	Tokens
	// Applied: objects of any kind, by the right of the controller's service account or
	// of one of the namespace.
	Applied
)

// Kind is a kind whose controller makes pods.
type Kind struct {
	Group, Resource, Kind string
	Gives                 Gives
	// Account is the usual name of the controller's service account, of what is Applied.
	Account string
}

// Own are the kinds of Kubernetes itself.
var Own = []Kind{
	{Group: "apps", Resource: "deployments", Kind: "Deployment"},
	{Group: "apps", Resource: "replicasets", Kind: "ReplicaSet"},
	{Group: "apps", Resource: "statefulsets", Kind: "StatefulSet"},
	{Group: "apps", Resource: "daemonsets", Kind: "DaemonSet"},
	{Group: "batch", Resource: "jobs", Kind: "Job"},
	{Group: "batch", Resource: "cronjobs", Kind: "CronJob"},
	{Group: "", Resource: "replicationcontrollers", Kind: "ReplicationController"},
}

// Others are those of other controllers.
var Others = []Kind{
	{Group: "argoproj.io", Resource: "workflows", Kind: "Workflow"},
	{Group: "argoproj.io", Resource: "cronworkflows", Kind: "CronWorkflow"},
	{Group: "argoproj.io", Resource: "rollouts", Kind: "Rollout"},
	{Group: "argoproj.io", Resource: "applications", Kind: "Application", Gives: Applied, Account: "argocd-application-controller"},
	{Group: "kustomize.toolkit.fluxcd.io", Resource: "kustomizations", Kind: "Kustomization", Gives: Applied, Account: "kustomize-controller"},
	{Group: "helm.toolkit.fluxcd.io", Resource: "helmreleases", Kind: "HelmRelease", Gives: Applied, Account: "helm-controller"},
	{Group: "tekton.dev", Resource: "taskruns", Kind: "TaskRun"},
	{Group: "tekton.dev", Resource: "pipelineruns", Kind: "PipelineRun"},
	{Group: "kubevirt.io", Resource: "virtualmachines", Kind: "VirtualMachine", Gives: Tokens},
	{Group: "kubevirt.io", Resource: "virtualmachineinstances", Kind: "VirtualMachineInstance", Gives: Tokens},
	{Group: "serving.knative.dev", Resource: "services", Kind: "Service", Gives: Tokens},
	{Group: "serving.knative.dev", Resource: "configurations", Kind: "Configuration", Gives: Tokens},
	{Group: "sparkoperator.k8s.io", Resource: "sparkapplications", Kind: "SparkApplication"},
	{Group: "sparkoperator.k8s.io", Resource: "scheduledsparkapplications", Kind: "ScheduledSparkApplication"},
	{Group: "flink.apache.org", Resource: "flinkdeployments", Kind: "FlinkDeployment"},
	{Group: "ray.io", Resource: "rayclusters", Kind: "RayCluster"},
	{Group: "ray.io", Resource: "rayjobs", Kind: "RayJob"},
	{Group: "ray.io", Resource: "rayservices", Kind: "RayService"},
	{Group: "kubeflow.org", Resource: "notebooks", Kind: "Notebook"},
	{Group: "kubeflow.org", Resource: "pytorchjobs", Kind: "PyTorchJob"},
	{Group: "kubeflow.org", Resource: "tfjobs", Kind: "TFJob"},
	{Group: "kubeflow.org", Resource: "mpijobs", Kind: "MPIJob"},
	{Group: "monitoring.coreos.com", Resource: "prometheuses", Kind: "Prometheus"},
	{Group: "monitoring.coreos.com", Resource: "prometheusagents", Kind: "PrometheusAgent"},
	{Group: "monitoring.coreos.com", Resource: "alertmanagers", Kind: "Alertmanager"},
	{Group: "monitoring.coreos.com", Resource: "thanosrulers", Kind: "ThanosRuler"},
	{Group: "jobset.x-k8s.io", Resource: "jobsets", Kind: "JobSet"},
	{Group: "leaderworkerset.x-k8s.io", Resource: "leaderworkersets", Kind: "LeaderWorkerSet"},
	{Group: "batch.volcano.sh", Resource: "jobs", Kind: "Job"},
	{Group: "apps.kruise.io", Resource: "clonesets", Kind: "CloneSet"},
	{Group: "apps.kruise.io", Resource: "daemonsets", Kind: "DaemonSet"},
	{Group: "apps.kruise.io", Resource: "statefulsets", Kind: "StatefulSet"},
	{Group: "keda.sh", Resource: "scaledjobs", Kind: "ScaledJob"},
}

// Resource finds a kind of Others by its resource.
func Resource(group, resource string) *Kind {
	for i := range Others {
		if k := &Others[i]; k.Group == group && k.Resource == resource {
			return k
		}
	}
	return nil
}

// Named finds a kind of Others by its own name.
func Named(group, kind string) *Kind {
	for i := range Others {
		if k := &Others[i]; k.Group == group && k.Kind == kind {
			return k
		}
	}
	return nil
}

// Name is how an inventory has a kind: "RESOURCE.GROUP".
func (k *Kind) Name() string { return k.Resource + "." + k.Group }
