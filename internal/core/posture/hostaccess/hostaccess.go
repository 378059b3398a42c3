// Package hostaccess says who can get a command run in the containers of a host's
// engine: by a runtime's socket, by the engine's port, by sudo, or from within a
// container that was given too much.
//
// It is told by an inventory.Host, and says nothing of who is root already by other
// ways: a setuid program, a kernel's fault, a password that somebody knows. The
// package is pure.
package hostaccess

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// rootName is the user that owns the host.
const rootName = "root"

// Analysis knows who gets where on one host.
type Analysis struct {
	host *inventory.Host
	// people are the names of all users that are known, root first.
	people []string
	// groups are the gids of each.
	groups map[string][]uint32
	uids   map[string]uint32
	node   bool // asked is who is root, not who gets into the engine's containers
}

// New prepares the analysis of a host, which must not change after.
func New(h *inventory.Host) *Analysis {
	a := &Analysis{host: h, groups: map[string][]uint32{}, uids: map[string]uint32{}}
	add := func(name string) {
		if !slices.Contains(a.people, name) {
			a.people = append(a.people, name)
		}
	}
	a.uids[rootName] = 0
	add(rootName)
	for i := range h.Users {
		u := &h.Users[i]
		a.uids[u.Name] = u.UID
		a.groups[u.Name] = append(a.groups[u.Name], u.GID)
		add(u.Name)
	}
	for i := range h.Groups {
		for _, m := range h.Groups[i].Members { // some may be known elsewhere only
			a.groups[m] = append(a.groups[m], h.Groups[i].GID)
			add(m)
		}
	}
	for i := range h.Sudo {
		for _, u := range h.Sudo[i].Users {
			if u != all {
				add(u)
			}
		}
	}
	return a
}

// Find returns the container of a name, or of an id that begins so; nil when there is
// none, or several ids do.
func (a *Analysis) Find(name string) (found *inventory.DockerOrCRI) {
	for i := range a.host.Running {
		c := &a.host.Running[i]
		if c.Name == name {
			return c
		}
	}
	for i := range a.host.Running {
		if c := &a.host.Running[i]; name != "" && strings.HasPrefix(c.ID, name) {
			if found != nil {
				return nil
			}
			found = c
		}
	}
	return found
}

// door is a way to ask for a command in every container of the engine.
type door struct {
	channel event.Channel
	edge    exposure.Edge
	socket  *inventory.Socket // nil: a port
}

// doors returns the engine's sockets, and the containerd's below it.
func (a *Analysis) doors() (out []door) {
	if a.node {
		return a.runtimes()
	}
	d := a.host.Docker
	for i := range a.host.Sockets {
		s := &a.host.Sockets[i]
		switch {
		case s.Service == inventory.ServiceDocker && a.engine(s):
			out = append(out, door{event.ChannelDockerExec, exposure.EdgeSocket, s})
		case s.Service == inventory.ServiceContainerd && (d == nil || d.Containerd == "" || d.Containerd == s.Path):
			out = append(out, door{event.ChannelRuntimeCtr, exposure.EdgeSocket, s})
		}
	}
	return out
}

// engine reports whether a socket is that of the daemon that was asked, as far as is
// known.
func (a *Analysis) engine(s *inventory.Socket) bool {
	d := a.host.Docker
	return d == nil || s.Path == d.Socket || s.PID <= 1 || d.PID == 0 || s.PID == d.PID
}

// WhoCanExec lists who can get a command run in a container of the engine: for each
// actor and channel one way, direct ones first, then by actor.
func (a *Analysis) WhoCanExec(c *inventory.DockerOrCRI) []exposure.Exposure {
	w := &list{target: a.target(c), seen: map[key]bool{}}
	a.fill(w)
	exposure.Sort(w.out)
	return w.out
}

// Ways lists every way into the engine's containers, whichever container it is about:
// several of one actor and channel where several settings allow it, in the order in
// which they were found.
func (a *Analysis) Ways() []exposure.Exposure {
	w := &list{target: exposure.Target{Kind: "engine", Host: a.host.Name}, seen: map[key]bool{}, every: true}
	a.fill(w)
	return w.out
}

func (a *Analysis) fill(w *list) {
	for _, d := range a.doors() {
		a.bySocket(w, d)
	}
	a.byPort(w)
	a.bySudo(w)
	a.byContainer(w)
}

func (a *Analysis) target(c *inventory.DockerOrCRI) exposure.Target {
	return exposure.Target{Kind: "container", Container: c.Name, DockerName: c.Name, ID: c.ID, Host: a.host.Name}
}

// Exposures lists what an actor can get a command into: every container of the engine by
// each channel, his own and those of everybody whom he is one of. They are in the order of
// the containers.
func (a *Analysis) Exposures(actor exposure.Actor) (out []exposure.Exposure) {
	if len(a.host.Running) == 0 {
		return nil
	}
	var ways []exposure.Exposure // a way leads into all containers alike
	for _, e := range a.WhoCanExec(&a.host.Running[0]) {
		if e.Actor != actor && !(has(actor, e.Actor) && !strings.HasPrefix(string(actor), "container:")) || slices.ContainsFunc(ways, func(o exposure.Exposure) bool { return o.Channel == e.Channel }) {
			continue
		}
		e.Actor = actor
		ways = append(ways, e)
	}
	for i := range a.host.Running {
		for _, e := range ways {
			e.Target = a.target(&a.host.Running[i])
			out = append(out, e)
		}
	}
	return out
}

// Knows reports whether the host tells of an actor.
func (a *Analysis) Knows(actor exposure.Actor) bool {
	kind, name, _ := strings.Cut(string(actor), ":")
	switch kind {
	case "unix":
		return slices.Contains(a.people, name)
	case "container":
		return slices.ContainsFunc(a.host.Running, func(c inventory.DockerOrCRI) bool { return c.Name == name })
	}
	return actor == exposure.Anyone || actor == exposure.Anonymous
}

type key struct {
	actor   exposure.Actor
	channel event.Channel
	setting string
}

// list gathers exposures of a target.
type list struct {
	target exposure.Target
	seen   map[key]bool
	out    []exposure.Exposure
	every  bool // each setting, not one way for each actor and channel
}

// add adds the first way of an actor and channel, or by a setting of theirs.
func (l *list) add(actor exposure.Actor, channel event.Channel, direct bool, via ...exposure.Step) {
	k := key{actor: actor, channel: channel}
	if l.every {
		k.setting = via[0].Setting
	}
	if !l.seen[k] {
		l.seen[k] = true
		l.out = append(l.out, exposure.Exposure{Actor: actor, Channel: channel, Direct: direct, Target: l.target, Scope: "host", Via: via})
	}
}

const toEngine = "every container of the engine"

// step is one step by a setting.
func step(edge exposure.Edge, from exposure.Actor, to, setting, unless string) exposure.Step {
	return exposure.Step{Edge: edge, From: string(from), To: to, Setting: setting, Unless: unless}
}

// unix names a user as an actor.
func unix(name string) exposure.Actor { return exposure.Actor("unix:" + name) }

// plugins says that an authorization plugin may refuse.
func (a *Analysis) plugins(channel event.Channel) string {
	if d := a.host.Docker; d != nil && len(d.AuthzPlugins) > 0 && channel == event.ChannelDockerExec {
		return "the authorization plugin " + strings.Join(d.AuthzPlugins, ", ") + " refuses"
	}
	return ""
}

func (a *Analysis) bySocket(w *list, d door) {
	if why, unless := a.everybody(d.socket); why != "" {
		w.add(exposure.Anyone, d.channel, true, step(d.edge, exposure.Anyone, toEngine, why, cmp.Or(unless, a.plugins(d.channel))))
	}
	for _, name := range a.people {
		if why, unless := a.reach(name, d.socket); why != "" {
			w.add(unix(name), d.channel, true, step(d.edge, unix(name), toEngine, why, cmp.Or(unless, a.plugins(d.channel))))
		}
	}
}

// byPort adds who comes by TCP. A port that answers whoever comes is everybody's;
// one of the loopback only that of who is on the host.
func (a *Analysis) byPort(w *list) {
	for i := range a.host.Listeners {
		l := &a.host.Listeners[i]
		if l.Service != inventory.ServiceDocker || l.ClientCert == inventory.Yes {
			continue
		}
		why, unless := "TCP "+l.Address+" without TLS", a.plugins(event.ChannelDockerExec)
		switch {
		case l.ClientCert == inventory.Unknown:
			why, unless = "TCP "+l.Address, "it insists on a client's certificate, which could not be found out"
		case l.TLS == inventory.Yes:
			why = "TCP " + l.Address + " without verifying clients"
		}
		actor := exposure.Anonymous
		if loopback(l.Address) {
			actor = exposure.Anyone
			for k := range a.host.Running {
				if c := &a.host.Running[k]; c.HostNetwork {
					who := exposure.Actor("container:" + c.Name)
					w.add(who, event.ChannelDockerExec, true, step(exposure.EdgeTCP, who, toEngine, why+", from the host's network", unless))
				}
			}
		}
		w.add(actor, event.ChannelDockerExec, true, step(exposure.EdgeTCP, actor, toEngine, why, unless))
	}
}

func loopback(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// byContainer adds the containers from which the engine, or the host, is at hand.
func (a *Analysis) byContainer(w *list) {
	for i := range a.host.Running {
		c := &a.host.Running[i]
		who := exposure.Actor("container:" + c.Name)
		for _, m := range Sockets(a.host, c) {
			for _, d := range a.doors() {
				if d.socket == m.Socket {
					w.add(who, d.channel, true, step(exposure.EdgeMounted, who, toEngine, m.String(), cmp.Or(outside(c, m.Socket), a.plugins(d.channel))))
				}
			}
		}
		if why := Escape(c); why != "" {
			w.add(who, event.ChannelHostNsenter, false,
				step(exposure.EdgeEscape, who, "root on "+a.host.Name, why, ""),
				step(exposure.EdgeNode, unix(rootName), toEngine, "root on the host", ""))
		}
	}
}

// outside says what may keep a container's processes from a socket that it has.
func outside(c *inventory.DockerOrCRI, s *inventory.Socket) string {
	switch {
	case s.Mode&0o002 != 0:
		return ""
	case c.HostUsers == inventory.No:
		return "its user namespace keeps it out: the socket is " + owned(s)
	case c.User == nil:
		return "its user, whom only the image knows, may not use the socket"
	case *c.User != 0 && *c.User != int64(s.UID):
		return fmt.Sprintf("uid %d may not use the socket", *c.User)
	}
	return ""
}

func owned(s *inventory.Socket) string { return fmt.Sprintf("%d:%d %04o", s.UID, s.GID, s.Mode) }

// Mounted is a runtime's socket that a container has.
type Mounted struct {
	Socket *inventory.Socket
	Mount  *inventory.HostPath
}

// String says which socket, and by which mount.
func (m Mounted) String() string {
	s := "mounts " + m.Mount.Path
	if m.Mount.Mount != m.Mount.Path {
		s += " as " + m.Mount.Mount
	}
	if m.Mount.Path != m.Socket.Path {
		s += ", where " + m.Socket.Path + " is"
	}
	return s
}

// Sockets lists the runtime sockets of the host that a container has, by themselves
// or in a directory above them, under whatever name.
func Sockets(h *inventory.Host, c *inventory.DockerOrCRI) (out []Mounted) {
	for i := range h.Sockets {
		s := &h.Sockets[i]
		for k := range c.Mounts {
			if m := &c.Mounts[k]; holds(m, s) {
				out = append(out, Mounted{s, m})
				break
			}
		}
	}
	return out
}

// holds reports whether a mount has a socket: by its path, or as the same file.
func holds(m *inventory.HostPath, s *inventory.Socket) bool {
	p := path.Clean(m.Path)
	if p == "/" || p == s.Path || strings.HasPrefix(s.Path, p+"/") {
		return true
	}
	if m.Inode == 0 {
		return false
	}
	return m.Inode == s.Inode && m.Device == s.Device || slices.ContainsFunc(s.Above, func(d inventory.Directory) bool {
		return d.Inode == m.Inode && d.Device == m.Device
	})
}

// Escape says how whoever runs a command in a container becomes root on the host; ""
// when no way is known. A runtime's socket that it has is none of these.
func Escape(c *inventory.DockerOrCRI) string {
	t := inventory.Template{HostPID: c.HostPID, HostIPC: c.HostIPC, HostNetwork: c.HostNetwork, HostUsers: c.HostUsers}
	for _, m := range c.Mounts {
		if c.HostUsers != inventory.No && (c.User == nil || *c.User == 0) { // who is not root cannot write there
			m.Container = c.Name
			t.HostPaths = append(t.HostPaths, m)
		}
	}
	if why := exposure.Escape(&t, &c.Container); why != "" || !rulesKernel(c) {
		return why
	}
	return "may write to the kernel's settings in /proc"
}

// rulesKernel reports whether root in a container may write to what is the whole machine's
// in /proc, which nothing but a user namespace, AppArmor's or SELinux's rules keep from it then.
func rulesKernel(c *inventory.DockerOrCRI) bool {
	root := c.HostUsers != inventory.No && (c.User == nil || *c.User == 0)
	free := slices.Contains([]string{"", "unconfined"}, c.AppArmor) && slices.Contains([]string{"", "disable"}, c.SELinux)
	return c.ProcWritable && root && free
}
