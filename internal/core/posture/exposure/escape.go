package exposure

import (
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// escape says how whoever runs a command in one of some of the template's containers gets
// root on the node, and what may stand in the way; "" when no way is known.
func escape(t *inventory.Template, in []inventory.Container) (why, unless string) {
	for i := range in {
		c := &in[i]
		switch how, doubt := EscapeOfPod(t, c); {
		case how == "" || why != "" && doubt != "":
		case doubt == "":
			return "container " + c.Name + ": " + how, ""
		default:
			why, unless = "container "+c.Name+": "+how, doubt
		}
	}
	return why, unless
}

// EscapeOfPod says how whoever runs a command in a container of a pod gets root on its
// node, by a runtime's socket, too, and what may stand in the way; "" when no way is known.
func EscapeOfPod(t *inventory.Template, c *inventory.Container) (why, unless string) {
	if why = escapeBy(t, c, pathOver); why == "" {
		return "", ""
	}
	return why, notRoot(c)
}

// Doubted says why, and what may stand in the way, when anything does.
func Doubted(why, unless string) string {
	if unless != "" {
		why += ", unless " + unless
	}
	return why
}

// notRoot doubts what takes root in a container whose processes are somebody else's; ""
// for one that may be root.
func notRoot(c *inventory.Container) string {
	if uid := c.RunsAs(); uid != nil && *uid != 0 || uid == nil && c.NonRoot == inventory.Yes {
		return "container " + c.Name + " runs as another user than root, and nothing in it makes that root"
	}
	return ""
}

// kubeletKey is where a kubelet has the key by which it is its node.
const kubeletKey = "/var/lib/kubelet/pki"

// readsKey says which of some of the template's containers reads the kubelet's key, and what
// may stand in the way; "" when none does.
func readsKey(t *inventory.Template, in []inventory.Container) (why, unless string) {
	for _, m := range t.HostPaths {
		i := slices.IndexFunc(in, func(c inventory.Container) bool { return c.Name == m.Container })
		if p := path.Clean(m.Path); i >= 0 && over(p, kubeletKey) {
			return "container " + m.Container + " reads the kubelet's key in " + p + " of the node", notRoot(&in[i])
		}
	}
	return "", ""
}

// Escape says how whoever runs a command in a container gets root on its host by
// other means than a runtime's socket; "" when no way is known. Paths of the host are
// those of the template that have the container's name.
func Escape(t *inventory.Template, c *inventory.Container) string {
	return escapeBy(t, c, writable)
}

// escapeBy is told by over which mounted paths are root.
func escapeBy(t *inventory.Template, c *inventory.Container, over func(inventory.HostPath) string) string {
	if t.HostUsers != inventory.No { // root in a user namespace is nobody on the node
		switch {
		case c.Privileged:
			return "privileged"
		case slices.ContainsFunc(c.AddCapabilities, overNode):
			return "capability " + c.AddCapabilities[slices.IndexFunc(c.AddCapabilities, overNode)]
		case t.HostPID && slices.ContainsFunc(c.AddCapabilities, isCapability("SYS_PTRACE")):
			return "capability SYS_PTRACE with the node's processes"
		}
	}
	for _, m := range t.HostPaths {
		if m.Container == c.Name {
			if why := over(m); why != "" {
				return why
			}
		}
	}
	return ""
}

func isCapability(name string) func(string) bool {
	return func(c string) bool { return strings.EqualFold(strings.TrimPrefix(strings.ToUpper(c), "CAP_"), name) }
}

// overNode reports whether a capability is root on the node by itself.
func overNode(c string) bool {
	return slices.ContainsFunc([]string{"ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "DAC_READ_SEARCH"}, func(n string) bool { return isCapability(n)(c) })
}

// sockets are the usual paths of runtime sockets: to connect, it is enough to read
// a directory above.
var sockets = []string{
	"/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/var/run/containerd/containerd.sock",
	"/run/crio/crio.sock", "/var/run/crio/crio.sock", "/run/podman/podman.sock", "/run/buildkit/buildkitd.sock",
	"/run/k3s/containerd/containerd.sock",
}

// written are paths at which whoever may write is root soon: programs and their loader's,
// cron's, systemd's, accounts' and the kubelet's files, and the kernel's own.
var written = []string{
	"/etc", "/root", "/bin", "/sbin", "/usr", "/lib", "/lib64", "/opt/cni/bin", "/boot", "/proc", "/sys",
	"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/local", "/usr/local/bin", "/usr/local/sbin", "/lib/modules", "/usr/lib/modules",
	"/etc/kubernetes/manifests", "/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/etc/init.d", "/etc/udev/rules.d",
	"/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly", "/etc/crontab", "/var/spool/cron", "/var/spool/cron/crontabs",
	"/etc/passwd", "/etc/shadow", "/etc/sudoers", "/etc/sudoers.d", "/etc/pam.d", "/etc/ssh", "/etc/profile.d", "/etc/ld.so.preload", "/etc/ld.so.conf.d", "/root/.ssh",
	"/var/lib/kubelet", "/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/rancher",
}

// pathOver says why a mounted path of the node is root on it.
func pathOver(m inventory.HostPath) string {
	p := path.Clean(m.Path)
	for _, s := range sockets {
		if over(p, s) {
			return "mounts " + p + " with the runtime's socket"
		}
	}
	return writable(m)
}

// writable says why a mounted path that may be written to is root.
func writable(m inventory.HostPath) string {
	if m.ReadOnly {
		return ""
	}
	p := path.Clean(m.Path)
	for _, w := range written {
		if over(p, w) {
			return "may write to " + p + " of the node"
		}
	}
	return ""
}

// over reports whether p is q or a directory above it.
func over(p, q string) bool { return p == q || p == "/" || strings.HasPrefix(q, p+"/") }
