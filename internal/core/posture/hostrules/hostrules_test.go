package hostrules_test

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/hostrules"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// good is a host about which there is nothing to say.
func good() *inventory.Host {
	uid := int64(1000)
	return &inventory.Host{
		Name:   "h",
		Groups: []inventory.UnixGroup{{Name: "docker", GID: 998}},
		Sockets: []inventory.Socket{{
			Service: inventory.ServiceDocker, Path: "/run/docker.sock", Mode: 0o660, GID: 998, Reachable: inventory.Yes, Inode: 3, Device: 7,
		}},
		Listeners: []inventory.Listener{{Service: inventory.ServiceDocker, Address: "0.0.0.0:2376", TLS: inventory.Yes, ClientCert: inventory.Yes}},
		Sudo:      []inventory.SudoRule{{Users: []string{"root"}, As: []string{"ALL"}, Commands: []string{"ALL"}}},
		Docker: &inventory.Docker{
			Version: "29.0", AuthzPlugins: []string{"p"}, UserNS: inventory.Yes, Rootless: inventory.No, NoNewPrivs: inventory.Yes, Seccomp: "builtin",
			AppArmor: inventory.Yes, SELinux: inventory.No, LiveRestore: inventory.Yes, Swarm: inventory.No,
		},
		Running: []inventory.DockerOrCRI{{
			ID: "1", HostUsers: inventory.No,
			Container: inventory.Container{Name: "web", User: &uid, ReadOnlyRoot: true, Seccomp: "builtin", Escalation: inventory.No, AddCapabilities: []string{"NET_RAW"}},
		}},
	}
}

func ids(h *inventory.Host) (out []string) {
	found, open := hostrules.Check(h, time.Unix(0, 0))
	for _, f := range found {
		out = append(out, f.Rule)
	}
	for _, o := range open {
		out = append(out, o.Rule+"?")
	}
	return out
}

func TestNothingToSay(t *testing.T) {
	if got := ids(good()); got != nil {
		t.Errorf("%q", got)
	}
	if got := ids(&inventory.Host{}); got != nil {
		t.Errorf("an empty host: %q", got)
	}
}

// changes spoil a good host, one check at a time.
var changes = map[string]func(h *inventory.Host, c *inventory.DockerOrCRI){
	"SP-DKR-001": func(h *inventory.Host, _ *inventory.DockerOrCRI) {
		h.Listeners[0].TLS, h.Listeners[0].ClientCert = inventory.No, inventory.No
	},
	"SP-DKR-002": func(h *inventory.Host, _ *inventory.DockerOrCRI) { h.Sockets[0].Mode = 0o666 },
	"SP-DKR-003": func(h *inventory.Host, _ *inventory.DockerOrCRI) {
		h.Sockets[0].ACL = []string{"user:eve:rw-", "mask::rw-", "group::rw-"}
	},
	"SP-DKR-004": func(h *inventory.Host, _ *inventory.DockerOrCRI) { h.Groups[0].Members = []string{"jane"} },
	"SP-DKR-005": func(h *inventory.Host, _ *inventory.DockerOrCRI) { h.Sudo[0].Groups = []string{"sudo"} },
	"SP-DKR-006": func(h *inventory.Host, _ *inventory.DockerOrCRI) { h.Docker.AuthzPlugins = nil },
	"SP-DKR-007": func(h *inventory.Host, _ *inventory.DockerOrCRI) { h.Docker.UserNS = inventory.No },
	"SP-DKR-008": func(h *inventory.Host, _ *inventory.DockerOrCRI) { h.Docker.NoNewPrivs = inventory.No },
	"SP-DKR-009": func(h *inventory.Host, _ *inventory.DockerOrCRI) { h.Docker.Seccomp = "unconfined" },
	"SP-DKR-010": func(h *inventory.Host, _ *inventory.DockerOrCRI) { h.Docker.AppArmor = inventory.No },
	"SP-DKR-011": func(h *inventory.Host, _ *inventory.DockerOrCRI) { h.Docker.LiveRestore = inventory.No },
	"SP-DKR-012": func(h *inventory.Host, _ *inventory.DockerOrCRI) { h.Docker.Swarm = inventory.Yes },
	"SP-DKR-013": func(h *inventory.Host, _ *inventory.DockerOrCRI) {
		h.Docker.Disagree = []inventory.Disagreement{{Name: "icc", Values: []inventory.Setting{{Value: "a"}}}}
	},
	"SP-DKR-020": func(_ *inventory.Host, c *inventory.DockerOrCRI) {
		c.Mounts = []inventory.HostPath{{Path: "/run", ReadOnly: true}}
	},
	"SP-DKR-021": func(_ *inventory.Host, c *inventory.DockerOrCRI) { c.Privileged = true },
	"SP-DKR-022": func(_ *inventory.Host, c *inventory.DockerOrCRI) { c.HostPID = true },
	"SP-DKR-023": func(_ *inventory.Host, c *inventory.DockerOrCRI) { c.AddCapabilities = []string{"NET_ADMIN"} },
	"SP-DKR-024": func(_ *inventory.Host, c *inventory.DockerOrCRI) {
		c.HostUsers, c.User, c.Mounts = inventory.Unknown, nil, []inventory.HostPath{{Path: "/etc"}}
	},
	"SP-DKR-025": func(_ *inventory.Host, c *inventory.DockerOrCRI) { c.Devices = []string{"/dev/sda"} },
	"SP-DKR-026": func(_ *inventory.Host, c *inventory.DockerOrCRI) { c.User, c.HostUsers = new(int64), inventory.Unknown },
	"SP-DKR-027": func(_ *inventory.Host, c *inventory.DockerOrCRI) { c.ReadOnlyRoot = false },
	"SP-DKR-028": func(_ *inventory.Host, c *inventory.DockerOrCRI) { c.Seccomp = "unconfined" },
	"SP-DKR-029": func(_ *inventory.Host, c *inventory.DockerOrCRI) { c.Escalation = inventory.Yes },
}

func TestEachCheck(t *testing.T) {
	for _, rule := range hostrules.Rules() {
		change := changes[rule.ID]
		if change == nil {
			t.Errorf("%s is not tried", rule.ID)
			continue
		}
		h := good()
		change(h, &h.Running[0])
		want := []string{rule.ID}
		if rule.ID == "SP-DKR-024" {
			want = append(want, "SP-DKR-026?") // who is not known is not known to be no root
		}
		if d := cmp.Diff(want, ids(h)); d != "" {
			t.Errorf("%s: %s", rule.ID, d)
		}
	}
}

func TestUnknownIsNoPass(t *testing.T) {
	h := good()
	h.Docker = &inventory.Docker{}
	h.Listeners[0].TLS, h.Listeners[0].ClientCert = inventory.Unknown, inventory.Unknown
	h.Sockets[0].Mode, h.Sockets[0].Reachable = 0o666, inventory.Unknown
	h.Running[0].Escalation, h.Running[0].User, h.Running[0].HostUsers = inventory.Unknown, nil, inventory.Unknown
	want := []string{
		"SP-DKR-001?", "SP-DKR-002?", "SP-DKR-006?", "SP-DKR-007?", "SP-DKR-008?", "SP-DKR-009?", "SP-DKR-010?", "SP-DKR-011?", "SP-DKR-012?",
		"SP-DKR-026?", "SP-DKR-029?",
	}
	if d := cmp.Diff(want, ids(h)); d != "" {
		t.Error(d)
	}
}

func TestRulesAreInOrder(t *testing.T) {
	form, cis := regexp.MustCompile(`^SP-DKR-\d{3}$`), regexp.MustCompile(`^docker \d+\.\d+(\.\d+)?$`)
	var last string
	for _, r := range hostrules.Rules() {
		if !form.MatchString(r.ID) || r.ID <= last || r.Title == "" || r.Remedy == "" {
			t.Errorf("%+v", r)
		}
		if slices.ContainsFunc(r.CIS, func(s string) bool { return !cis.MatchString(s) }) {
			t.Errorf("%s: %q", r.ID, r.CIS)
		}
		last = r.ID
	}
}

func TestIDsAreStable(t *testing.T) {
	h := good()
	changes["SP-DKR-020"](h, &h.Running[0])
	first, _ := hostrules.Check(h, time.Unix(0, 0))
	again, _ := hostrules.Check(h, time.Unix(100, 0))
	if len(first) != 1 || first[0].ID != again[0].ID || first[0].Subject != "host:h/container/web//run/docker.sock" {
		t.Errorf("%+v", first)
	}
}

// TestSudoRulesHaveNoLines: the id of a sudo rule stays when lines come before it, and
// rules that say something else have other ids.
func TestSudoRulesHaveNoLines(t *testing.T) {
	rule := func(line int, as string) inventory.SudoRule {
		return inventory.SudoRule{Users: []string{"ann"}, As: []string{as}, Commands: []string{"/usr/bin/docker"}, Origin: inventory.Origin{Source: "/etc/sudoers", Line: line}}
	}
	found := func(rules ...inventory.SudoRule) (out []string) {
		h := good()
		h.Sudo = rules
		list, _ := hostrules.Check(h, time.Unix(0, 0))
		for _, f := range list {
			out = append(out, string(f.ID))
		}
		return out
	}
	before, after := found(rule(3, "root"), rule(4, "bob")), found(rule(30, "root"), rule(31, "bob"), rule(32, "root"))
	if d := cmp.Diff(before, after); d != "" || len(before) != 2 || before[0] == before[1] {
		t.Errorf("%q, then %q", before, after)
	}
}
