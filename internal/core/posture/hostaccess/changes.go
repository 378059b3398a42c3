package hostaccess

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// change is a setting of a host that may be changed so that somebody gets in no more.
type change struct {
	exposure.Closer
	// apply makes the host as it is then. It changes nothing that hosts share.
	apply func(*inventory.Host)
}

// changes lists what may be changed: rules of sudo, who is in a group that counts, sockets,
// ports, and containers. Whether it closes anything is another question.
func (a *Analysis) changes() (out []change) {
	out = append(a.sudoRules(), a.memberships()...)
	seen := map[string]bool{}
	for i := range a.host.Sockets {
		s := &a.host.Sockets[i]
		out = append(append(out, a.ofSocket(s)...), a.lists(s.Path, &file{acl: s.ACL}, mayWrite, seen)...)
		for k := range s.Above {
			out = append(out, a.lists(s.Above[k].Path, &file{acl: s.Above[k].ACL}, mayPass, seen)...)
		}
	}
	return append(append(out, a.ports()...), a.containers()...)
}

// changed returns a host after changes.
func changed(h *inventory.Host, list ...change) *inventory.Host {
	out := *h
	for _, c := range list {
		c.apply(&out)
	}
	return &out
}

// closing describes a change.
func (a *Analysis) closing(at inventory.Origin, patch, format string, args ...any) exposure.Closer {
	return exposure.Closer{Host: a.host.Name, Setting: fmt.Sprintf(format, args...) + " on " + a.host.Name, Patch: patch, Origin: at}
}

// remarked is a command with a remark, which ends with the line whatever it names.
func remarked(command, format string, args ...any) string {
	remark := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, fmt.Sprintf(format, args...))
	if command == "" {
		return "# " + remark
	}
	return command + "  # " + remark
}

func (a *Analysis) sudoRules() (out []change) {
	var seen []inventory.Origin
	for i := range a.host.Sudo {
		o := a.host.Sudo[i].Origin
		if o.Source == "" || slices.Contains(seen, o) {
			continue
		}
		seen = append(seen, o)
		out = append(out, change{
			a.closing(o, remarked("visudo -f "+exposure.Word(o.Source), "line %d", o.Line), "a sudo rule"),
			func(h *inventory.Host) {
				h.Sudo = slices.DeleteFunc(slices.Clone(h.Sudo), func(r inventory.SudoRule) bool { return r.Origin == o })
			},
		})
	}
	return out
}

// memberships are of the groups that a socket, a directory above one or a rule of sudo
// names. Nobody leaves his primary group.
func (a *Analysis) memberships() (out []change) {
	for i := range a.host.Groups {
		g := &a.host.Groups[i]
		if !a.counts(g) {
			continue
		}
		for _, m := range g.Members {
			if slices.Contains(g.Primary, m) {
				continue
			}
			out = append(out, change{
				a.closing(g.Origin, "gpasswd -d "+exposure.Word(m)+" "+exposure.Word(g.Name), "%s is in group %s", m, g.Name),
				func(h *inventory.Host) {
					h.Groups = slices.Clone(h.Groups)
					h.Groups[i].Members = slices.DeleteFunc(slices.Clone(h.Groups[i].Members), func(s string) bool { return s == m })
				},
			})
		}
	}
	return out
}

// counts reports whether it matters who is in a group.
func (a *Analysis) counts(g *inventory.UnixGroup) bool {
	listed := func(acl []string) bool {
		return slices.ContainsFunc(acl, func(e string) bool {
			name, ok := strings.CutPrefix(e, "group:")
			name, _, _ = strings.Cut(name, ":")
			gid, known := a.gid(name)
			return ok && known && gid == g.GID
		})
	}
	return slices.ContainsFunc(a.host.Sudo, func(r inventory.SudoRule) bool { return slices.Contains(r.Groups, g.Name) }) ||
		slices.ContainsFunc(a.host.Sockets, func(s inventory.Socket) bool {
			return s.GID == g.GID || listed(s.ACL) ||
				slices.ContainsFunc(s.Above, func(d inventory.Directory) bool { return d.GID == g.GID || listed(d.ACL) })
		})
}

// ofSocket are its mode, where everybody may use it, and its owner, where he may and is neither
// root nor the user whose engine it is. That a group may use it is what the group is for.
func (a *Analysis) ofSocket(s *inventory.Socket) (out []change) {
	where := exposure.Word(s.Path)
	if s.Mode&mayWrite != 0 {
		out = append(out, change{
			a.closing(inventory.Origin{}, remarked("chmod o-w "+where, "and SocketMode=0660 in the unit that makes it, if one does"), "the mode of %s", s.Path),
			a.onSocket(s.Path, func(s *inventory.Socket) { s.Mode &^= mayWrite }),
		})
	}
	rootless := strings.HasPrefix(s.Path, fmt.Sprintf("/run/user/%d/", s.UID)) || a.host.Docker != nil && a.host.Docker.Rootless == inventory.Yes && a.engine(s)
	if s.UID != 0 && !rootless && s.Mode>>6&mayWrite != 0 {
		out = append(out, change{
			a.closing(inventory.Origin{}, "chown root "+where, "the owner of %s", s.Path),
			a.onSocket(s.Path, func(s *inventory.Socket) { s.UID = 0 }),
		})
	}
	return out
}

func (a *Analysis) onSocket(path string, do func(*inventory.Socket)) func(*inventory.Host) {
	return func(h *inventory.Host) {
		h.Sockets = slices.Clone(h.Sockets)
		for i := range h.Sockets {
			if h.Sockets[i].Path == path {
				do(&h.Sockets[i])
			}
		}
	}
}

// lists are the entries of an access control list that let in a user or a group. The mask
// is left as it is: worked out anew it might let in others.
func (a *Analysis) lists(path string, f *file, want uint32, seen map[string]bool) (out []change) {
	for n, e := range f.entries() {
		who := e.kind + ":" + e.name
		if e.kind == "mask" || e.name == "" || e.perm&want == 0 || seen[path+" "+who] {
			continue
		}
		seen[path+" "+who] = true
		not := func(list []string) []string {
			return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == f.acl[n] })
		}
		out = append(out, change{
			a.closing(inventory.Origin{}, "setfacl -n -x "+exposure.Word(who)+" "+exposure.Word(path), "%s in the access control list of %s", f.acl[n], path),
			func(h *inventory.Host) {
				h.Sockets = slices.Clone(h.Sockets)
				for i := range h.Sockets {
					s := &h.Sockets[i]
					if s.Path == path {
						s.ACL = not(s.ACL)
					}
					s.Above = slices.Clone(s.Above)
					for k := range s.Above {
						if d := &s.Above[k]; d.Path == path {
							d.ACL = not(d.ACL)
						}
					}
				}
			},
		})
	}
	return out
}

// ports are the TCP addresses of the engine that answer without a client's certificate.
func (a *Analysis) ports() (out []change) {
	for i := range a.host.Listeners {
		l := &a.host.Listeners[i]
		if l.Service != inventory.ServiceDocker || l.ClientCert == inventory.Yes {
			continue
		}
		at, patch := a.told(l)
		address := l.Address
		out = append(out, change{a.closing(at, patch, "the Docker API at TCP %s", address), func(h *inventory.Host) {
			h.Listeners = slices.DeleteFunc(slices.Clone(h.Listeners), func(l inventory.Listener) bool { return l.Address == address })
		}})
	}
	return out
}

// told says where an engine was told to listen, and how to tell it otherwise.
func (a *Analysis) told(l *inventory.Listener) (at inventory.Origin, patch string) {
	const or = ", or set tlsverify with its certificates; then restart the daemon"
	port, _ := netip.ParseAddrPort(l.Address)
	what := "tcp://" + l.Address
	d := cmp.Or(a.host.Docker, &inventory.Docker{})
	for i := range d.Hosts {
		if s := &d.Hosts[i]; strings.HasPrefix(s.Value, "tcp://") && strings.HasSuffix(s.Value, fmt.Sprintf(":%d", port.Port())) {
			at, what = s.Origin, s.Value
		}
	}
	if at.Line == 0 { // flags: whoever starts it has them
		return at, remarked("", "take -H %s out of the flags of dockerd%s", what, or)
	}
	return at, remarked("sudoedit "+exposure.Word(at.Source), "line %d: take %s out%s", at.Line, what, or)
}

// containers are those that have a runtime's socket, or give root on the host.
func (a *Analysis) containers() (out []change) {
	command := "docker stop "
	if d := a.host.Docker; d != nil && !slices.Contains([]string{"", "/run/docker.sock", "/var/run/docker.sock"}, d.Socket) {
		command = "docker -H " + exposure.Word("unix://"+d.Socket) + " stop "
	}
	for i := range a.host.Running {
		c, without := harmless(a.host, &a.host.Running[i])
		if len(without) == 0 {
			continue
		}
		out = append(out, change{
			a.closing(inventory.Origin{}, remarked(command+exposure.Word(c.Name), "and run it again without %s", strings.Join(without, ", ")), "what container %s was given", c.Name),
			func(h *inventory.Host) {
				h.Running = slices.Clone(h.Running)
				h.Running[i] = c
			},
		})
	}
	return out
}

// harmless returns a container without what is a runtime's socket or root on the host, and
// says what that is.
func harmless(h *inventory.Host, c *inventory.DockerOrCRI) (out inventory.DockerOrCRI, without []string) {
	bare := *c
	bare.Privileged, bare.AddCapabilities, bare.Mounts, bare.ProcWritable = false, nil, nil, false
	out = bare
	if rulesKernel(c) {
		without = append(without, "--security-opt systempaths=unconfined")
	}
	if one := bare; c.Privileged {
		one.Privileged = true
		if out.Privileged = Escape(&one) == ""; !out.Privileged {
			without = append(without, "--privileged")
		}
	}
	for _, name := range c.AddCapabilities {
		one := bare
		if one.AddCapabilities = []string{name}; Escape(&one) == "" {
			out.AddCapabilities = append(out.AddCapabilities, name)
		} else {
			without = append(without, "--cap-add "+name)
		}
	}
	for _, m := range c.Mounts {
		one := bare
		if one.Mounts = []inventory.HostPath{m}; Escape(&one) == "" && len(Sockets(h, &one)) == 0 {
			out.Mounts = append(out.Mounts, m)
		} else {
			without = append(without, "-v "+exposure.Word(m.Path+":"+m.Mount))
		}
	}
	return out, without
}
