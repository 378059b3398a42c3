package hostaccess_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/hostaccess"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// cuts says what is proposed for hosts, "CLOSES left LEFT: PATCH".
func cuts(most int, hosts ...*inventory.Host) (out []string) {
	for _, r := range hostaccess.Cut(hosts, nil, most).Removals {
		out = append(out, fmt.Sprintf("%d left %d: %s", r.Closes, r.Left, r.Patch))
	}
	return out
}

func TestCut(t *testing.T) {
	acl := func(h *inventory.Host) {
		h.Sockets[0].ACL = []string{"user:eve:rw-", "group:eve:rw-", "mask::rw-", "group::rw-"}
	}
	for _, c := range []struct {
		name   string
		change func(*inventory.Host)
		want   []string
	}{
		{"a group; whose primary group it is, stays", func(*inventory.Host) {}, []string{"1 left 1: gpasswd -d jane docker"}},
		{"everybody comes before who is named", func(h *inventory.Host) { h.Sockets[0].Mode = 0o666 },
			[]string{"1 left 2: chmod o-w /run/docker.sock  # and SocketMode=0660 in the unit that makes it, if one does", "1 left 1: gpasswd -d jane docker"}},
		{"two rules of sudo, either of which is enough", func(h *inventory.Host) {
			sudo("ALL", "root", "jane")(h)
			h.Sudo = append(h.Sudo, h.Sudo[0])
			h.Sudo[1].Origin.Line = 4
			h.Groups[1].Members = []string{"bob"}
		}, []string{"0 left 2: visudo -f /etc/sudoers  # line 3", "1 left 1: visudo -f /etc/sudoers  # line 4"}},
		{"a rule for a group with somebody in it", func(h *inventory.Host) {
			h.Groups[1].Members = []string{"bob"}
			h.Groups = append(h.Groups, inventory.UnixGroup{Name: "wheel", GID: 10, Members: []string{"eve", "jane"}})
			h.Sudo = []inventory.SudoRule{{Groups: []string{"wheel"}, As: []string{"ALL"}, Commands: []string{"ALL"}, Origin: inventory.Origin{Source: "/etc/sudoers", Line: 9}}}
		}, []string{"2 left 1: visudo -f /etc/sudoers  # line 9"}},
		{"an access control list, and the group of the same name", acl,
			[]string{"1 left 2: gpasswd -d jane docker", "0 left 2: setfacl -n -x user:eve /run/docker.sock", "1 left 1: setfacl -n -x group:eve /run/docker.sock"}},
		{"an owner", func(h *inventory.Host) { h.Sockets[0].UID = 1002 }, []string{"1 left 2: gpasswd -d jane docker", "1 left 1: chown root /run/docker.sock"}},
		{"the owner of a rootless engine stays", func(h *inventory.Host) { h.Sockets[0].UID, h.Docker.Rootless = 1002, inventory.Yes }, []string{"1 left 2: gpasswd -d jane docker"}},
		{"a port that flags ask for", func(h *inventory.Host) {
			port("0.0.0.0:2375", inventory.No, inventory.No)(h)
			h.Docker.Hosts = []inventory.Setting{{Value: "tcp://:2375", Origin: inventory.Origin{Source: "flags of process 10"}}}
		}, []string{"1 left 2: # take -H tcp://:2375 out of the flags of dockerd, or set tlsverify with its certificates; then restart the daemon", "1 left 1: gpasswd -d jane docker"}},
		{"a port that a file asks for", func(h *inventory.Host) {
			port("127.0.0.1:2375", inventory.No, inventory.No)(h)
			h.Docker.Hosts = []inventory.Setting{{Value: "tcp://127.0.0.1:2375", Origin: inventory.Origin{Source: "/etc/docker/daemon.json", Line: 2}}}
		}, []string{"1 left 2: sudoedit /etc/docker/daemon.json  # line 2: take tcp://127.0.0.1:2375 out, or set tlsverify with its certificates; then restart the daemon", "1 left 1: gpasswd -d jane docker"}},
		{"a container", func(h *inventory.Host) {
			c := container("ci", inventory.HostPath{Path: "/run", Mount: "/r"}, inventory.HostPath{Path: "/etc", Mount: "/e"}, inventory.HostPath{Path: "/srv", Mount: "/s"})
			c.AddCapabilities = []string{"SYS_ADMIN", "NET_RAW"}
			h.Running = append(h.Running, c)
		}, []string{"2 left 4: gpasswd -d jane docker", "2 left 2: docker stop ci  # and run it again without --cap-add SYS_ADMIN, -v /run:/r, -v /etc:/e"}},
		{"with a name that is two lines", func(h *inventory.Host) {
			h.Running = []inventory.DockerOrCRI{container("ci", inventory.HostPath{Path: "/etc", Mount: "/e\nreboot"})}
			h.Groups[1].Members = nil
		}, []string{"1 left 1: docker stop ci  # and run it again without -v '/etc:/e?reboot'"}},
		{"of another engine", func(h *inventory.Host) {
			h.Docker.Socket, h.Docker.PID = "/srv/d.sock", 0
			c := container("ci")
			c.Privileged = true
			h.Running = []inventory.DockerOrCRI{c}
			h.Groups[1].Members = nil
		}, []string{"1 left 1: docker -H unix:///srv/d.sock stop ci  # and run it again without --privileged"}},
		{"an engine that runs nothing", func(h *inventory.Host) { h.Running = nil }, []string{"1 left 1: gpasswd -d jane docker"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host()
			c.change(h)
			if d := cmp.Diff(c.want, cuts(9, h)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestCutOfHosts: the best of several hosts come first, and targets are counted alone.
func TestCutOfHosts(t *testing.T) {
	h, o := host(), host()
	o.Name, o.Running = "o", append(o.Running, container("db"))
	want := []string{"2 left 4: gpasswd -d jane docker", "1 left 3: gpasswd -d jane docker"}
	if d := cmp.Diff(want, cuts(9, h, o)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want[:1], cuts(1, h, o)); d != "" {
		t.Error(d)
	}
	db := func(_ *inventory.Host, c *inventory.DockerOrCRI) bool { return c.Name == "db" }
	cut := hostaccess.Cut([]*inventory.Host{h, o}, db, 9)
	if cut.Pairs != 2 || cut.Lasting != 1 || len(cut.Removals) != 1 || cut.Removals[0].Host != "o" || cut.Removals[0].Left != 1 {
		t.Errorf("%+v", cut)
	}
}

// follow does to a host what a patch says, read as whoever runs it would.
func follow(t *testing.T, h *inventory.Host, patch string) *inventory.Host {
	t.Helper()
	out := *h
	command, note, _ := strings.Cut(patch, "  # ")
	w := strings.Fields(command)
	socket := func(path string, do func(*inventory.Socket)) {
		out.Sockets = slices.Clone(h.Sockets)
		for i := range out.Sockets {
			if out.Sockets[i].Path == path {
				do(&out.Sockets[i])
			}
		}
	}
	switch w[0] {
	case "gpasswd":
		out.Groups = slices.Clone(h.Groups)
		for i, g := range out.Groups {
			if g.Name == w[3] {
				out.Groups[i].Members = slices.DeleteFunc(slices.Clone(g.Members), func(m string) bool { return m == w[2] })
			}
		}
	case "visudo":
		out.Sudo = slices.DeleteFunc(slices.Clone(h.Sudo), func(r inventory.SudoRule) bool { return fmt.Sprint("line ", r.Origin.Line) == note })
	case "chmod":
		socket(w[2], func(s *inventory.Socket) { s.Mode &= 0o775 })
	case "chown":
		socket(w[2], func(s *inventory.Socket) { s.UID = 0 })
	case "setfacl":
		socket(w[4], func(s *inventory.Socket) {
			s.ACL = slices.DeleteFunc(slices.Clone(s.ACL), func(e string) bool { return strings.HasPrefix(e, w[3]+":") })
		})
	case "#":
		address := strings.TrimPrefix(w[3], "tcp://")
		out.Listeners = slices.DeleteFunc(slices.Clone(h.Listeners), func(l inventory.Listener) bool { return l.Address == address })
	case "docker":
		out.Running = slices.Clone(h.Running)
		for i := range out.Running {
			if c := &out.Running[i]; c.Name == w[2] {
				*c = again(*c, note)
			}
		}
	default:
		t.Fatalf("what is %q?", patch)
	}
	return &out
}

func again(c inventory.DockerOrCRI, note string) inventory.DockerOrCRI {
	c.Privileged = c.Privileged && !strings.Contains(note, "--privileged")
	c.AddCapabilities = slices.DeleteFunc(slices.Clone(c.AddCapabilities), func(n string) bool { return strings.Contains(note, "--cap-add "+n) })
	c.Mounts = slices.DeleteFunc(slices.Clone(c.Mounts), func(m inventory.HostPath) bool { return strings.Contains(note, "-v "+m.Path+":"+m.Mount) })
	return c
}

// in says whether somebody gets in: as himself, or as everybody.
func in(a *hostaccess.Analysis, c *inventory.DockerOrCRI, who exposure.Actor) bool {
	return slices.ContainsFunc(a.WhoCanExec(c), func(e exposure.Exposure) bool {
		user := strings.HasPrefix(string(who), "unix:")
		return e.Actor == who || e.Actor == exposure.Anonymous || e.Actor == exposure.Anyone && user
	})
}

func random(r *rand.Rand) *inventory.Host {
	h := host()
	some := func(n int, do func()) {
		for range r.IntN(n) {
			do()
		}
	}
	name := func() string { return []string{"jane", "bob", "eve", "mallory"}[r.IntN(4)] }
	h.Groups = append(h.Groups, inventory.UnixGroup{Name: "wheel", GID: 10})
	for i := range h.Groups[1:] {
		g := &h.Groups[i+1]
		some(3, func() {
			if m := name(); !slices.Contains(g.Members, m) {
				g.Members = append(slices.Clone(g.Members), m)
			}
		})
	}
	s := &h.Sockets[0]
	s.Mode, s.UID = []uint32{0o660, 0o600, 0o666, 0o620}[r.IntN(4)], []uint32{0, 0, 1000, 1002}[r.IntN(4)]
	if r.IntN(2) == 0 {
		s.ACL = []string{"mask::rw-", "group::rw-"}
		for _, e := range []string{"user:eve", "user:jane", "group:wheel"} {
			if r.IntN(2) == 0 {
				s.ACL = append(s.ACL, e+[]string{":rw-", ":---"}[r.IntN(2)])
			}
		}
	}
	some(4, func() {
		rule := inventory.SudoRule{As: []string{[]string{"root", "jane", "%docker", "ALL"}[r.IntN(4)]}, Commands: []string{[]string{"ALL", "/usr/bin/docker"}[r.IntN(2)]}, Origin: inventory.Origin{Source: "/etc/sudoers", Line: r.IntN(3) + 1}}
		if r.IntN(3) == 0 {
			rule.Groups = []string{"wheel"}
		} else {
			rule.Users = []string{append([]string{"ALL"}, name())[r.IntN(2)]}
		}
		h.Sudo = append(h.Sudo, rule)
	})
	if r.IntN(4) == 0 {
		port([]string{"0.0.0.0:2375", "127.0.0.1:2375"}[r.IntN(2)], inventory.No, inventory.No)(h)
	}
	for _, n := range []string{"a", "b"} {
		c := container(n)
		c.Privileged, c.HostNetwork = r.IntN(4) == 0, r.IntN(4) == 0
		for _, m := range []string{"/run", "/etc", "/srv"} {
			if r.IntN(4) == 0 {
				c.Mounts = append(c.Mounts, inventory.HostPath{Path: m, Mount: "/x" + m})
			}
		}
		h.Running = append(h.Running, c)
	}
	return h
}

// TestCutLeavesWhatItSays does what is proposed for random hosts, one after the other, and
// counts who gets in then.
func TestCutLeavesWhatItSays(t *testing.T) {
	for seed := range uint64(200) {
		h := random(rand.New(rand.NewPCG(seed, 1)))
		var people []exposure.Actor
		for _, e := range hostaccess.New(h).WhoCanExec(&h.Running[0]) {
			if e.Actor != "unix:root" && !slices.Contains(people, e.Actor) {
				people = append(people, e.Actor)
			}
		}
		left := func(h *inventory.Host) (n int) {
			a := hostaccess.New(h)
			for i := range h.Running {
				for _, p := range people {
					if in(a, &h.Running[i], p) {
						n++
					}
				}
			}
			return n
		}
		cut := hostaccess.Cut([]*inventory.Host{h}, nil, 99)
		was := left(h)
		if cut.Pairs != was {
			t.Fatalf("seed %d: %d pairs, want %d", seed, cut.Pairs, was)
		}
		for _, r := range cut.Removals {
			h = follow(t, h, r.Patch)
			if now := left(h); now != r.Left || was-now != r.Closes {
				t.Fatalf("seed %d: %s closes %d and leaves %d, not %d and %d", seed, r.Patch, was-now, now, r.Closes, r.Left)
			}
			was = r.Left
		}
		if was != cut.Lasting {
			t.Fatalf("seed %d: %d are left and %d last", seed, was, cut.Lasting)
		}
	}
}

// TestCutOfANode: what the cut of a cluster proposes for a host that is its node leaves what
// it says, too.
func TestCutOfANode(t *testing.T) {
	cluster := &inventory.Cluster{Nodes: []inventory.Node{{Object: inventory.Object{Name: "n1"}}}}
	for n := range 3 {
		cluster.Pods = append(cluster.Pods, inventory.Pod{Object: inventory.Object{Namespace: "shop", Name: fmt.Sprint(n)}, Node: "n1"})
	}
	for seed := range uint64(100) {
		h := random(rand.New(rand.NewPCG(seed, 2)))
		people := map[exposure.Actor]bool{}
		entries := func(h *inventory.Host) map[exposure.Actor]bool {
			out := map[exposure.Actor]bool{}
			for _, e := range hostaccess.New(h).Entries("n1", "") {
				out[e.Actor] = true
			}
			return out
		}
		for a := range entries(h) {
			people[a] = true
		}
		left := func(h *inventory.Host) (n int) {
			now := entries(h)
			for p := range people {
				if now[p] || now["host:h/anonymous"] || now["host:h/anyone"] && strings.HasPrefix(string(p), "unix:") {
					n += len(cluster.Pods)
				}
			}
			return n
		}
		a := hostaccess.New(h)
		again := func(gone []exposure.Closer) []exposure.Entry { return a.Closable("n1", "", gone) }
		cut := exposure.New(cluster, again(nil)...).Cut(nil, 99, again)
		if cut.Pairs != left(h) {
			t.Fatalf("seed %d: %d pairs, want %d: %v", seed, cut.Pairs, left(h), slices.Sorted(maps.Keys(people)))
		}
		was := cut.Pairs
		for _, r := range cut.Removals {
			h = follow(t, h, r.Patch)
			if now := left(h); now != r.Left || was-now != r.Closes {
				t.Fatalf("seed %d: %s closes %d and leaves %d, not %d and %d", seed, r.Patch, was-now, now, r.Closes, r.Left)
			}
			was = r.Left
		}
		if was != cut.Lasting {
			t.Fatalf("seed %d: %d are left and %d last", seed, was, cut.Lasting)
		}
	}
}
