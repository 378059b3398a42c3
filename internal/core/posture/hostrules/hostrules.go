// Package hostrules holds what scan reports of a host and its Docker engine: checks
// with stable ids, SP-DKR-001 and on, each a function of the inventory alone.
//
// What the inventory does not know is no pass: a check that needs it is open. Ids are
// never used for something else. The package is pure.
package hostrules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/hostaccess"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// check is a rule and what looks for it.
type check struct {
	posture.Rule
	look func(r *report)
}

// report gathers what a check finds.
type report struct {
	rule  *posture.Rule
	host  *inventory.Host
	at    time.Time
	found []finding.Finding
	open  []posture.Open
}

// Rules lists all rules, in order of their ids.
func Rules() (out []posture.Rule) {
	for i := range rules {
		out = append(out, rules[i].Rule)
	}
	return out
}

// Check returns what is found on a host, in order of the rules' ids, and what could
// not be decided. at is when the inventory was taken.
func Check(h *inventory.Host, at time.Time) ([]finding.Finding, []posture.Open) {
	r := &report{host: h, at: at}
	for i := range rules {
		r.rule = &rules[i].Rule
		rules[i].look(r)
	}
	return r.found, r.open
}

func (r *report) subject(object string) string { return "host:" + r.host.Name + "/" + object }

// add reports something. object names what it is about, stable from run to run.
func (r *report) add(object, message string, evidence ...inventory.Origin) *finding.Finding {
	f := finding.Finding{Subject: r.subject(object), Message: message, Time: r.at, Target: &finding.Target{Node: r.host.Name, Object: object}}
	r.rule.Complete(&f)
	for _, o := range evidence {
		f.Evidence = append(f.Evidence, finding.Evidence{Time: r.at, Source: "host " + r.host.Name, What: o.String()})
	}
	r.found = append(r.found, f)
	return &r.found[len(r.found)-1]
}

// unknown reports that a check could not be decided.
func (r *report) unknown(object, why string) {
	r.open = append(r.open, r.rule.Open(r.subject(object), why))
}

// setting reports a setting of the daemon that is not as wanted, or that nobody knows.
func (r *report) setting(name string, is, want inventory.Answer, message string) {
	switch {
	case is == inventory.Unknown:
		r.unknown("docker/"+name, name+" of the Docker daemon could not be found out")
	case is != want:
		r.add("docker/"+name, message)
	}
}

// daemon calls a check of the daemon's settings where there is one.
func daemon(check func(r *report, d *inventory.Docker)) func(*report) {
	return func(r *report) {
		if r.host.Docker != nil {
			check(r, r.host.Docker)
		}
	}
}

// each calls a check for every container that runs.
func each(check func(r *report, c *inventory.DockerOrCRI)) func(*report) {
	return func(r *report) {
		for i := range r.host.Running {
			check(r, &r.host.Running[i])
		}
	}
}

// container reports something of a container. aspect tells several apart.
func (r *report) container(c *inventory.DockerOrCRI, aspect, message string) *finding.Finding {
	object := "container/" + c.Name
	if aspect != "" {
		object += "/" + aspect
	}
	f := r.add(object, c.Name+" "+message)
	f.Target.ContainerName, f.Target.Image = c.Name, c.Image
	return f
}

func ports(r *report) {
	for i := range r.host.Listeners {
		l := &r.host.Listeners[i]
		if l.Service != inventory.ServiceDocker {
			continue
		}
		object := "docker/tcp/" + l.Address
		switch {
		case l.TLS == inventory.No:
			r.add(object, "the Docker API listens on "+l.Address+" without TLS: whoever gets there is root on the host")
		case l.ClientCert == inventory.No:
			r.add(object, "the Docker API listens on "+l.Address+" with TLS and verifies no clients: whoever gets there is root on the host")
		case l.ClientCert == inventory.Unknown:
			r.unknown(object, "whether the Docker API on "+l.Address+" insists on a client's certificate could not be found out")
		}
	}
}

func sockets(r *report) {
	for i := range r.host.Sockets {
		s := &r.host.Sockets[i]
		if s.Mode&0o002 == 0 {
			continue
		}
		switch s.Reachable {
		case inventory.Yes:
			r.add("socket"+s.Path, fmt.Sprintf("every user of the host may use %s (%s, mode %04o)", s.Path, s.Service, s.Mode&0o777))
		case inventory.Unknown:
			r.unknown("socket"+s.Path, fmt.Sprintf("%s has mode %04o, and whether everybody gets to it could not be found out", s.Path, s.Mode&0o777))
		case inventory.No:
		}
	}
}

// socketOwners reports sockets that others than root and one group may use.
func socketOwners(r *report) {
	for i := range r.host.Sockets {
		s := &r.host.Sockets[i]
		rootless := strings.HasPrefix(s.Path, fmt.Sprintf("/run/user/%d/", s.UID))
		if s.UID != 0 && !rootless {
			r.add("socket"+s.Path, fmt.Sprintf("%s (%s) belongs to uid %d", s.Path, s.Service, s.UID))
			continue
		}
		for _, e := range s.ACL {
			if named(e) && strings.Contains(e[strings.LastIndexByte(e, ':'):], "w") {
				r.add("socket"+s.Path+"/"+e, fmt.Sprintf("the access control list of %s (%s) has %s", s.Path, s.Service, e))
			}
		}
	}
}

// named reports whether an entry is one of a user or group of its own.
func named(e string) bool {
	kind, rest, _ := strings.Cut(e, ":")
	return kind != "mask" && !strings.HasPrefix(rest, ":")
}

func groups(r *report) {
	for i := range r.host.Groups {
		g := &r.host.Groups[i]
		var paths []string
		for k := range r.host.Sockets {
			if s := &r.host.Sockets[k]; s.GID == g.GID && s.GID != 0 && s.Mode&0o020 != 0 {
				paths = append(paths, s.Path)
			}
		}
		if len(paths) == 0 || len(g.Members) == 0 {
			continue
		}
		message := fmt.Sprintf("group %s may use %s, and has %s", g.Name, strings.Join(paths, ", "), strings.Join(g.Members, ", "))
		if len(g.Primary) > 0 {
			message += "; it is the primary group of " + strings.Join(g.Primary, ", ")
		}
		r.add("group/"+g.Name, message, g.Origin)
	}
}

// sudo names a rule by its file and what it says, not by its line: the same rule has
// the same name when others come before it, and two that say the same are one.
func sudo(r *report) {
	said := map[string]bool{}
	for i := range r.host.Sudo {
		s := &r.host.Sudo[i]
		who := slices.Clone(s.Users)
		for _, g := range s.Groups {
			who = append(who, "%"+g)
		}
		if len(s.Groups) == 0 && slices.Equal(s.Users, []string{"root"}) {
			continue
		}
		users, as, commands := strings.Join(who, ", "), strings.Join(s.As, ", "), strings.Join(s.Commands, ", ")
		object := "sudo/" + s.Origin.Source + "/" + users + "=(" + as + ") " + commands
		if !said[object] {
			said[object] = true
			r.add(object, fmt.Sprintf("%s may run %s as %s", users, commands, as), s.Origin)
		}
	}
}

func seccomp(r *report, d *inventory.Docker) {
	switch d.Seccomp {
	case "":
		r.unknown("docker/seccomp", "the Docker daemon's seccomp profile could not be found out")
	case "none", "unconfined":
		r.add("docker/seccomp", "the Docker daemon's seccomp profile is "+d.Seccomp)
	}
}

func confined(r *report, d *inventory.Docker) {
	switch {
	case d.AppArmor == inventory.Yes || d.SELinux == inventory.Yes:
	case d.AppArmor == inventory.Unknown || d.SELinux == inventory.Unknown:
		r.unknown("docker/lsm", "whether the Docker daemon uses AppArmor or SELinux could not be found out")
	default:
		r.add("docker/lsm", "the Docker daemon uses neither AppArmor nor SELinux")
	}
}

func disagree(r *report, d *inventory.Docker) {
	for i := range d.Disagree {
		g := &d.Disagree[i]
		var said []string
		var origins []inventory.Origin
		for _, v := range g.Values {
			said = append(said, fmt.Sprintf("%q (%s)", v.Value, v.Origin.String()))
			origins = append(origins, v.Origin)
		}
		r.add("docker/disagree/"+g.Name, g.Name+": "+strings.Join(said, ", "), origins...)
	}
}

func mountedSockets(r *report, c *inventory.DockerOrCRI) {
	for _, m := range hostaccess.Sockets(r.host, c) {
		r.container(c, m.Socket.Path, fmt.Sprintf("has the socket of %s: it %s", m.Socket.Service, m))
	}
}

func namespaces(r *report, c *inventory.DockerOrCRI) {
	for _, ns := range []struct {
		name   string
		shared bool
	}{{"pid", c.HostPID}, {"ipc", c.HostIPC}, {"network", c.HostNetwork}} {
		if ns.shared {
			r.container(c, ns.name, "has the host's "+ns.name+" namespace")
		}
	}
	if r.host.Docker != nil && r.host.Docker.UserNS == inventory.Yes && c.HostUsers == inventory.Yes {
		r.container(c, "user", "has the host's user namespace, which the daemon's others do not")
	}
}

func capabilities(r *report, c *inventory.DockerOrCRI) {
	var more []string
	for _, name := range c.AddCapabilities {
		if !event.UsualCapability(name) {
			more = append(more, name)
		}
	}
	if len(more) > 0 {
		r.container(c, "", "has the capabilities "+strings.Join(more, ", "))
	}
}

// escapes reports the ways out that are neither a socket nor privileges.
func escapes(r *report, c *inventory.DockerOrCRI) {
	if why := hostaccess.Escape(c); why != "" && !c.Privileged {
		r.container(c, "", "gives root on the host: "+why)
	}
}

func asRoot(r *report, c *inventory.DockerOrCRI) {
	switch {
	case c.HostUsers == inventory.No:
	case c.RunsAs() == nil:
		r.unknown("container/"+c.Name, c.Name+" runs as a user of its image's, whose uid is not known here: --images host looks into images")
	case *c.RunsAs() == 0:
		r.container(c, "", "runs as root")
	}
}

func unconfined(r *report, c *inventory.DockerOrCRI) {
	if c.Seccomp == "unconfined" && !c.Privileged {
		r.container(c, "", "runs without seccomp")
	}
}

func escalation(r *report, c *inventory.DockerOrCRI) {
	switch c.Escalation {
	case inventory.Yes:
		r.container(c, "", "may gain privileges by setuid programs")
	case inventory.Unknown:
		r.unknown("container/"+c.Name, "whether "+c.Name+" may gain privileges by setuid programs could not be found out")
	case inventory.No:
	}
}
