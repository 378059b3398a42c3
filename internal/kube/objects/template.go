package objects

import (
	"cmp"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/podspec"
)

// spec is a pod's specification with what decides how it is read.
type spec struct {
	*corev1.PodSpec
	annotations map[string]string
	// admitted says that the API server has filled it in: a token that is to be
	// mounted is among its volumes.
	admitted bool
}

// template keeps what decides what a command in the pod can do.
func (l *Loader) template(s spec) inventory.Template {
	t := inventory.Template{
		ServiceAccount: l.share(cmp.Or(s.ServiceAccountName, s.DeprecatedServiceAccount, "default")),
		Token:          s.token(),
		HostPID:        s.HostPID,
		HostIPC:        s.HostIPC,
		HostNetwork:    s.HostNetwork,
		SharedPID:      s.ShareProcessNamespace != nil && *s.ShareProcessNamespace,
		HostUsers:      inventory.AnswerOf(s.HostUsers == nil || *s.HostUsers),
		Containers:     make([]inventory.Container, 0, podspec.Count(s.PodSpec)),
	}
	hostPaths := make(map[string]string)
	for i := range s.Volumes {
		if p := s.Volumes[i].HostPath; p != nil {
			hostPaths[s.Volumes[i].Name] = p.Path
		}
	}
	for c, kind := range podspec.All(s.PodSpec) {
		t.Containers = append(t.Containers, l.container(s, c, role(kind)))
		for _, m := range c.VolumeMounts {
			if p, ok := hostPaths[m.Name]; ok {
				t.HostPaths = append(t.HostPaths, inventory.HostPath{
					Container: l.share(c.Name), Path: path.Join(p, cmp.Or(m.SubPath, m.SubPathExpr)), Mount: m.MountPath, ReadOnly: m.ReadOnly,
				})
			}
		}
	}
	return t
}

// role is the word of an inventory for a kind of container.
func role(kind event.KubeContainerKind) string {
	if kind == event.KubeApp {
		return ""
	}
	return string(kind)
}

// tokenPath is where the API server mounts a pod's token.
const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"

// token tells whether a token for the API server is mounted; Unknown leaves it to
// the service account.
func (s spec) token() inventory.Answer {
	for i := range s.Volumes {
		v := &s.Volumes[i]
		gives := givesToken(v.Projected)
		if !gives && !ofSecret(v) {
			continue
		}
		for c := range podspec.All(s.PodSpec) {
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.Name == v.Name && (gives || strings.HasPrefix(path.Clean(m.MountPath)+"/", tokenPath+"/"))
			}) {
				return inventory.Yes
			}
		}
	}
	switch {
	case s.admitted:
		return inventory.No
	case s.AutomountServiceAccountToken != nil:
		return inventory.AnswerOf(*s.AutomountServiceAccountToken)
	}
	return inventory.Unknown
}

// ofSecret reports whether a volume has a secret in it, which may be a token's.
func ofSecret(v *corev1.Volume) bool {
	return v.Secret != nil || v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.Secret != nil })
}

// givesToken reports whether a volume holds a token that the API server takes: one
// for another audience, such as a vault's, is none.
func givesToken(v *corev1.ProjectedVolumeSource) bool {
	if v == nil {
		return false
	}
	for i := range v.Sources {
		if t := v.Sources[i].ServiceAccountToken; t != nil {
			host := strings.TrimPrefix(t.Audience, "https://")
			if host == "" || host == "api" || host == "kubernetes.default.svc" || strings.HasPrefix(host, "kubernetes.default.svc.") {
				return true
			}
		}
	}
	return false
}

func (l *Loader) container(s spec, c *corev1.Container, role string) inventory.Container {
	out := inventory.Container{Name: l.share(c.Name), Image: l.share(c.Image), Role: role, Escalation: inventory.Yes}
	for _, d := range c.VolumeDevices {
		out.Devices = append(out.Devices, d.DevicePath)
	}
	out.AppArmor = s.annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
	if p := s.SecurityContext; p != nil { // of the pod; a container's own comes before it
		out.User = p.RunAsUser
		out.NonRoot = answer(p.RunAsNonRoot)
		out.Seccomp = seccomp(p.SeccompProfile, out.Seccomp)
		out.AppArmor = appArmor(p.AppArmorProfile, out.AppArmor)
		out.SELinux = seLinux(p.SELinuxOptions, out.SELinux)
	}
	p := c.SecurityContext
	if p == nil {
		return out
	}
	out.Privileged = p.Privileged != nil && *p.Privileged
	out.ReadOnlyRoot = p.ReadOnlyRootFilesystem != nil && *p.ReadOnlyRootFilesystem
	if p.AllowPrivilegeEscalation != nil {
		out.Escalation = inventory.AnswerOf(*p.AllowPrivilegeEscalation)
	}
	if p.RunAsUser != nil {
		out.User = p.RunAsUser
	}
	if p.RunAsNonRoot != nil {
		out.NonRoot = answer(p.RunAsNonRoot)
	}
	if p.Capabilities != nil {
		for _, name := range p.Capabilities.Add {
			out.AddCapabilities = append(out.AddCapabilities, l.share(string(name)))
		}
		for _, name := range p.Capabilities.Drop {
			if strings.EqualFold(string(name), "ALL") {
				out.DropAll = true
			} else {
				out.DropCapabilities = append(out.DropCapabilities, l.share(string(name)))
			}
		}
	}
	out.Seccomp = seccomp(p.SeccompProfile, out.Seccomp)
	out.AppArmor = appArmor(p.AppArmorProfile, out.AppArmor)
	out.SELinux = seLinux(p.SELinuxOptions, out.SELinux)
	return out
}

func answer(b *bool) inventory.Answer {
	if b == nil {
		return inventory.Unknown
	}
	return inventory.AnswerOf(*b)
}

func seccomp(p *corev1.SeccompProfile, otherwise string) string {
	if p == nil {
		return otherwise
	}
	return profile(string(p.Type), p.LocalhostProfile)
}

func appArmor(p *corev1.AppArmorProfile, otherwise string) string {
	if p == nil {
		return otherwise
	}
	return profile(string(p.Type), p.LocalhostProfile)
}

// profile writes "RuntimeDefault" or "Localhost/name".
func profile(kind string, local *string) string {
	if local == nil {
		return kind
	}
	return kind + "/" + *local
}

func seLinux(o *corev1.SELinuxOptions, otherwise string) string {
	if o == nil {
		return otherwise
	}
	return strings.Join([]string{o.User, o.Role, o.Type, o.Level}, ":")
}
