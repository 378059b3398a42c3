package podspec

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sallyport/sallyport/internal/core/event"
)

// HostAccess returns what a pod as a whole takes of its node: namespaces, and
// directories for its containers to mount.
func HostAccess(spec *corev1.PodSpec) *event.HostAccess {
	h := namespaces(spec)
	for i := range spec.Volumes {
		if p := spec.Volumes[i].HostPath; p != nil {
			h.Paths = append(h.Paths, p.Path)
		}
	}
	h.Tidy()
	return h
}

func namespaces(spec *corev1.PodSpec) *event.HostAccess {
	h := &event.HostAccess{}
	for _, ns := range []struct {
		name string
		host bool
	}{{"network", spec.HostNetwork}, {"pid", spec.HostPID}, {"ipc", spec.HostIPC}} {
		if ns.host {
			h.Namespaces = append(h.Namespaces, ns.name)
		}
	}
	return h
}

// containerAccess returns what a container is given: the pod's namespaces, the
// node's directories that it mounts, and what it asks for itself. Devices that a
// device plugin adds are not in a specification.
func containerAccess(spec *corev1.PodSpec, c *corev1.Container) *event.HostAccess {
	h := namespaces(spec)
	if s := c.SecurityContext; s != nil {
		h.Privileged = s.Privileged != nil && *s.Privileged
		if s.Capabilities != nil {
			for _, name := range s.Capabilities.Add {
				h.Capabilities = append(h.Capabilities, string(name))
			}
		}
	}
	mounts := func(volume string) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume }) ||
			slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == volume })
	}
	for i := range spec.Volumes {
		if v := &spec.Volumes[i]; v.HostPath != nil && mounts(v.Name) {
			h.Paths = append(h.Paths, v.HostPath.Path)
		}
	}
	h.Tidy()
	return h
}
