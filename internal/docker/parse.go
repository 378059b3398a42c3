package docker

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	mounts "github.com/moby/moby/api/types/mount"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Container is what an inspect says of a container. Other than an observation it
// has all of its labels.
type Container struct {
	event.DockerContainer
	// Ran says that it was started before.
	Ran bool
	// Volumes are the names of those that it mounts.
	Volumes []string
	// HealthTest is its health check as it is configured: keyword and words.
	HealthTest []string
	// Dir is its working directory, Env its variables, NAME=VALUE.
	Dir string
	Env []string
	Confinement
}

// ParseContainer reads the answer to GET /containers/ID/json, given at that time.
func ParseContainer(body []byte, at time.Time) (Container, error) {
	var c containerJSON
	if err := json.Unmarshal(body, &c); err != nil {
		return Container{}, fmt.Errorf("docker: inspect of a container: %w", err)
	}
	if c.ID == "" {
		return Container{}, fmt.Errorf("docker: inspect of a container: it has no id")
	}
	o := c.observation(at)
	o.Labels = c.Config.Labels
	out := Container{DockerContainer: o, Ran: !moment(c.State.StartedAt).IsZero(), Dir: c.Config.WorkingDir, Env: c.Config.Env}
	if h := c.Config.Healthcheck; h != nil {
		out.HealthTest = h.Test
	}
	h, f := &c.HostConfig.hostConfig, &c.HostConfig.confinement
	out.Confinement = Confinement{
		NetworkMode: h.NetworkMode, PidMode: h.PidMode, IpcMode: h.IpcMode, Privileged: h.Privileged, confinement: *f,
	}
	for _, m := range c.Mounts {
		if m.Type == "volume" && m.Name != "" {
			out.Volumes = append(out.Volumes, m.Name)
		}
	}
	return out, nil
}

// ParseExec reads the answer to GET /exec/ID/json, given at that time.
func ParseExec(body []byte, at time.Time) (event.DockerExec, error) {
	var e execJSON
	if err := json.Unmarshal(body, &e); err != nil {
		return event.DockerExec{}, fmt.Errorf("docker: inspect of an exec: %w", err)
	}
	if e.ID == "" || e.ContainerID == "" {
		return event.DockerExec{}, fmt.Errorf("docker: inspect of an exec: it has no id")
	}
	return e.observation(at), nil
}

// AccessOf returns what of the host a container with that configuration is given.
// Of a volume that was made beforehand, and of other containers' volumes, nobody
// says here where they lie.
func AccessOf(c *container.HostConfig) *event.HostAccess {
	if c == nil {
		c = &container.HostConfig{}
	}
	h := hostConfig{
		Privileged: c.Privileged, NetworkMode: string(c.NetworkMode), PidMode: string(c.PidMode), IpcMode: string(c.IpcMode),
		UTSMode: string(c.UTSMode), UsernsMode: string(c.UsernsMode), CapAdd: c.CapAdd, Binds: c.Binds, Mounts: mountsOf(c.Mounts),
	}
	for _, d := range c.Devices {
		h.Devices = append(h.Devices, struct{ PathOnHost string }{d.PathOnHost})
	}
	return h.access(nil)
}

// ConfinementOf returns how a container with that configuration is confined.
func ConfinementOf(c *container.HostConfig) *Confinement {
	if c == nil {
		c = &container.HostConfig{}
	}
	return &Confinement{
		NetworkMode: string(c.NetworkMode), PidMode: string(c.PidMode), IpcMode: string(c.IpcMode), Privileged: c.Privileged,
		confinement: confinement{
			VolumesFrom: c.VolumesFrom, SecurityOpt: c.SecurityOpt, Sysctls: c.Sysctls, DeviceCgroupRules: c.DeviceCgroupRules,
			CgroupParent: c.CgroupParent, MaskedPaths: c.MaskedPaths, ReadonlyPaths: c.ReadonlyPaths,
		},
	}
}

// MountAccess returns what of the host mounts and capabilities give: those of a
// service's containers.
func MountAccess(list []mounts.Mount, capabilities []string) *event.HostAccess {
	h := hostConfig{Mounts: mountsOf(list), CapAdd: capabilities}
	return h.access(nil)
}

func mountsOf(list []mounts.Mount) []mount {
	var out []mount
	for _, m := range list {
		// Both forms are the API's JSON: what one type has, the other reads.
		var one mount
		if b, err := json.Marshal(m); err == nil && json.Unmarshal(b, &one) == nil {
			out = append(out, one)
		}
	}
	return out
}
