package door

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/volume"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/docker"
)

// asked is a request as it is judged, and as it is forwarded.
type asked struct {
	route
	place
	name    string // by which the daemon is asked
	asName  string // as the client wrote it
	query   url.Values
	session session.Session
	// json is the body in its one form; absent where the body passes as it comes,
	// or is left out (route.empty).
	json  []byte
	typed any // what json is, by the daemon's type
	// came is what was read of the body, as it came.
	came []byte
}

// Misread says why a request is refused that may have several readings, or none.
type Misread struct {
	Status int // of HTTP
	Err    error
}

// Error implements error.
func (m *Misread) Error() string { return m.Err.Error() }

// Unwrap implements what errors.Is and errors.As need.
func (m *Misread) Unwrap() error { return m.Err }

func misread(status int, err error) error {
	if err == nil {
		return nil
	}
	return &Misread{status, err}
}

// ask reads a request. The error is a *Misread, an *answer of the daemon that is
// the client's, or says that the daemon cannot be asked. What is known of the
// request is returned with it.
func (p *Proxy) ask(r *http.Request, who *client) (*asked, error) {
	a := &asked{session: session.Session{
		ID: newID(), State: session.StateRunning, Started: time.Now().UTC(), Actor: p.actor(r, who),
		Attribution: session.Attribution{Level: session.LevelExact, Via: []string{"guard"}},
	}}
	var err error
	a.route, a.place, a.asName, a.query, err = read(r)
	a.name = a.asName
	s := &a.session
	s.Kind, s.Channel = a.kind, a.channel
	if s.Kind == session.KindRequest || s.Kind == session.KindChange {
		s.Path = a.path
	}
	if s.Channel == event.ChannelUnknown {
		s.Verb = strings.ToLower(r.Method)
	}
	if err != nil {
		return a, misread(http.StatusBadRequest, err)
	}
	if err := heads(r); err != nil {
		return a, misread(http.StatusBadRequest, err)
	}
	if err := a.readBody(r); err != nil {
		return a, err
	}
	return a, p.describe(r.Context(), a)
}

func newID() session.ID {
	return session.ID(strings.ToLower(rand.Text()[:16]))
}

// heads refuses header fields of which it depends on the reader what they say,
// and bodies that the daemon reads as if they were part of the query.
func heads(r *http.Request) error {
	for _, h := range []string{"Content-Type", "Upgrade", "Content-Encoding", "X-Http-Method-Override"} {
		if len(r.Header[h]) > 1 {
			return fmt.Errorf("%s is there %d times", h, len(r.Header[h]))
		}
	}
	if r.Header.Get("X-Http-Method-Override") != "" {
		return fmt.Errorf("a method that stands in a header is not understood")
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data" {
		return fmt.Errorf("a form (Content-Type %s) is not understood", kind)
	}
	if err != nil && r.Header.Get("Content-Type") != "" && strings.Contains(strings.ToLower(r.Header.Get("Content-Type")), "form") {
		return fmt.Errorf("Content-Type %q: %w", r.Header.Get("Content-Type"), err)
	}
	return nil
}

// readBody reads the body where it says what is asked for.
func (a *asked) readBody(r *http.Request) error {
	if a.body == nil && !a.empty {
		return nil
	}
	if r.ContentLength > bodyMax {
		return misread(http.StatusRequestEntityTooLarge, fmt.Errorf("the body is longer than %d bytes", bodyMax))
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax+1))
	a.came = body
	switch {
	case err != nil:
		return misread(http.StatusBadRequest, fmt.Errorf("the body: %w", err))
	case len(body) > bodyMax:
		return misread(http.StatusRequestEntityTooLarge, fmt.Errorf("the body is longer than %d bytes", bodyMax))
	case a.empty:
		if v := strings.TrimSpace(string(body)); v != "" && v != "{}" && v != "null" {
			return misread(http.StatusBadRequest, fmt.Errorf("%s takes no body", a.path))
		}
		return nil
	}
	optional := a.body == commit
	if len(body) == 0 && optional {
		body = []byte("{}")
	} else if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); (err != nil || kind != "application/json") && !a.untyped(r) {
		return misread(http.StatusBadRequest, fmt.Errorf("Content-Type %q: it must be application/json", r.Header.Get("Content-Type")))
	}
	a.typed, a.json, err = a.body.normalize(body)
	return misread(http.StatusBadRequest, err)
}

// untyped reports whether a body need not say what it is: Podman's own clients do not.
func (a *asked) untyped(r *http.Request) bool {
	return a.isLibpod() && len(r.Header["Content-Type"]) == 0
}

// starts reports whether the request starts a container, or makes it ready for that.
func (a *asked) starts() bool { return a.op == event.OpContainerStart || a.after == "/init" }

// describe fills in what is asked for, and of which container.
func (p *Proxy) describe(ctx context.Context, a *asked) error {
	s := &a.session
	switch a.names {
	case anExec:
		if a.op == event.OpExecStart {
			return p.execStart(ctx, a)
		}
		return nil
	case aContainer:
		if a.channel == event.ChannelDockerRead {
			return nil
		}
		c, err := p.target(ctx, a, a.name)
		if err != nil {
			return err
		}
		a.name = string(c.ID)
		a.about(c)
		if p.daemon.podman.Load() {
			a.aboutPodman(c)
		}
		if a.starts() {
			// They may be others than when it was asked for.
			if s.Settings, err = c.Settings(ctx, c.Dir, c.Env, p.daemon.fullID); err != nil {
				return err
			}
			if p.daemon.podman.Load() {
				if err := p.follows(ctx, s); err != nil {
					return err
				}
			}
		}
		if body, ok := a.typed.(*container.ExecCreateRequest); ok {
			s.Settings = &session.Settings{Dir: cmp.Or(body.WorkingDir, c.Dir, "/"), Variables: event.VariableNames(body.Env)}
			s.Settings.Tidy()
		}
	default:
	}
	switch body := a.typed.(type) {
	case *container.CreateRequest:
		return p.create(ctx, a, body)
	case *container.ExecCreateRequest:
		s.Argv, s.ArgvSource, s.TTY, s.Stdin = body.Cmd, "request", body.Tty, &body.AttachStdin
		s.User, s.Privileged = body.User, body.Privileged
		if s.Privileged {
			s.Channel = event.ChannelDockerExecPriv
		}
		s.Carried = variables(nil, body.Env)
	case *container.UpdateConfig:
		s.Settings = &session.Settings{}
	case *container.Config:
		return p.commit(ctx, a, body)
	case *volume.CreateRequest:
		s.Path, s.Target.HostAccess, s.Settings = a.path+"/"+body.Name, &event.HostAccess{}, &session.Settings{}
		p.paths(s.Target.HostAccess, body.DriverOpts["device"])
	case *swarm.ServiceSpec:
		a.service(body)
	case *specGenerator:
		return p.specified(ctx, a, body)
	case *podSpecGenerator:
		return p.pod(ctx, a, body)
	case *volumeCreate:
		s.Path, s.Target.HostAccess, s.Settings = a.path+"/"+body.Name, &event.HostAccess{}, &session.Settings{}
		p.paths(s.Target.HostAccess, body.Options["device"])
	case *linuxResources:
		s.Settings = &session.Settings{DeviceRules: ruleTexts(body.Devices)}
	}
	if a.channel == event.ChannelDockerCommit && a.body == nil {
		return p.commit(ctx, a, &container.Config{})
	}
	if a.op == event.OpOther && a.body == nil {
		a.other()
	}
	return nil
}

// target resolves a name by asking the daemon.
func (p *Proxy) target(ctx context.Context, a *asked, ref string) (docker.Container, error) {
	c, err := p.container(ctx, ref)
	if err != nil {
		return c, err
	}
	a.session.Target = session.Target{
		ContainerID: c.ID, ContainerName: c.Name, Image: c.Image, ImageID: c.ImageID, Runtime: c.Runtime, Labels: c.Labels,
		HostAccess: c.HostAccess,
	}
	return c, nil
}

// container asks the daemon for a container, and which directories of the host its
// volumes are.
func (p *Proxy) container(ctx context.Context, ref string) (docker.Container, error) {
	c, err := p.daemon.container(ctx, ref)
	if err != nil {
		return c, err
	}
	p.follow(c.HostAccess)
	return c, p.devices(ctx, c.HostAccess, c.Volumes)
}

// about fills in what the container itself says of a request.
func (a *asked) about(c docker.Container) {
	s := &a.session
	switch {
	case a.starts():
		s.Argv, s.ArgvSource, s.TTY, s.Stdin = c.Argv, "inspect", c.TTY, c.Stdin
		if !c.Ran {
			s.Channel = event.ChannelDockerRun
		}
		if a.query.Get("checkpoint") != "" {
			s.Channel = event.ChannelDockerCkpt
		}
		if c.Health != nil {
			s.Carried = append(s.Carried, session.Carried{Place: session.PlaceHealthcheck, Argv: c.Health.Argv})
		}
		for _, v := range c.Variables {
			s.Carried = append(s.Carried, session.CarriedVariable(v))
		}
	case a.op == event.OpAttach:
		// By WebSocket standard input is joined whatever is asked for.
		stdin := a.channel == event.ChannelDockerAttachWS || docker.Truth(a.query.Get("stdin"))
		s.Stdin, s.TTY = &stdin, c.TTY
	case a.kind == session.KindCopy:
		s.Direction, s.Path = "out", path.Clean("/"+a.query.Get("path"))
		if a.op == event.OpCopyIn {
			s.Direction = "in"
		}
	}
}

// aboutPodman fills in what of a container Podman reads otherwise.
func (a *asked) aboutPodman(c docker.Container) {
	s := &a.session
	check := podmanHealth(c.HealthTest)
	switch {
	case check == nil:
	case a.kind == session.KindHealthcheck:
		s.Argv, s.ArgvSource = check, "inspect"
	case a.starts() && c.Health == nil:
		s.Carried = append(s.Carried, session.Carried{Place: session.PlaceHealthcheck, Argv: check})
	}
}

// execStart says what the exec is that is to be started, as the daemon has it.
func (p *Proxy) execStart(ctx context.Context, a *asked) error {
	x, err := p.daemon.exec(ctx, a.name)
	if err != nil {
		return err
	}
	if _, err := p.target(ctx, a, string(x.Container)); err != nil {
		return err
	}
	a.name = string(x.ID)
	s := &a.session
	s.ExecID, s.Argv, s.ArgvSource, s.TTY, s.Stdin = x.ID, x.Argv, "inspect", x.TTY, x.Stdin
	s.User, s.Privileged = x.User, x.Privileged
	if s.Privileged {
		s.Channel = event.ChannelDockerExecPriv
	}
	if start, ok := a.typed.(*container.ExecStartRequest); ok && p.daemon.podman.Load() {
		start.Tty = x.TTY // Podman goes by the exec, whatever the request says
	}
	return nil
}

// create says what a new container will run. What the request leaves to the image
// is read there.
func (p *Proxy) create(ctx context.Context, a *asked, body *container.CreateRequest) error {
	if body.Config == nil {
		body.Config = &container.Config{}
	}
	c, s := body.Config, &a.session
	i, err := p.daemon.image(ctx, c.Image)
	if err != nil {
		return err
	}
	podman := p.daemon.podman.Load()
	s.Argv, s.ArgvSource, s.TTY, s.Stdin, s.User = argvOf(c, &i, podman), "request", c.Tty, &c.OpenStdin, c.User
	s.Target = session.Target{
		ContainerName: a.query.Get("name"), Image: c.Image, ImageID: i.ID, Labels: labelsOf(c.Labels, i.Config.Labels),
		HostAccess: docker.AccessOf(body.HostConfig),
	}
	if podman {
		if err := p.asPodman(s, body); err != nil {
			return misread(http.StatusBadRequest, fmt.Errorf("Podman reads it otherwise: %w", err))
		}
	}
	shell := c.Shell
	if podman {
		shell = nil
	} else if shell == nil {
		shell = i.Config.Shell
	}
	var check []string
	switch {
	case c.Healthcheck != nil && len(c.Healthcheck.Test) > 0:
		check = docker.HealthArgv(c.Healthcheck.Test, shell)
		if podman {
			check = podmanHealth(composed(c.Healthcheck.Test))
		}
	case i.Config.Healthcheck != nil:
		check = docker.HealthArgv(i.Config.Healthcheck.Test, shell)
	}
	if check != nil {
		s.Carried = append(s.Carried, session.Carried{Place: session.PlaceHealthcheck, Argv: check})
	}
	env := append(i.Config.Env[:len(i.Config.Env):len(i.Config.Env)], c.Env...)
	s.Carried = variables(s.Carried, env)
	if s.Settings, err = docker.ConfinementOf(body.HostConfig).Settings(ctx, cmp.Or(c.WorkingDir, i.Config.WorkingDir), env, p.daemon.fullID); err != nil {
		return err
	}
	if h := body.HostConfig; h != nil {
		s.Privileged, s.Target.Runtime = h.Privileged, h.Runtime
		return p.volumes(ctx, s.Target.HostAccess, h)
	}
	return nil
}

// volumes adds the host's directories that volumes are, and those that other
// containers hand on.
func (p *Proxy) volumes(ctx context.Context, access *event.HostAccess, h *container.HostConfig) error {
	var named []string
	for _, b := range h.Binds {
		if source, _, ok := strings.Cut(b, ":"); ok && !strings.HasPrefix(source, "/") {
			named = append(named, source)
		}
	}
	for _, m := range h.Mounts {
		if m.Type == "volume" && m.Source != "" {
			named = append(named, m.Source)
		}
	}
	if err := p.devices(ctx, access, named); err != nil {
		return err
	}
	for _, from := range h.VolumesFrom {
		ref, _, _ := strings.Cut(from, ":")
		c, err := p.container(ctx, ref)
		if err != nil {
			return err
		}
		p.paths(access, c.HostAccess.Paths...)
	}
	p.follow(access)
	return nil
}

// devices adds the host's directories that volumes are.
func (p *Proxy) devices(ctx context.Context, access *event.HostAccess, volumes []string) error {
	for _, v := range volumes {
		device, err := p.daemon.device(ctx, v)
		if err != nil {
			return err
		}
		p.paths(access, device)
	}
	return nil
}

// paths adds paths of the host, and where they lead.
func (p *Proxy) paths(access *event.HostAccess, list ...string) {
	for _, l := range list {
		if strings.HasPrefix(l, "/") {
			access.Paths = append(access.Paths, l)
		}
	}
	access.Tidy()
	p.follow(access)
}

// follow adds where symbolic links lead.
func (p *Proxy) follow(access *event.HostAccess) {
	if p.opt.Real == nil || access == nil {
		return
	}
	for _, l := range access.Paths {
		if real := p.opt.Real(l); real != "" && real != l {
			access.Paths = append(access.Paths, real)
		}
	}
	access.Tidy()
}

// argvOf returns what a container executes, as the daemon puts it together. For
// Podman an empty entrypoint is none.
func argvOf(c *container.Config, i *image, podman bool) []string {
	entrypoint, cmd := c.Entrypoint, c.Cmd
	if podman && len(entrypoint) == 0 {
		entrypoint = nil
	}
	if len(entrypoint) == 0 {
		if len(cmd) == 0 {
			cmd = i.Config.Cmd
		}
		if entrypoint == nil {
			entrypoint = i.Config.Entrypoint
		}
	}
	if len(entrypoint) == 1 && entrypoint[0] == "" {
		entrypoint = nil
	}
	return append(entrypoint[:len(entrypoint):len(entrypoint)], cmd...)
}

func labelsOf(own, image map[string]string) map[string]string {
	out := make(map[string]string, len(own)+len(image))
	for k, v := range image {
		out[k] = v
	}
	for k, v := range own {
		out[k] = v
	}
	return out
}

// variables adds those of an environment that are commands by another name; of
// one that is set twice the last, as the daemon takes it.
func variables(list []session.Carried, env []string) []session.Carried {
	last := map[string]string{}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		last[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(last)) {
		for _, v := range event.AppendVariable(nil, name, last[name]) {
			list = append(list, session.CarriedVariable(v))
		}
	}
	return list
}

// commit says what a new image will run, of which container it is made.
func (p *Proxy) commit(ctx context.Context, a *asked, body *container.Config) error {
	ref := a.query.Get("container")
	if !isRef(ref) {
		return misread(http.StatusBadRequest, fmt.Errorf("%q names no container", ref))
	}
	c, err := p.target(ctx, a, ref)
	if err != nil {
		return err
	}
	a.query.Set("container", string(c.ID))
	s := &a.session
	s.Argv, s.ArgvSource = append(body.Entrypoint[:len(body.Entrypoint):len(body.Entrypoint)], body.Cmd...), "request"
	for _, change := range a.query["changes"] {
		s.Carried = append(s.Carried, session.Carried{Place: session.PlaceCommand, Argv: []string{change}})
	}
	return nil
}

func (a *asked) service(body *swarm.ServiceSpec) {
	s := &a.session
	c := body.TaskTemplate.ContainerSpec
	if c == nil {
		return // a plugin, or a network: HostAccess stays unknown
	}
	s.Argv, s.ArgvSource = append(c.Command[:len(c.Command):len(c.Command)], c.Args...), "request"
	s.TTY, s.Stdin, s.User = c.TTY, &c.OpenStdin, c.User
	s.Target.Image, s.Target.Labels, s.Target.ContainerName = c.Image, c.Labels, body.Name
	s.Target.HostAccess = docker.MountAccess(c.Mounts, c.CapabilityAdd)
	if c.Healthcheck != nil {
		if check := docker.HealthArgv(c.Healthcheck.Test, nil); check != nil {
			s.Carried = append(s.Carried, session.Carried{Place: session.PlaceHealthcheck, Argv: check})
		}
	}
	s.Carried = variables(s.Carried, c.Env)
}

// other says what can be said of a request whose body passes unread.
func (a *asked) other() {
	s := &a.session
	switch {
	case a.channel == event.ChannelDockerTop:
		s.Argv, s.ArgvSource = append([]string{"ps"}, strings.Fields(a.query.Get("ps_args"))...), "request"
	case a.channel == event.ChannelDockerImage && a.path == "/images/create" && a.query.Get("fromImage") != "":
		s.Kind, s.Channel = session.KindRequest, event.ChannelDockerRead // a pull
	case a.channel == event.ChannelDockerVolume:
		s.Settings = &session.Settings{} // it changes what none of them is
	case a.channel == event.ChannelDockerImage:
		s.Settings = &session.Settings{}
		for _, change := range a.query["changes"] {
			s.Carried = append(s.Carried, session.Carried{Place: session.PlaceCommand, Argv: []string{change}})
		}
		s.Target.Image = a.query.Get("reference")
		if tag := a.query.Get("repo"); tag != "" {
			s.Target.Image = tag + ":" + a.query.Get("tag")
		}
	}
}
