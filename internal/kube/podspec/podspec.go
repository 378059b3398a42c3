// Package podspec takes from a pod's specification what concerns commands:
// containers, what they run, and what the kubelet runs in them by itself.
package podspec

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sallyport/sallyport/internal/core/event"
)

// The kubelet's defaults, which the API server fills in; a specification that
// has not passed it may lack them (k8s.io/api core/v1, Probe).
const (
	defaultPeriod  = 10
	defaultTimeout = 1
)

// The annotations of a pod that a kubelet made of a file or a URL.
const (
	mirrorAnnotation = "kubernetes.io/config.mirror"
	sourceAnnotation = "kubernetes.io/config.source"
)

// kubectl debug sets this label on the pods that it makes. Anybody can set it.
const debugLabel, debugValue = "app.kubernetes.io/managed-by", "kubectl-debug"

// All yields a pod's containers in their order: init and sidecar, app, ephemeral.
func All(spec *corev1.PodSpec) iter.Seq2[*corev1.Container, event.KubeContainerKind] {
	return func(yield func(*corev1.Container, event.KubeContainerKind) bool) {
		for i := range spec.InitContainers {
			c, kind := &spec.InitContainers[i], event.KubeInit
			if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
				kind = event.KubeSidecar
			}
			if !yield(c, kind) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(&spec.Containers[i], event.KubeApp) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			c := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
			if !yield(&c, event.KubeEphemeralDebug) {
				return
			}
		}
	}
}

// Count returns how many containers All yields.
func Count(spec *corev1.PodSpec) int {
	return len(spec.InitContainers) + len(spec.Containers) + len(spec.EphemeralContainers)
}

// Containers returns what concerns commands of a pod's containers, in the order of All.
func Containers(spec *corev1.PodSpec) []event.KubeContainer {
	out := make([]event.KubeContainer, 0, Count(spec))
	for c, kind := range All(spec) {
		out = append(out, container(spec, c, kind))
	}
	ephemeral := out[len(out)-len(spec.EphemeralContainers):]
	for i := range ephemeral {
		ephemeral[i].Target = spec.EphemeralContainers[i].TargetContainerName
	}
	return out
}

func container(spec *corev1.PodSpec, c *corev1.Container, kind event.KubeContainerKind) event.KubeContainer {
	return event.KubeContainer{
		Name: c.Name, Kind: kind, Image: c.Image, Command: c.Command, Args: c.Args, TTY: c.TTY, Stdin: c.Stdin,
		Hooks: hooks(c), Variables: variables(c), HostAccess: containerAccess(spec, c),
	}
}

// variables returns those of a container's own list; what envFrom takes from
// other objects is not in a specification.
func variables(c *corev1.Container) []event.Variable {
	var out []event.Variable
	for i := range c.Env {
		out = event.AppendVariable(out, c.Env[i].Name, c.Env[i].Value)
	}
	return out
}

// hooks returns the commands that the kubelet runs in c; those that are a
// request to a port are none.
func hooks(c *corev1.Container) []event.KubeHook {
	var out []event.KubeHook
	probe := func(kind event.KubeHookKind, p *corev1.Probe) {
		if p == nil || p.Exec == nil {
			return
		}
		out = append(out, event.KubeHook{
			Kind: kind, Argv: p.Exec.Command,
			Period: seconds(cmp.Or(p.PeriodSeconds, defaultPeriod)), Timeout: seconds(cmp.Or(p.TimeoutSeconds, defaultTimeout)),
			InitialDelay: seconds(p.InitialDelaySeconds),
		})
	}
	probe(event.KubeLiveness, c.LivenessProbe)
	probe(event.KubeReadiness, c.ReadinessProbe)
	probe(event.KubeStartup, c.StartupProbe)
	if c.Lifecycle == nil {
		return out
	}
	hook := func(kind event.KubeHookKind, h *corev1.LifecycleHandler) {
		if h != nil && h.Exec != nil {
			out = append(out, event.KubeHook{Kind: kind, Argv: h.Exec.Command})
		}
	}
	hook(event.KubePostStart, c.Lifecycle.PostStart)
	hook(event.KubePreStop, c.Lifecycle.PreStop)
	return out
}

func seconds(n int32) event.Duration { return event.Duration(time.Duration(n) * time.Second) }

// Identify fills in the containers' ids from a pod's status, without the
// runtime's name before them.
func Identify(containers []event.KubeContainer, status *corev1.PodStatus) {
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for i := range list {
			_, id, ok := strings.Cut(list[i].ContainerID, "://")
			if !ok {
				continue
			}
			if n := slices.IndexFunc(containers, func(c event.KubeContainer) bool { return c.Name == list[i].Name }); n >= 0 {
				containers[n].ID = event.ContainerID(id)
			}
		}
	}
}

// Static reports whether a pod with these annotations was made of a file or a
// URL on its node.
func Static(annotations map[string]string) bool {
	source, ok := annotations[sourceAnnotation]
	return annotations[mirrorAnnotation] != "" || ok && source != "api"
}

// Debug reports whether kubectl debug says that it made a pod with these labels.
func Debug(labels map[string]string) bool { return labels[debugLabel] == debugValue }
