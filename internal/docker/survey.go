package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Survey is what a daemon says of itself, and of what it runs.
type Survey struct {
	// Docker has what the daemon says is in effect; nothing of what it was told.
	Docker  inventory.Docker
	Running []inventory.DockerOrCRI
	Unread  []inventory.Unread
}

// Look asks the daemon at address ("" for the one of the environment) about itself
// and its running containers: one list of these and one of volumes, and an inspect
// of each, a few at a time. All of its requests are GETs. The error says that
// the daemon does not answer; what else it did not tell is in Unread.
func Look(ctx context.Context, address string) (*Survey, error) {
	d, err := dial(address)
	if err != nil {
		return nil, err
	}
	defer d.close()
	if err := d.agree(ctx); err != nil {
		return nil, err
	}
	s := &Survey{}
	scheme, host := d.host()
	if scheme == "unix" {
		s.Docker.Socket = resolved(host)
	}
	var info infoJSON
	if err := d.get(ctx, "/info", &info); err != nil { // then what is in effect is unknown
		s.missed(inventory.PartDaemon, address, err)
	} else {
		info.tell(&s.Docker)
	}
	devices, err := d.devices(ctx)
	if err != nil { // one of a driver may not answer
		s.missed(inventory.PartContainers, address, fmt.Errorf("which directories of the host are volumes: %w", err))
	}
	if err := s.containers(ctx, d, devices); err != nil {
		s.missed(inventory.PartContainers, address, err)
	}
	return s, nil
}

func (s *Survey) missed(what inventory.Part, from string, err error) {
	s.Unread = append(s.Unread, inventory.Unread{What: what, From: from, Why: err.Error()})
}

// infoJSON is what we read of GET /info.
type infoJSON struct {
	ServerVersion      string
	SecurityOptions    []string
	LiveRestoreEnabled bool
	Plugins            struct{ Authorization []string }
	Swarm              struct{ LocalNodeState string }
	Containerd         struct{ Address string }
}

// tell fills in what the daemon says is in effect.
func (i *infoJSON) tell(d *inventory.Docker) {
	d.Version = i.ServerVersion
	d.AuthzPlugins = i.Plugins.Authorization
	d.LiveRestore = inventory.AnswerOf(i.LiveRestoreEnabled)
	d.Swarm = inventory.AnswerOf(i.Swarm.LocalNodeState != "" && i.Swarm.LocalNodeState != "inactive")
	d.Containerd = i.Containerd.Address
	d.Seccomp = "none"
	d.UserNS, d.Rootless, d.AppArmor, d.SELinux = inventory.No, inventory.No, inventory.No, inventory.No
	if saysNoNewPrivs(i.ServerVersion) {
		d.NoNewPrivs = inventory.No
	}
	for _, o := range i.SecurityOptions { // "name=seccomp,profile=builtin"
		name, rest, _ := strings.Cut(strings.TrimPrefix(o, "name="), ",")
		switch name {
		case "seccomp":
			d.Seccomp = strings.TrimPrefix(rest, "profile=")
		case "apparmor":
			d.AppArmor = inventory.Yes
		case "selinux":
			d.SELinux = inventory.Yes
		case "userns":
			d.UserNS = inventory.Yes
		case "rootless":
			d.Rootless = inventory.Yes
		case "no-new-privileges":
			d.NoNewPrivs = inventory.Yes
		}
	}
}

// saysNoNewPrivs reports whether a daemon of that version surely names
// no-new-privileges where it is in effect: older ones have it and do not say so.
func saysNoNewPrivs(version string) bool {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	return err == nil && n >= 24
}

// devices returns the directories of the host that are volumes, by the volumes' names.
func (d *daemon) devices(ctx context.Context) (map[string]string, error) {
	var volumes struct {
		Volumes []struct {
			Name    string
			Options map[string]string
		}
	}
	if err := d.get(ctx, "/volumes", &volumes); err != nil {
		return nil, err
	}
	devices := map[string]string{}
	for _, v := range volumes.Volumes {
		if device := v.Options["device"]; strings.HasPrefix(device, "/") {
			devices[v.Name] = device
		}
	}
	return devices, nil
}

// containers inspects what runs.
func (s *Survey) containers(ctx context.Context, d *daemon, devices map[string]string) error {
	ids, err := d.running(ctx)
	if err != nil {
		return err
	}
	answers, failed := make([]surveyJSON, len(ids)), make([]error, len(ids))
	var asking errgroup.Group
	asking.SetLimit(inspectors)
	for i, id := range ids {
		asking.Go(func() error {
			failed[i] = d.get(ctx, "/containers/"+id+"/json", &answers[i])
			return nil // one that does not answer is no reason to ask no other
		})
	}
	_ = asking.Wait()
	for i, id := range ids {
		switch err := failed[i]; {
		case errors.Is(err, errGone): // it has ended
		case err != nil:
			s.missed(inventory.PartContainers, "container "+id, err)
		default:
			s.Running = append(s.Running, answers[i].container(&s.Docker, devices))
		}
	}
	slices.SortFunc(s.Running, func(a, b inventory.DockerOrCRI) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// surveyJSON is what a survey reads of GET /containers/ID/json.
type surveyJSON struct {
	ID              string `json:"Id"`
	Name            string
	Image           string // its id
	AppArmorProfile string
	ProcessLabel    string
	Config          struct {
		Image string
		User  string
	}
	HostConfig struct {
		hostConfig
		CapDrop           words
		SecurityOpt       []string
		ReadonlyRootfs    bool
		DeviceCgroupRules []string
		ReadonlyPaths     []string
	}
	Mounts []struct {
		Type, Name, Source, Destination string
		RW                              bool
	}
}

// container returns what c says. Whether root in it is root on the host, and what it
// has by default, is the daemon's.
func (c *surveyJSON) container(d *inventory.Docker, devices map[string]string) inventory.DockerOrCRI {
	h := &c.HostConfig
	out := inventory.DockerOrCRI{
		ID: clip(c.ID, maxName), Engine: inventory.ServiceDocker,
		HostPID: h.PidMode == "host", HostIPC: h.IpcMode == "host", HostNetwork: h.NetworkMode == "host",
		Container: inventory.Container{
			Name: clip(strings.TrimPrefix(c.Name, "/"), maxName), Image: clip(c.Config.Image, maxName), ImageID: clip(c.Image, maxName), Privileged: h.Privileged,
			Escalation: not(d.NoNewPrivs), ReadOnlyRoot: h.ReadonlyRootfs, User: userOf(c.Config.User),
			Seccomp: d.Seccomp, AppArmor: c.AppArmorProfile, SELinux: c.ProcessLabel,
		},
	}
	switch d.UserNS {
	case inventory.Yes:
		out.HostUsers = inventory.AnswerOf(h.UsernsMode == "host")
	case inventory.No:
		out.HostUsers = not(d.Rootless) // all of a rootless engine is in a user namespace
	case inventory.Unknown:
	}
	for _, name := range h.CapAdd {
		out.AddCapabilities = append(out.AddCapabilities, capability(name))
	}
	for _, name := range h.CapDrop {
		if name = capability(name); name == "ALL" {
			out.DropAll = true
		} else {
			out.DropCapabilities = append(out.DropCapabilities, name)
		}
	}
	for _, v := range h.Devices {
		out.Devices = append(out.Devices, v.PathOnHost)
	}
	for _, r := range h.DeviceCgroupRules {
		out.Devices = append(out.Devices, "rule "+r)
	}
	c.confinement(&out.Container)
	out.ProcWritable = h.ReadonlyPaths != nil && len(h.ReadonlyPaths) == 0 // a privileged one has null
	c.mounts(&out, devices)
	return out
}

// confinement takes what was said of it at the container's start.
func (c *surveyJSON) confinement(to *inventory.Container) {
	for _, o := range c.HostConfig.SecurityOpt {
		name, value, _ := strings.Cut(strings.Replace(o, ":", "=", 1), "=")
		switch name {
		case "no-new-privileges":
			to.Escalation = inventory.AnswerOf(value == "false")
		case "seccomp":
			if to.Seccomp = value; strings.HasPrefix(value, "{") {
				to.Seccomp = "a profile of its own" // the client sends it whole
			}
		case "apparmor":
			to.AppArmor = value
		case "label":
			if value == "disable" {
				to.SELinux = value
			}
		}
	}
	if to.Privileged {
		to.Seccomp = "unconfined"
	}
}

func (c *surveyJSON) mounts(out *inventory.DockerOrCRI, devices map[string]string) {
	for _, m := range c.Mounts {
		source := m.Source
		if m.Type == "volume" {
			source = devices[m.Name] // others are a directory that Docker made
		}
		if source == "" || m.Type != "bind" && m.Type != "volume" {
			continue
		}
		out.Mounts = append(out.Mounts, inventory.HostPath{Container: out.Name, Path: source, Mount: m.Destination, ReadOnly: !m.RW})
	}
	slices.SortFunc(out.Mounts, func(a, b inventory.HostPath) int { return strings.Compare(a.Mount, b.Mount) })
}

func capability(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

func not(a inventory.Answer) inventory.Answer {
	switch a {
	case inventory.Yes:
		return inventory.No
	case inventory.No:
		return inventory.Yes
	case inventory.Unknown:
	}
	return inventory.Unknown
}

// userOf returns the uid that a container's processes have, nil when only its image
// knows. An image that names none means root.
func userOf(user string) *int64 {
	name, _, _ := strings.Cut(user, ":")
	if name == "" || name == "root" {
		return new(int64)
	}
	n, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// Owner returns the process of the daemon that listens on a unix socket.
func Owner(socket string) (int, error) {
	pid, err := listener(socket)
	if err != nil {
		return 0, fmt.Errorf("listener of %s: %w", socket, err)
	}
	return int(pid), nil
}
