package hostaccess_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/hostaccess"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// dirs are the directories above a socket of /run.
func dirs(mode uint32) []inventory.Directory {
	return []inventory.Directory{{Path: "/", Mode: 0o755, Inode: 1}, {Path: "/run", Mode: mode, Inode: 2, Device: 7}}
}

func host() *inventory.Host {
	return &inventory.Host{
		Name:  "h",
		Users: []inventory.Account{{Name: "root"}, {Name: "jane", UID: 1000, GID: 1000}, {Name: "bob", UID: 1001, GID: 998}, {Name: "eve", UID: 1002, GID: 1002}},
		Groups: []inventory.UnixGroup{
			{Name: "root"}, {Name: "docker", GID: 998, Members: []string{"jane", "bob"}, Primary: []string{"bob"}}, {Name: "eve", GID: 1002, Members: []string{"eve"}},
		},
		Sockets: []inventory.Socket{
			{Service: inventory.ServiceDocker, Path: "/run/docker.sock", Mode: 0o660, GID: 998, Reachable: inventory.Yes, Inode: 3, Device: 7, Above: dirs(0o755), PID: 10},
		},
		Docker:  &inventory.Docker{Socket: "/run/docker.sock", PID: 10, UserNS: inventory.No},
		Running: []inventory.DockerOrCRI{container("web")},
	}
}

func container(name string, mounts ...inventory.HostPath) inventory.DockerOrCRI {
	root := int64(0)
	return inventory.DockerOrCRI{
		ID: name + "0123", Engine: inventory.ServiceDocker, HostUsers: inventory.Yes, Mounts: mounts,
		Container: inventory.Container{Name: name, User: &root},
	}
}

// who lists the exposures of web, "ACTOR CHANNEL", with a ? where something may stand
// in the way.
func who(t *testing.T, h *inventory.Host) (out []string) {
	t.Helper()
	a := hostaccess.New(h)
	c := a.Find("web")
	if c == nil {
		t.Fatal("no container web")
	}
	for _, e := range a.WhoCanExec(c) {
		s := fmt.Sprintf("%s %s", e.Actor, e.Channel)
		if slices.ContainsFunc(e.Via, func(s exposure.Step) bool { return s.Unless != "" }) {
			s += " ?"
		}
		if !e.Direct {
			s += " indirect"
		}
		out = append(out, s)
		if e.Target.DockerName != "web" || e.Scope != "host" || len(e.Via) == 0 {
			t.Errorf("%+v", e)
		}
	}
	return out
}

var asUsual = []string{"unix:bob DK-EXEC", "unix:jane DK-EXEC", "unix:root DK-EXEC"}

func TestWhoCanExec(t *testing.T) {
	nobody := int64(65534)
	for _, c := range []struct {
		name   string
		change func(h *inventory.Host)
		more   []string // beside asUsual; "-" before what is not
	}{
		{"a group, and a primary one", func(*inventory.Host) {}, nil},
		{"everybody", func(h *inventory.Host) { h.Sockets[0].Mode = 0o666 }, []string{"anyone DK-EXEC"}},
		{"a directory that is closed", func(h *inventory.Host) { h.Sockets[0].Above, h.Sockets[0].Reachable = dirs(0o700), inventory.No }, []string{"-unix:bob DK-EXEC", "-unix:jane DK-EXEC"}},
		{"a directory of eve's with a socket for everybody", func(h *inventory.Host) {
			h.Sockets[0].Mode, h.Sockets[0].Reachable, h.Sockets[0].Above = 0o666, inventory.No, dirs(0o700)
			h.Sockets[0].Above[1].UID = 1002
		}, []string{"-unix:bob DK-EXEC", "-unix:jane DK-EXEC", "unix:eve DK-EXEC"}},
		{"a directory that nobody could look at", func(h *inventory.Host) { h.Sockets[0].Above[1] = inventory.Directory{Path: "/run"} }, []string{"-unix:bob DK-EXEC", "-unix:jane DK-EXEC", "unix:bob DK-EXEC ?", "unix:jane DK-EXEC ?", "-unix:root DK-EXEC", "unix:root DK-EXEC ?"}},
		{"the owner counts before the group", func(h *inventory.Host) { h.Sockets[0].UID, h.Sockets[0].Mode = 1000, 0o060 }, []string{"-unix:jane DK-EXEC"}},
		{"an access control list", func(h *inventory.Host) { h.Sockets[0].ACL = []string{"user:eve:rw-", "mask::rw-", "group::rw-"} }, []string{"unix:eve DK-EXEC"}},
		{"its mask", func(h *inventory.Host) { h.Sockets[0].ACL = []string{"user:eve:rw-", "mask::r--", "group::rw-"} }, []string{"-unix:bob DK-EXEC", "-unix:jane DK-EXEC"}},
		{"a user of the same number", func(h *inventory.Host) {
			h.Users = append(h.Users, inventory.Account{Name: "evelyn", UID: 1002, GID: 1002})
			h.Sockets[0].ACL = []string{"user:eve:rw-", "mask::rw-", "group::rw-"}
		}, []string{"unix:eve DK-EXEC", "unix:evelyn DK-EXEC"}},
		{"by number, and for a group", func(h *inventory.Host) {
			h.Sockets[0].ACL, h.Sockets[0].GID = []string{"user:1000:---", "group:eve:-w-", "mask::rwx", "group::rw-"}, 998
		}, []string{"-unix:jane DK-EXEC", "unix:eve DK-EXEC"}},
		{"a plugin that may refuse", func(h *inventory.Host) { h.Docker.AuthzPlugins = []string{"p"} }, []string{"-unix:bob DK-EXEC", "-unix:jane DK-EXEC", "-unix:root DK-EXEC", "unix:bob DK-EXEC ?", "unix:jane DK-EXEC ?", "unix:root DK-EXEC ?"}},
		{"another daemon's socket", func(h *inventory.Host) {
			h.Sockets = append(h.Sockets, inventory.Socket{Service: inventory.ServiceDocker, Path: "/x", Mode: 0o666, Reachable: inventory.Yes, PID: 11})
		}, nil},
		{"its containerd", func(h *inventory.Host) {
			h.Docker.Containerd = "/c.sock"
			h.Sockets = append(h.Sockets, inventory.Socket{Service: inventory.ServiceContainerd, Path: "/c.sock", Mode: 0o600, Reachable: inventory.Yes},
				inventory.Socket{Service: inventory.ServiceContainerd, Path: "/other.sock", Mode: 0o666, Reachable: inventory.Yes})
		}, []string{"unix:root RT-CTR"}},

		{"a port", port("0.0.0.0:2375", inventory.No, inventory.No), []string{"anonymous DK-EXEC"}},
		{"a port with certificates", port("0.0.0.0:2376", inventory.Yes, inventory.Yes), nil},
		{"a port that does not verify", port("[::]:2376", inventory.Yes, inventory.No), []string{"anonymous DK-EXEC"}},
		{"a port that is not known", port("192.0.2.1:2376", inventory.Unknown, inventory.Unknown), []string{"anonymous DK-EXEC ?"}},
		{"a port of the loopback", func(h *inventory.Host) {
			port("127.0.0.1:2375", inventory.No, inventory.No)(h)
			c := container("net")
			c.HostNetwork = true
			h.Running = append(h.Running, c)
		}, []string{"anyone DK-EXEC", "container:net DK-EXEC"}},

		{"sudo everything", sudo("ALL", "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo everything as anybody", sudo("ALL", "ALL", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo everything as nobody much", sudo("ALL", "daemon", "eve"), nil},
		{"sudo docker", sudo("/usr/bin/docker", "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo docker as jane", sudo("/usr/bin/docker", "jane", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo docker ps", sudo("/usr/bin/docker ps", "root", "eve"), nil},
		{"sudo docker exec web", sudo("/usr/bin/docker exec web *", "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo without arguments", sudo(`/usr/bin/docker ""`, "root", "eve"), nil},
		{"sudo nsenter", sudo("/usr/bin/nsenter", "root", "eve"), []string{"unix:eve HO-NSENTER indirect"}},
		{"sudo podman, whose containers are others, and may be root", sudo("/usr/bin/podman", "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo podman exec", sudo("/usr/bin/podman exec -it web sh", "root", "eve"), nil},
		{"sudo podman run", sudo("/usr/bin/podman run *", "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo a script", sudo("/bin/sh /opt/backup.sh", "root", "eve"), nil},
		{"sudo a shell with options", sudo("/bin/bash -l", "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo a shell without arguments", sudo(`/bin/bash ""`, "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo any script", sudo("/bin/sh /opt/*.sh", "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo env with a shell", sudo("/usr/bin/env A=1 /bin/bash", "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo env with a program", sudo("/usr/bin/env A=1 /opt/backup", "root", "eve"), nil},
		{"sudo su -", sudo("/bin/su -", "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo su to somebody who may nothing", sudo("/bin/su - daemon", "root", "eve"), nil},
		{"sudo su to jane", sudo("/bin/su - jane", "root", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo su with a command", sudo("/bin/su jane -c /opt/backup", "root", "eve"), nil},
		{"sudo a shell as jane", sudo("/bin/bash", "jane", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo as a group", sudo("ALL", "%docker", "eve"), []string{"unix:eve DK-EXEC indirect"}},
		{"sudo for everybody", sudo("ALL", "root", "ALL"), []string{"anyone DK-EXEC indirect"}},
		{"sudo, one after the other", func(h *inventory.Host) {
			sudo("/bin/sh", "mallory", "eve")(h)
			sudo("ALL", "root", "mallory")(h)
		}, []string{"unix:eve DK-EXEC indirect", "unix:mallory DK-EXEC indirect"}},

		{"a container with the socket", runs(container("ci", inventory.HostPath{Path: "/run/docker.sock", Mount: "/d.sock"})), []string{"container:ci DK-EXEC"}},
		{"with a directory above", runs(container("ci", inventory.HostPath{Path: "/run", Mount: "/host", ReadOnly: true})), []string{"container:ci DK-EXEC"}},
		{"with a directory beside", runs(container("ci", inventory.HostPath{Path: "/run/docker", Mount: "/x"})), nil},
		{"under another name", runs(container("ci", inventory.HostPath{Path: "/srv/r", Mount: "/x", Device: 7, Inode: 2})), []string{"container:ci DK-EXEC"}},
		{"the same number on another device", runs(container("ci", inventory.HostPath{Path: "/srv/r", Mount: "/x", Device: 8, Inode: 2})), nil},
		{"as nobody", func(h *inventory.Host) {
			c := container("ci", inventory.HostPath{Path: "/run/docker.sock", Mount: "/d.sock"})
			c.User = &nobody
			runs(c)(h)
		}, []string{"container:ci DK-EXEC ?"}},
		{"a privileged container", func(h *inventory.Host) {
			c := container("ci")
			c.Privileged = true
			runs(c)(h)
		}, []string{"container:ci HO-NSENTER indirect"}},
		{"one that may write to /etc", runs(container("ci", inventory.HostPath{Path: "/etc", Mount: "/e"})), []string{"container:ci HO-NSENTER indirect"}},
		{"one with the kernel's settings", func(h *inventory.Host) {
			c := container("ci")
			c.ProcWritable = true
			runs(c)(h)
		}, []string{"container:ci HO-NSENTER indirect"}},
		{"which AppArmor guards", func(h *inventory.Host) {
			c := container("ci")
			c.ProcWritable, c.AppArmor = true, "docker-default"
			runs(c)(h)
		}, nil},
		{"one that may read /etc", runs(container("ci", inventory.HostPath{Path: "/etc", Mount: "/e", ReadOnly: true})), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host()
			c.change(h)
			want := slices.Clone(asUsual)
			for _, m := range c.more {
				if not, ok := strings.CutPrefix(m, "-"); ok {
					want = slices.DeleteFunc(want, func(s string) bool { return s == not })
				} else {
					want = append(want, m)
				}
			}
			got := who(t, h)
			slices.Sort(got)
			slices.Sort(want)
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func port(address string, tls, cert inventory.Answer) func(*inventory.Host) {
	return func(h *inventory.Host) {
		h.Listeners = append(h.Listeners, inventory.Listener{Service: inventory.ServiceDocker, Address: address, TLS: tls, ClientCert: cert})
	}
}

func sudo(command, as, user string) func(*inventory.Host) {
	return func(h *inventory.Host) {
		h.Sudo = append(h.Sudo, inventory.SudoRule{Users: []string{user}, As: []string{as}, Commands: []string{command}, Origin: inventory.Origin{Source: "/etc/sudoers", Line: 3}})
	}
}

func runs(c inventory.DockerOrCRI) func(*inventory.Host) {
	return func(h *inventory.Host) { h.Running = append(h.Running, c) }
}

func TestFind(t *testing.T) {
	h := host()
	h.Running = append(h.Running, container("web2"), container("other"))
	a := hostaccess.New(h)
	for name, want := range map[string]string{"web": "web", "other0": "other", "we": "", "": "", "nothing": ""} {
		c := a.Find(name)
		if c == nil && want != "" || c != nil && c.Name != want {
			t.Errorf("%q: %+v", name, c)
		}
	}
}

func TestWhatIsSaid(t *testing.T) {
	h := host()
	sudo("/usr/bin/docker exec *", "root", "eve")(h)
	h.Sudo[0].NoPasswd = true
	runs(container("ci", inventory.HostPath{Path: "/run", Mount: "/host"}))(h)
	a := hostaccess.New(h)
	said := map[exposure.Actor]string{}
	for _, e := range a.WhoCanExec(a.Find("web")) {
		said[e.Actor] = e.Via[0].Setting
	}
	for actor, want := range map[exposure.Actor]string{
		"unix:jane":    "socket /run/docker.sock (0660), group docker",
		"unix:root":    "socket /run/docker.sock (0660), root",
		"unix:eve":     "sudo, without a password, /usr/bin/docker exec * as root (/etc/sudoers:3)",
		"container:ci": "mounts /run as /host, where /run/docker.sock is",
	} {
		if said[actor] != want {
			t.Errorf("%s: %q, want %q", actor, said[actor], want)
		}
	}
}

// TestEntries: each way to be root on a node, and what closes it.
func TestEntries(t *testing.T) {
	h := host()
	h.Groups[1].Origin = inventory.Origin{Source: "/etc/group", Line: 2}
	h.Sockets = append(h.Sockets, inventory.Socket{Service: inventory.ServiceContainerd, Path: "/c.sock", Mode: 0o660, GID: 998, Reachable: inventory.Yes},
		inventory.Socket{Service: inventory.ServicePodman, Path: "/p.sock", Mode: 0o666, UID: 1000, Reachable: inventory.Yes},
		inventory.Socket{Service: inventory.ServiceContainerd, Path: "/x.sock", Mode: 0o666, UID: 1000, Reachable: inventory.Yes})
	sudo("ALL", "root", "jane")(h)
	port("0.0.0.0:2375", inventory.No, inventory.No)(h)
	ci := container("ci")
	ci.Privileged = true
	h.Running = append(h.Running, ci)
	var got []string
	for _, e := range hostaccess.New(h).Closable("n1", " by its name", nil) {
		patches := "-"
		for _, c := range e.Closers {
			patches += " | " + c.Patch
		}
		got = append(got, fmt.Sprintf("%s %s %s: %s", e.Node, e.Actor, e.Via[0].Setting, strings.TrimPrefix(patches, "- | ")))
	}
	const is = " on h, which is node n1 by its name: "
	const port = "# take -H tcp://0.0.0.0:2375 out of the flags of dockerd, or set tlsverify with its certificates; then restart the daemon"
	want := []string{
		"n1 unix:root socket /run/docker.sock (0660), root" + is + "-",
		"n1 unix:jane socket /run/docker.sock (0660), group docker" + is + "gpasswd -d jane docker",
		"n1 unix:bob socket /run/docker.sock (0660), group docker" + is + "-", // his primary group
		"n1 unix:root socket /c.sock (0660), root" + is + "-",
		"n1 unix:jane socket /c.sock (0660), group docker" + is + "gpasswd -d jane docker",
		"n1 unix:bob socket /c.sock (0660), group docker" + is + "-",
		"n1 host:h/anonymous TCP 0.0.0.0:2375 without TLS" + is + port,
		"n1 unix:jane sudo ALL as root (/etc/sudoers:3)" + is + "visudo -f /etc/sudoers  # line 3",
		"n1 container:ci privileged" + is + "docker stop ci  # and run it again without --privileged",
		// What everybody has they have, too.
		"n1 unix:jane TCP 0.0.0.0:2375 without TLS" + is + port,
		"n1 unix:bob TCP 0.0.0.0:2375 without TLS" + is + port,
		"n1 container:ci TCP 0.0.0.0:2375 without TLS" + is + port,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	h.Docker.Rootless = inventory.Yes
	for _, e := range hostaccess.New(h).Entries("n1", "") {
		if strings.Contains(e.Via[0].Setting, "/run/docker.sock") {
			t.Errorf("the socket of a rootless daemon is root's: %+v", e)
		}
	}
}

// TestExposures: what an actor reaches is what who-can-exec lists of each container.
func TestExposures(t *testing.T) {
	h := host()
	h.Running = append(h.Running, container("other"))
	sudo("/usr/bin/docker exec *", "root", "eve")(h)
	port("127.0.0.1:2375", inventory.No, inventory.No)(h)
	a := hostaccess.New(h)
	for who, want := range map[exposure.Actor]int{"unix:jane": 2, "unix:eve": 2, "unix:nobody": 2, exposure.Anyone: 2, exposure.Anonymous: 0, "container:web": 0} {
		list := a.Exposures(who)
		if len(list) != want || a.Knows(who) != (who != "unix:nobody") {
			t.Errorf("%s: %+v, known %t", who, list, a.Knows(who))
		}
		for n, e := range list {
			if e.Actor != who || e.Target.Container != h.Running[n].Name || len(e.Via) == 0 {
				t.Errorf("%s: %+v", who, e)
			}
		}
	}
}
