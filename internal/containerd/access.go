package containerd

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// modeNode is CRI's number for a namespace that is the node's.
const modeNode = 2

// access returns what of its node CRI was asked to give to a container; nil when
// its record does not say. odd is the error of a record that was not read wholly.
func (m *criMetadata) access(c *event.RuntimeContainer, odd error) *event.HostAccess {
	config := &m.Metadata.Config
	if config.Linux == nil {
		return nil
	}
	security := &config.Linux.Security
	h := &event.HostAccess{Privileged: security.Privileged, Capabilities: security.Capabilities.Add, Partial: odd != nil}
	for _, ns := range []struct {
		name string
		mode int
	}{{"network", security.Namespaces.Network}, {"pid", security.Namespaces.PID}, {"ipc", security.Namespaces.IPC}} {
		if ns.mode == modeNode {
			h.Namespaces = append(h.Namespaces, ns.name)
		}
	}
	for _, d := range config.Devices {
		h.Devices = append(h.Devices, d.HostPath)
	}
	for _, b := range config.Mounts {
		if strings.HasPrefix(b.HostPath, "/") && !own(b.HostPath, c) {
			h.Paths = append(h.Paths, b.HostPath)
		}
	}
	h.Tidy()
	return h
}

// own reports whether a path is one that the kubelet, the runtime or Docker made
// for c itself: its hosts file, its volumes, its resolv.conf. The same of another
// container or pod is not its own.
func own(path string, c *event.RuntimeContainer) bool {
	for dir, id := range map[string]string{"/pods/": c.PodUID, "/sandboxes/": string(c.SandboxID), "/containers/": string(c.ID)} {
		if id != "" && strings.Contains(path, dir+id+"/") {
			return true
		}
	}
	return false
}

// ownNamespaces are those that a specification has to list for the container to
// have its own. Of users every container is in the host's, unless somebody asks.
var ownNamespaces = []string{"network", "pid", "ipc", "uts"}

// access returns what an OCI specification comes to; nil when it is none of
// Linux. A namespace that is joined by its path may be the host's, too: the path
// of process 1 says so. odd is the error of one that was not read wholly: then
// namespaces that it does not list are not known.
func (s *ociSpec) access(c *event.RuntimeContainer, odd error) *event.HostAccess {
	if s.Linux == nil {
		return nil
	}
	h := &event.HostAccess{Privileged: s.privileged(), Partial: odd != nil}
	for _, kind := range ownNamespaces {
		i := slices.IndexFunc(s.Linux.Namespaces, func(ns ociNamespace) bool { return ns.Type == kind })
		if i < 0 && odd == nil || i >= 0 && strings.HasPrefix(s.Linux.Namespaces[i].Path, "/proc/1/ns/") {
			h.Namespaces = append(h.Namespaces, kind)
		}
	}
	for _, name := range s.Process.Capabilities.Bounding {
		if !event.UsualCapability(name) {
			h.Capabilities = append(h.Capabilities, name)
		}
	}
	for _, d := range s.Linux.Devices {
		h.Devices = append(h.Devices, d.Path)
	}
	for _, m := range s.Mounts {
		bind := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
		if bind && strings.HasPrefix(m.Source, "/") && !own(m.Source, c) {
			h.Paths = append(h.Paths, m.Source)
		}
	}
	h.Tidy()
	return h
}

// privileged reports what the runtimes mean by the word: every device, and the
// capability to use them.
func (s *ociSpec) privileged() bool {
	all := slices.ContainsFunc(s.Linux.Resources.Devices, func(d ociDeviceRule) bool {
		return d.Allow && d.Access == "rwm" && d.Major == nil && (d.Type == "" || d.Type == "a")
	})
	return all && slices.Contains(s.Process.Capabilities.Bounding, "CAP_SYS_ADMIN")
}
