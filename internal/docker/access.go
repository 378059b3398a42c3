package docker

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// hostConfig is what of a container's HostConfig says how much of the host the
// container is given, in an inspect and in the body of a create alike.
type hostConfig struct {
	Privileged  bool
	NetworkMode string
	PidMode     string
	IpcMode     string
	UTSMode     string
	UsernsMode  string
	CapAdd      words
	Devices     []struct{ PathOnHost string }
	Binds       []string
	Mounts      []mount
}

// mount is a mount as a create asks for it, or as an inspect shows it.
type mount struct {
	Type          string
	Name, Driver  string // of a volume, in an inspect
	Source        string
	VolumeOptions *struct {
		DriverConfig *struct{ Options map[string]string }
	}
	device string // of a volume that the local driver made beforehand, where it was asked for
}

// access returns what of the host a container with that configuration is given.
// Where a volume lies that was made beforehand, only the daemon can tell: see
// [daemon.container].
func (c *hostConfig) access(mounts []mount) *event.HostAccess {
	h := &event.HostAccess{Privileged: c.Privileged, Capabilities: c.CapAdd}
	for _, ns := range []struct{ name, mode string }{
		{"network", c.NetworkMode}, {"pid", c.PidMode}, {"ipc", c.IpcMode}, {"uts", c.UTSMode}, {"user", c.UsernsMode},
	} {
		// Podman takes one by its path as well, which may be the host's.
		if ns.mode == "host" || strings.HasPrefix(ns.mode, "ns:") {
			h.Namespaces = append(h.Namespaces, ns.name)
		}
	}
	for _, d := range c.Devices {
		h.Devices = append(h.Devices, d.PathOnHost)
	}
	for _, b := range c.Binds { // SOURCE:TARGET[:OPTIONS]; a source that is no path names a volume
		if source, _, _ := strings.Cut(b, ":"); strings.HasPrefix(source, "/") {
			h.Paths = append(h.Paths, source)
		}
	}
	for _, m := range slices.Concat(c.Mounts, mounts) {
		if p := m.path(); p != "" {
			h.Paths = append(h.Paths, p)
		}
	}
	h.Tidy()
	return h
}

// path returns what of the host m mounts, "" for nothing. A volume can be one of
// its directories, too: the local driver mounts what its options say.
func (m *mount) path() string {
	switch {
	case m.Type == "bind" && strings.HasPrefix(m.Source, "/"):
		return m.Source
	case m.Type == "volume" && m.VolumeOptions != nil && m.VolumeOptions.DriverConfig != nil:
		if device := m.VolumeOptions.DriverConfig.Options["device"]; strings.HasPrefix(device, "/") {
			return device
		}
	case strings.HasPrefix(m.device, "/"):
		return m.device
	}
	return ""
}
