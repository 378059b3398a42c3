package door

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/docker"
)

// libpodVersion is the version of Podman's own API that is asked for.
const libpodVersion = "/v4.0.0"

// specified says what a container will run that Podman's own API is asked for. What
// the request leaves to the image is read there.
func (p *Proxy) specified(ctx context.Context, a *asked, g *specGenerator) error {
	i, err := p.libpodImage(ctx, g)
	if err != nil {
		return err
	}
	s := &a.session
	env := slices.Concat(i.Config.Env, assigned(g.Env), g.EnvMerge)
	for name := range g.EnvSecrets {
		env = append(env, name+"=(a secret)")
	}
	s.Argv, s.ArgvSource, s.TTY, s.Stdin, s.User = g.argv(&i), "request", g.Terminal, &g.Stdin, g.User
	s.Privileged = g.Privileged
	s.Target = session.Target{
		ContainerName: g.Name, Image: cmp.Or(g.Image, g.Rootfs), ImageID: i.ID, Labels: labelsOf(g.Labels, i.Config.Labels), Runtime: g.OCIRuntime,
		HostAccess: &event.HostAccess{Privileged: g.Privileged, Capabilities: g.CapAdd},
	}
	checks := []*health{g.HealthConfig, g.StartupHealthConfig}
	if g.HealthConfig == nil || len(g.HealthConfig.Test) == 0 {
		checks = append(checks, &health{Test: i.HealthCheck.Test})
	}
	for _, c := range checks {
		if c == nil {
			continue
		}
		if check := podmanHealth(c.Test); check != nil {
			s.Carried = append(s.Carried, session.Carried{Place: session.PlaceHealthcheck, Argv: check})
		}
	}
	s.Carried = variables(s.Carried, env)
	s.Settings = &session.Settings{
		Dir: cmp.Or(g.WorkDir, i.Config.WorkingDir, "/"), Variables: event.VariableNames(env), Security: g.security(), Sysctls: assigned(g.Sysctl),
		CgroupParent: g.CgroupParent,
	}
	for name := range g.Annotations {
		if !harmlessAnnotations[name] {
			return misread(http.StatusBadRequest, fmt.Errorf("the body has the annotation %q, which the runtime may act upon", name))
		}
	}
	if err := p.shared(ctx, s, map[string]namespace{
		"pid": g.PidNS, "uts": g.UtsNS, "ipc": g.IpcNS, "user": g.UserNS, "network": g.NetNS,
	}); err != nil {
		return err
	}
	if err := p.given(ctx, s, g); err != nil {
		return err
	}
	s.Settings.Tidy()
	return p.inPod(ctx, s, g.Pod)
}

// harmlessAnnotations are those that clients of Podman set, and that are but shown.
var harmlessAnnotations = map[string]bool{
	"io.kubernetes.cri-o.TTY": true, "io.podman.annotations.apparmor": true, "io.podman.annotations.cid-file": true,
	"io.podman.annotations.label": true, "io.podman.annotations.seccomp": true,
}

// libpodImage is the image of a container; none of one that has another's root file
// system.
func (p *Proxy) libpodImage(ctx context.Context, g *specGenerator) (image, error) {
	if g.Image == "" {
		return image{}, nil
	}
	return p.daemon.imageAt(ctx, libpodVersion+libpod, g.Image)
}

// argv is what a container executes, as Podman puts it together (podman,
// pkg/specgen/generate, makeCommand).
func (g *specGenerator) argv(i *image) []string {
	entrypoint, cmd := g.Entrypoint, g.Command
	if entrypoint == nil {
		entrypoint = i.Config.Entrypoint
	}
	if len(entrypoint) == 1 && entrypoint[0] == "" {
		entrypoint = nil
	}
	if len(cmd) == 0 && len(g.Entrypoint) == 0 {
		cmd = i.Config.Cmd
	}
	return append(entrypoint[:len(entrypoint):len(entrypoint)], cmd...)
}

// security returns what Docker has as security options, and takes of others.
func (g *specGenerator) security() []string {
	var out []string
	add := func(name string, values ...string) {
		for _, v := range values {
			if v != "" {
				out = append(out, docker.SecurityOption(name+"="+v))
			}
		}
	}
	add("seccomp", g.SeccompProfilePath)
	if g.SeccompPolicy != "default" {
		add("seccomp-policy", g.SeccompPolicy)
	}
	add("apparmor", g.ApparmorProfile)
	add("label", g.SelinuxOpts...)
	add("proc-opts", g.ProcOpts...)
	add("mask", g.Mask...)
	add("unmask", g.Unmask...)
	if len(g.Unmask) > 0 {
		add("systempaths", "unconfined")
	}
	if g.CgroupsMode != "enabled" {
		add("cgroups", g.CgroupsMode) // without them no rule about devices holds
	}
	if g.NoNewPrivileges {
		add("no-new-privileges", "true")
	}
	return out
}

// assigned returns NAME=VALUE, in order.
func assigned(values map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, name+"="+values[name])
	}
	return out
}

// shared says which namespaces are the host's, or another container's. One that is
// named by its path may be the host's.
func (p *Proxy) shared(ctx context.Context, s *session.Session, all map[string]namespace) error {
	for what, ns := range all {
		switch ns.Mode {
		case "host", "path":
			s.Target.HostAccess.Namespaces = append(s.Target.HostAccess.Namespaces, what)
		case "container":
			id, err := p.daemon.fullID(ctx, ns.Value)
			if err != nil {
				return err
			}
			s.Settings.Joined = append(s.Settings.Joined, what+":"+id)
		}
	}
	return nil
}

// given adds what of the host a container is given besides namespaces.
func (p *Proxy) given(ctx context.Context, s *session.Session, g *specGenerator) error {
	access := s.Target.HostAccess
	for _, d := range g.Devices {
		host, _, _ := strings.Cut(d.Path, ":")
		access.Devices = append(access.Devices, host)
	}
	rules := g.DeviceCgroupRule
	if g.ResourceLimits != nil {
		rules = slices.Concat(rules, g.ResourceLimits.Devices)
	}
	s.Settings.DeviceRules = ruleTexts(rules)
	paths := []string{g.Rootfs, g.LogConfiguration.Path, g.LogConfiguration.Options["path"], g.OCIRuntime}
	if strings.HasPrefix(g.HealthLogDestination, "/") {
		paths = append(paths, g.HealthLogDestination)
	}
	if g.Rootfs != "" && !strings.HasPrefix(g.Rootfs, "/") {
		return misread(http.StatusBadRequest, relative(g.Rootfs))
	}
	p.paths(access, paths...)
	return p.mounted(ctx, s, &g.mountsOf)
}

func relative(path string) error {
	return fmt.Errorf("which directory %q is depends on where the daemon runs", path)
}

// ruleTexts returns rules of the device cgroup as Docker writes them.
func ruleTexts(rules []deviceRule) []string {
	var out []string
	number := func(n *int64) string {
		if n == nil || *n < 0 {
			return "*"
		}
		return fmt.Sprint(*n)
	}
	for _, r := range rules {
		if r.Allow {
			out = append(out, fmt.Sprintf("%s %s:%s %s", cmp.Or(r.Type, "a"), number(r.Major), number(r.Minor), r.Access))
		}
	}
	return out
}

// mounted adds what of the host is mounted, and whose volumes.
func (p *Proxy) mounted(ctx context.Context, s *session.Session, m *mountsOf) error {
	access := s.Target.HostAccess
	for _, one := range m.Mounts {
		if err := one.odd(); err != nil {
			return misread(http.StatusBadRequest, err)
		}
		p.paths(access, one.Source)
	}
	for _, o := range m.OverlayVolumes {
		if !strings.HasPrefix(o.Source, "/") {
			return misread(http.StatusBadRequest, relative(o.Source))
		}
		p.paths(access, append(layers(o.Options), o.Source)...)
	}
	var named []string
	for _, v := range m.Volumes {
		if strings.HasPrefix(v.Name, "/") || strings.HasPrefix(v.Name, ".") {
			return misread(http.StatusBadRequest, relative(v.Name))
		}
		p.paths(access, layers(v.Options)...)
		if v.Name != "" {
			named = append(named, v.Name)
		}
	}
	if err := p.devices(ctx, access, named); err != nil {
		return err
	}
	for _, from := range m.VolumesFrom {
		ref, _, _ := strings.Cut(from, ":")
		c, err := p.container(ctx, ref)
		if err != nil {
			return err
		}
		p.paths(access, c.HostAccess.Paths...)
		s.Settings.Joined = append(s.Settings.Joined, "volumes:"+string(c.ID))
	}
	access.Tidy()
	p.follow(access)
	return nil
}

// odd says why it is not known what of the host a mount gives: runtimes take others
// than binds for binds when their options say so.
func (m *ociMount) odd() error {
	bind := slices.ContainsFunc(m.Options, func(o string) bool { return strings.TrimPrefix(o, "r") == "bind" })
	switch m.Type {
	case "bind":
		if !strings.HasPrefix(m.Source, "/") {
			return relative(m.Source)
		}
		return nil
	case "tmpfs", "devpts", "mqueue":
		if !bind {
			return nil
		}
	}
	return fmt.Errorf("what a mount of type %q gives is not known", m.Type)
}

// layers are the directories that an overlay writes to.
func layers(options []string) []string {
	var out []string
	for _, list := range options {
		for o := range strings.SplitSeq(list, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(o), "=")
			if name == "upperdir" || name == "workdir" {
				out = append(out, value)
			}
		}
	}
	return out
}

// inPod adds what a container has in common with the first one of its pod.
func (p *Proxy) inPod(ctx context.Context, s *session.Session, pod string) error {
	if pod == "" {
		return nil
	}
	if !isRef(pod) {
		return misread(http.StatusBadRequest, fmt.Errorf("%q names no pod", pod))
	}
	body, err := p.daemon.get(ctx, libpodVersion+libpod+"/pods/"+url.PathEscape(pod)+"/json")
	if err != nil {
		return err
	}
	var v struct {
		ID               string `json:"Id"`
		InfraContainerID string
	}
	if err := json.Unmarshal(body, &v); err != nil || v.ID == "" {
		return fmt.Errorf("inspect of pod %q: %w", pod, cmp.Or(err, errNoID))
	}
	s.Settings.Joined = append(s.Settings.Joined, "pod:"+v.ID)
	s.Settings.Tidy()
	if v.InfraContainerID == "" {
		return nil
	}
	c, err := p.container(ctx, v.InfraContainerID)
	if err != nil {
		return err
	}
	s.Target.HostAccess = s.Target.HostAccess.With(c.HostAccess)
	return nil
}

var errNoID = errors.New("it has no id")

// pod says what the first container of a new pod will run and is given.
func (p *Proxy) pod(ctx context.Context, a *asked, g *podSpecGenerator) error {
	s := &a.session
	s.Path = a.path + "/" + g.Name
	s.Target = session.Target{ContainerName: g.Name, Image: g.InfraImage, Labels: g.Labels, HostAccess: &event.HostAccess{}}
	s.Settings = &session.Settings{Sysctls: assigned(g.Sysctl), CgroupParent: g.CgroupParent}
	for _, o := range g.SecurityOpt {
		s.Settings.Security = append(s.Settings.Security, docker.SecurityOption(o))
	}
	if g.ResourceLimits != nil {
		s.Settings.DeviceRules = ruleTexts(g.ResourceLimits.Devices)
	}
	argv := g.InfraCommand
	if len(argv) == 0 && g.InfraImage != "" && !g.NoInfra {
		i, err := p.daemon.imageAt(ctx, libpodVersion+libpod, g.InfraImage)
		if err != nil {
			return err
		}
		argv = (&specGenerator{}).argv(&i)
		s.Carried = variables(s.Carried, i.Config.Env)
	}
	if len(argv) > 0 {
		s.Carried = append(s.Carried, session.Carried{Place: session.PlaceCommand, Argv: argv})
	}
	for _, d := range g.Devices {
		host, _, _ := strings.Cut(d, ":")
		s.Target.HostAccess.Devices = append(s.Target.HostAccess.Devices, host)
	}
	if err := p.shared(ctx, s, map[string]namespace{
		"pid": g.PidNS, "uts": g.UtsNS, "ipc": g.IpcNS, "user": g.UserNS, "network": g.NetNS,
	}); err != nil {
		return err
	}
	if err := p.mounted(ctx, s, &g.mountsOf); err != nil {
		return err
	}
	s.Settings.Tidy()
	return nil
}
