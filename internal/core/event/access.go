package event

import (
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/jsonform"
)

// HostAccess is what of its host a container is given that a plain one is not,
// as its specification says: what somebody in it needs to leave it. A container
// whose specification nobody told has none, which is another thing than an empty
// one. All lists are in order and without repetitions.
type HostAccess struct {
	// Privileged is the runtime's word for all capabilities, all devices and no
	// confinement.
	Privileged bool `json:"privileged"`
	// Namespaces are those that the container has in common with the host:
	// "network", "pid", "ipc", "uts", "user". That of cgroups is not among them: on
	// some hosts every container has it.
	Namespaces []string `json:"namespaces,omitempty"`
	// Capabilities are those beyond the runtime's usual ones, without "CAP_";
	// "ALL" as it was asked for.
	Capabilities []string `json:"capabilities,omitempty"`
	// Devices are device files of the host.
	Devices []string `json:"devices,omitempty"`
	// Paths are directories, files and sockets of the host, without those that
	// the runtime itself puts into every container.
	Paths []string `json:"paths,omitempty"`
	// Partial says that there may be more: the source tells only what was
	// changed, or it was too long.
	Partial bool `json:"partial,omitempty"`
}

// Bounds of a HostAccess; what is beyond is left out, and it is Partial.
const (
	accessEntries = 256
	accessText    = 4 << 10 // bytes in one entry
)

// usualCapabilities are those that Docker and containerd give to a container for which
// nobody asks for others (containerd, oci.WithDefaultUnixCaps).
var usualCapabilities = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP",
	"SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// UsualCapability reports whether a runtime gives a capability to every container of
// which nothing is said. name is in capitals, with or without "CAP_".
func UsualCapability(name string) bool {
	return slices.Contains(usualCapabilities, strings.TrimPrefix(name, "CAP_"))
}

// Plain reports whether h gives nothing, as far as it is known.
func (h *HostAccess) Plain() bool {
	return h == nil || !h.Privileged && len(h.Namespaces)+len(h.Capabilities)+len(h.Devices)+len(h.Paths) == 0
}

// Tidy brings what was collected into the form that HostAccess describes: paths
// clean, capabilities in capitals, all in order and within bounds.
func (h *HostAccess) Tidy() {
	for i, c := range h.Capabilities {
		h.Capabilities[i] = strings.TrimPrefix(strings.ToUpper(c), "CAP_")
	}
	for _, list := range [][]string{h.Devices, h.Paths} {
		for i, p := range list {
			list[i] = path.Clean(p)
		}
	}
	for _, list := range []*[]string{&h.Namespaces, &h.Capabilities, &h.Devices, &h.Paths} {
		h.tidy(list)
	}
}

func (h *HostAccess) tidy(list *[]string) {
	slices.Sort(*list)
	all := slices.Compact(*list)
	n := len(all)
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) > accessText })
	all = all[:min(len(all), accessEntries)]
	h.Partial = h.Partial || len(all) < n
	if *list = all; len(all) == 0 {
		*list = nil
	}
}

// Write writes h as a field, as encoding/json does; nil is left out.
func (h *HostAccess) Write(w *jsonform.Writer, name string) {
	if h == nil {
		return
	}
	w.Name(name)
	w.Begin()
	w.Bool("privileged", h.Privileged)
	w.SomeTexts("namespaces", h.Namespaces)
	w.SomeTexts("capabilities", h.Capabilities)
	w.SomeTexts("devices", h.Devices)
	w.SomeTexts("paths", h.Paths)
	w.SomeBool("partial", h.Partial)
	w.End()
}

// With returns what two descriptions give together; nil is none.
func (h *HostAccess) With(other *HostAccess) *HostAccess {
	switch {
	case other == nil:
		return h
	case h == nil:
		return other
	}
	sum := &HostAccess{
		Privileged:   h.Privileged || other.Privileged,
		Namespaces:   slices.Concat(h.Namespaces, other.Namespaces),
		Capabilities: slices.Concat(h.Capabilities, other.Capabilities),
		Devices:      slices.Concat(h.Devices, other.Devices),
		Paths:        slices.Concat(h.Paths, other.Paths),
		Partial:      h.Partial || other.Partial,
	}
	sum.Tidy()
	return sum
}

// Access returns what of the host all containers of o are given together; nil
// when o says nothing of it.
func (o *KubeObject) Access() *HostAccess {
	sum := o.HostAccess
	for i := range o.Containers {
		sum = sum.With(o.Containers[i].HostAccess)
	}
	return sum
}

// AccessOf returns what of the host one container of o is given; nil when o is
// nil or does not say.
func (o *KubeObject) AccessOf(container string) *HostAccess {
	if o == nil {
		return nil
	}
	return AccessIn(o.Containers, container)
}

// AccessIn returns what of the host the container of that name is given, nil when
// it is not there. Without a name it is the only container: of several, the API
// server's choice is not known here.
func AccessIn(containers []KubeContainer, name string) *HostAccess {
	if name == "" && len(containers) == 1 {
		return containers[0].HostAccess
	}
	if k := containerIn(containers, name); k != nil && name != "" {
		return k.HostAccess
	}
	return nil
}
