package docker

import (
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Bounds on what is kept of a container, in bytes. An argument list that is
// longer is absent, not cut: part of a command is another command. The kernel
// executes none longer than maxArgv with its default stack limit.
const (
	maxArgv       = 2 << 20
	maxName       = 1 << 10
	maxLabel      = 4 << 10 // one label, key and value
	maxLabelBytes = 64 << 10
)

// containerJSON is what we read of GET /containers/ID/json.
type containerJSON struct {
	ID      string `json:"Id"`
	Name    string
	Created string
	Path    string
	Args    []string
	Image   string
	State   struct {
		Running   bool
		Pid       uint32
		StartedAt string
	}
	Config struct {
		Image       string
		Tty         bool
		OpenStdin   *bool
		Labels      map[string]string
		Shell       []string
		Env         []string
		WorkingDir  string
		Healthcheck *struct {
			Test     []string
			Interval int64
		}
	}
	HostConfig struct {
		hostConfig
		confinement
		Runtime       string
		RestartPolicy struct{ Name string }
	}
	Mounts  []mount // what became of binds, also those taken from other containers
	partial bool    // of some of them it is not known where they lie
	ExecIDs []string
}

// observation returns what c says of the container at the time at.
func (c *containerJSON) observation(at time.Time) event.DockerContainer {
	o := event.DockerContainer{
		Header:  header(at),
		ID:      event.ContainerID(clip(c.ID, maxName)),
		Name:    clip(strings.TrimPrefix(c.Name, "/"), maxName),
		Image:   clip(c.Config.Image, maxName),
		ImageID: clip(c.Image, maxName),
		Runtime: clip(c.HostConfig.Runtime, maxName),
		Created: moment(c.Created),
		Argv:    argv(append([]string{c.Path}, c.Args...)),
		TTY:     c.Config.Tty,
		Stdin:   c.Config.OpenStdin,
		Labels:  labels(c.Config.Labels),
		Health:  c.healthcheck(),

		HostAccess: c.HostConfig.access(c.Mounts),
	}
	o.HostAccess.Partial = c.partial
	for _, v := range c.Config.Env {
		name, value, _ := strings.Cut(v, "=")
		o.Variables = event.AppendVariable(o.Variables, name, value)
	}
	switch c.HostConfig.RestartPolicy.Name {
	case "always", "unless-stopped", "on-failure":
		o.AutoRestart = true
	}
	if c.State.Running {
		o.InitPID, o.StartedAt = c.State.Pid, moment(c.State.StartedAt)
	}
	return o
}

func (c *containerJSON) healthcheck() *event.Healthcheck {
	h := c.Config.Healthcheck
	if h == nil {
		return nil
	}
	check := HealthArgv(h.Test, c.Config.Shell)
	if check == nil {
		return nil
	}
	interval := time.Duration(h.Interval)
	if interval == 0 {
		interval = 30 * time.Second
	}
	return &event.Healthcheck{Argv: argv(check), Interval: event.Duration(interval)}
}

// HealthArgv returns the command of a health check as the daemon executes it
// (moby, daemon/health.go): CMD-SHELL runs by the container's shell; anything but
// CMD and CMD-SHELL runs nothing.
func HealthArgv(test, shell []string) []string {
	if len(test) < 2 {
		return nil
	}
	switch test[0] {
	case "CMD":
		return test[1:]
	case "CMD-SHELL":
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return append(shell[:len(shell):len(shell)], test[1:]...)
	}
	return nil
}

// execJSON is what we read of GET /exec/ID/json.
type execJSON struct {
	ID            string
	ContainerID   string
	Running       bool
	ExitCode      *int
	Pid           uint32
	OpenStdin     *bool
	ProcessConfig struct {
		Tty        bool
		Entrypoint string
		Arguments  []string
		Privileged bool
		User       string
	}
}

func (e *execJSON) observation(at time.Time) event.DockerExec {
	o := event.DockerExec{
		Header:     header(at),
		ID:         event.ExecID(clip(e.ID, maxName)),
		Container:  event.ContainerID(clip(e.ContainerID, maxName)),
		Argv:       argv(append([]string{e.ProcessConfig.Entrypoint}, e.ProcessConfig.Arguments...)),
		TTY:        e.ProcessConfig.Tty,
		Stdin:      e.OpenStdin,
		User:       clip(e.ProcessConfig.User, maxName),
		Privileged: e.ProcessConfig.Privileged,
		Running:    e.Running,
		ExitCode:   e.ExitCode,
	}
	if e.Running {
		o.PID = e.Pid
	}
	return o
}

// argv returns args when they are within bounds.
func argv(args []string) []string {
	n := 0
	for _, a := range args {
		n += len(a) + 1
	}
	if n > maxArgv || n == len(args) { // too long, or nothing but empty strings
		return nil
	}
	return args
}

// labels returns those of all that fit the bounds; which ones, when not all do,
// is not defined.
func labels(all map[string]string) map[string]string {
	n := 0
	kept := make(map[string]string, min(len(all), 64))
	for k, v := range all {
		size := len(k) + len(v)
		if size > maxLabel || n+size > maxLabelBytes {
			continue
		}
		n += size
		kept[k] = v
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// moment parses a time of Docker's; what is none, or year 1, is absent.
func moment(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t.UTC()
}

func header(at time.Time) event.Header {
	return event.Header{Time: at.UTC(), Witness: event.WitnessDocker}
}
